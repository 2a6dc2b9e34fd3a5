"""What the user chose: what to read (Request), what changes a number (Method), how it is run (Execution).

Every default stands here once, with its unit; the command line and the documentation grow from these fields.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from bids_alps.errors import NoInputError
from bids_alps.io.inheritance import IMAGE_EXTENSIONS
from bids_alps.registration.engines import ENGINES


def option(default: Any = MISSING, *, description: str, spellings: tuple[str, ...] = (), **extra: Any) -> Any:
    """Return a dataclass field that carries what the command line says of it.

    Parameters
    ----------
    default
        Its default.
    description
        One sentence of help, with the unit.
    spellings
        Other spellings that wrappers use, such as ``--n_cpus``; the first one is made of the field's name.
    extra
        Passed on to argparse, such as ``choices`` or ``metavar``.
    """
    metadata = {"description": description, "spellings": spellings, **extra}
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


def megabytes(text: str) -> int:
    """Return an amount of memory in MB; a bare number is MB already.

    Examples
    --------
    >>> megabytes("8G"), megabytes("500"), megabytes("2.5 GB")
    (8000, 500, 2500)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no amount of memory")
    return int(float(found[1]) * {"K": 1e-3, "": 1, "M": 1, "G": 1e3, "T": 1e6}[found[2].upper()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What changes a number. Each field is written into every receipt, log and methods text."""

    template: str = option(
        "MNI152NLin2009aSym",
        description="template in which the regions lie: a name of TemplateFlow, a folder of one's own, or an FA map",
    )
    registrar: str = option(
        "staged",
        description="registration engine; precomputed takes the transform that lies with a preprocessed series",
        choices=tuple(ENGINES),
    )
    rois: tuple[str, ...] = option(
        ("alps", "alps-sphere"), description="ROI presets, or label images in the template with a table beside each"
    )
    roi_radius: float | None = option(
        None, description="measure in spheres of this radius, mm (default: the preset's own shape)"
    )
    shells: tuple[float, ...] | None = option(
        None, description="b-values to fit, s/mm^2 (default: the shell nearest 1000)"
    )
    roi_weighting: Literal["fraction", "tissue"] = option(
        "fraction",
        description="weight of a voxel in its region: the fraction inside, or that times its share of tissue",
    )
    atlas: tuple[str, ...] = option(
        (), description="atlases to measure too: label or probability images with a table, or names of TemplateFlow's"
    )
    atlas_threshold: float = option(
        0.5, description="fraction of a voxel in a region, or its probability, from which it counts in an atlas"
    )
    exclude_lesions: bool = option(
        False, description="leave voxels that a lesion touches out of the regions of the index"
    )
    t1w_aligned: bool = option(
        False, description="take lesion masks drawn on anatomical images as they lie, without aligning the T1w"
    )
    b0_threshold: float = option(50.0, description="b-values up to this count as no weighting, s/mm^2")
    pose_correction: bool = option(True, description="turn tensors into template axes")
    skip_preprocessing: bool = option(
        False, description="take raw series as they are", spellings=("--skip_preprocessing",)
    )
    threshold: tuple[str, ...] = option(
        (), description="other thresholds of a quality check, NAME=WARN,FAIL, such as pitch=15,n/a"
    )
    gradient_calibration: bool = option(
        False, description="correct b-values by axis where separate tissues agree on how strong the gradients were"
    )
    gradient_table: Literal["check", "repair"] = option(
        "check",
        description="check withholds the index of a gradient table with flipped or exchanged axes; repair reads the "
        "table as fibres continue best, where that is clear",
    )
    keep_failed: bool = option(False, description="keep an index whose quality checks failed in the column alps")
    combine_runs: bool | None = option(
        None,
        description="merge raw series of a session on one grid into one fit (default: those that share a MultipartID)",
    )
    denoising: bool = option(False, description="reduce the noise of raw series of 30 volumes or more (MP-PCA)")
    unringing: bool = option(False, description="take Gibbs ringing out of raw series without partial Fourier")
    motion_correction: bool = option(True, description="correct head motion and eddy currents of raw series")
    distortion_correction: bool = option(
        True, description="correct susceptibility distortion of raw series that have a reverse-phase image"
    )
    random_seed: int = option(20170617, description="seed of every random draw", spellings=("--random_seed",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to read and where to write."""

    bids_dir: Path = option(description="root of the BIDS dataset, raw or derivative")
    output_dir: Path = option(description="where derivatives go")
    output_label: str | None = option(
        None,
        description="write to derivatives/bids-alps-LABEL of the output folder: results of other settings beside those "
        "that are there",
        spellings=("--output_label",),
    )
    participant_label: tuple[str, ...] = option(
        (),
        description="participants, with or without sub-, or @FILE that lists them (default: all)",
        spellings=("--participant_label",),
    )
    session_label: tuple[str, ...] = option(
        (),
        description="sessions, with or without ses- (default: all)",
        spellings=("--session_label", "--session-id", "--session_id"),
    )
    run_label: tuple[int, ...] = option(
        (), description="run numbers (default: all)", spellings=("--run", "--run-id", "--run_id", "--run_label")
    )
    bids_filter_file: Path | None = option(
        None,
        description="JSON file that narrows dwi, t1w and fmap images by entity (null: absent, *: any)",
        spellings=("--bids_filter_file",),
    )
    derivatives: tuple[str, ...] = option(
        (),
        description="preprocessed datasets, PATH or NAME=PATH; their runs stand for the raw ones of a participant; "
        "lesions=PATH holds lesion masks instead, rois=PATH regions drawn in single scans",
        spellings=("-d", "--datasets"),
    )
    bids_database_dir: Path | None = option(
        None, description="pybids database of the dataset, made where there is none", spellings=("--bids_database_dir",)
    )
    longitudinal: bool = option(
        False,
        description="measure the sessions of a participant in one frame too, and how the index changed between them",
    )
    reports_only: bool = option(
        False, description="write the pages again from results that are there", spellings=("--reports_only",)
    )
    boilerplate_only: bool = option(
        False, description="write the methods text and its references alone", spellings=("--boilerplate_only",)
    )
    group_column: str = option("group", description="column of participants.tsv that tells the groups to compare")
    model: tuple[str, ...] = option(
        (), description='formulas to fit, such as "alps_bilateral ~ group + age + sex + pitch"'
    )
    include_status: tuple[str, ...] = option(
        (), description="statuses of runs to include although they are left out otherwise, such as fail (default: none)"
    )
    reference_group: str | None = option(
        None,
        description="group that the others are compared with and that norms come from (default: one named control, HC "
        "or healthy)",
    )
    covariates: tuple[str, ...] | None = option(
        None,
        description="columns to adjust for, or none (default: age, sex and site where they are known); pose, fa, md "
        "and motion stand for those measures",
    )
    subset: str | None = option(
        None, description="condition that analysed runs meet, such as \"group == 'RLS'\" (default: all)"
    )
    sessions: tuple[str, ...] = option(
        (), description="sessions from first to last, where no time of acquisition orders them (default: by label)"
    )
    test: Literal["rule", "welch", "student", "mann-whitney"] = option(
        "rule", description="test of two groups; rule: Welch's, or Mann-Whitney where small groups are not normal"
    )
    weights: Literal["equal", "precision"] = option(
        "equal", description="weights of participants in the adjusted comparison; precision: 1 / (tau^2 + se^2)"
    )
    equivalence_margin: float | None = option(
        None,
        description="largest difference of the index that counts as none, to test equivalence (default: no test)",
    )
    permutations: int = option(5000, description="permutations of the comparison of the index, 0 for none")
    pool_across: tuple[str, ...] = option(
        (),
        description="differences in method to accept when runs are pooled, by column, such as version (default: none)",
    )
    harmonise: str | None = option(
        None,
        description="site whose effect ComBat takes out before testing; the site as a covariate is safer",
        spellings=("--combat",),
    )
    ignore: tuple[Literal["fieldmaps", "t1w", "sbref"], ...] = option(
        (), description="images to leave out, as if they were not there", choices=("fieldmaps", "t1w", "sbref")
    )
    dry_run: bool = option(
        False, description="say what would be done with which files, and do nothing; --dry-run=json as JSON"
    )
    plan_json: bool = option(False, description="print the plan as JSON")
    ratings: tuple[Path, ...] = option(
        (), description="tables of readers' ratings, saved on participants' pages: runs rated drop are left out"
    )
    force: bool = option(False, description="do runs again whose results are there already")
    stop_on_first_crash: bool = option(
        False, description="stop at the first run that fails", spellings=("--stop_on_first_crash",)
    )

    @property
    def datasets(self) -> dict[str, Path]:
        """The other datasets by name: ``NAME=PATH``, or a path that is named by its folder.

        Raises
        ------
        NoInputError
            If one of them is no folder.
        """
        datasets = {}
        for text in self.derivatives:
            name, equals, path = text.partition("=")
            folder = Path(path if equals else text)
            if not folder.is_dir():
                raise NoInputError(f"--derivatives {text}", "no such folder", "give PATH or NAME=PATH")
            datasets[name if equals else folder.resolve().name] = folder
        return datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How it is run; nothing here changes a byte of the results."""

    run_uuid: str = option("", description="name of this execution in the logs (default: its time and a random part)")
    mem: int | None = option(
        None,
        description="memory that all processes may use together, MB, or with a unit such as 8G",
        spellings=("--mem-mb", "--mem_mb"),
        parse=megabytes,
    )
    omp_nthreads: int = option(1, description="threads of each process", spellings=("--omp_nthreads",))
    work_dir: Path | None = option(
        None,
        description="scratch space (default: the system's, or a folder of the output)",
        spellings=("-w", "--work_dir"),
    )
    resource_monitor: bool = option(
        False, description="log CPU seconds and peak memory of every run", spellings=("--resource_monitor",)
    )
    nprocs: int = option(
        1,
        description="runs worked on at the same time, each by a process of its own",
        spellings=("--nthreads", "--n-cpus", "--n_cpus"),
    )
    timeout: float | None = option(
        None, description="minutes after which a run that is not done is ended and given up (default: never)"
    )
    executor: Literal["local", "dask"] = option("local", description="processes of this machine, or a Dask cluster")
    dask_address: str | None = option(
        None, description="scheduler of a Dask cluster, such as tcp://10.0.0.1:8786", spellings=("--dask_address",)
    )
    dask_config: Path | None = option(
        None,
        description="YAML or TOML file of dask-jobqueue: what a job asks of SLURM, PBS, SGE or LSF",
        spellings=("--dask_config",),
    )
    worker_timeout: float | None = option(
        None,
        description="minutes without any Dask worker after which to give up (default: 10, or 1440 for jobs, which may "
        "have to queue)",
        spellings=("--worker_timeout",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the user chose."""

    request: Request
    method: Method
    execution: Execution


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings that mean the same in every working directory, such as that of a worker on another machine."""

    def path(text: str) -> str:
        name, equals, rest = text.partition("=")
        return f"{name}{equals}{Path(rest).absolute()}" if equals else str(Path(text).absolute())

    def file(text: str) -> str:
        # a name of a template, preset or atlas stays; a path has a slash or is an image
        return str(Path(text).absolute()) if os.sep in text or text.endswith(IMAGE_EXTENSIONS) else text

    def absolute(group: Any) -> Any:
        values = {setting.name: getattr(group, setting.name) for setting in fields(group)}
        return replace(group, **{name: value.absolute() for name, value in values.items() if isinstance(value, Path)})

    method = settings.method
    return Settings(
        request=replace(absolute(settings.request), derivatives=tuple(map(path, settings.request.derivatives))),
        method=replace(
            method,
            template=file(method.template),
            rois=tuple(map(file, method.rois)),
            atlas=tuple(map(file, method.atlas)),
        ),
        execution=absolute(settings.execution),
    )


def as_toml(settings: Settings) -> str:
    """Return the settings as a file that ``--config-file`` takes, without those that are not set."""
    lines = []
    for group in fields(settings):
        lines.append(f"[{group.name}]")
        values = getattr(settings, group.name)
        chosen = ((setting.name, getattr(values, setting.name)) for setting in fields(values))
        lines += [f"{name} = {_toml(value)}" for name, value in chosen if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(value if isinstance(value, (bool, int, float)) else str(value), ensure_ascii=False)
