"""Settings of the user: what to read (Request), what affects the results (Method), how to run it (Execution).

Every default is defined here once, with its unit; the command line and the documentation are generated from these
fields.
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
    """Return a dataclass field with the metadata of its command-line option.

    Parameters
    ----------
    default
        Default value.
    description
        Help text, one sentence, with the unit.
    spellings
        Alternative spellings that wrappers use, such as ``--n_cpus``; the first one is derived from the field's name.
    extra
        Passed on to argparse, such as ``choices`` or ``metavar``.
    """
    metadata = {"description": description, "spellings": spellings, **extra}
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


def megabytes(text: str) -> int:
    """Return an amount of memory in MB; a number without a unit is in MB.

    Examples
    --------
    >>> megabytes("8G"), megabytes("500"), megabytes("2.5 GB")
    (8000, 500, 2500)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not an amount of memory")
    return int(float(match[1]) * {"K": 1e-3, "": 1, "M": 1, "G": 1e3, "T": 1e6}[match[2].upper()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Settings that affect the results. Each is recorded in every receipt, log and methods text."""

    template: str = option(
        "MNI152NLin2009aSym",
        description="template in which the ROIs are defined: a TemplateFlow identifier, a folder, or an FA map",
    )
    registrar: str = option(
        "staged",
        description="registration engine; precomputed uses the transform that comes with a preprocessed series",
        choices=tuple(ENGINES),
    )
    rois: tuple[str, ...] = option(
        ("alps", "alps-sphere"),
        description="ROI presets, or label images in template space, each with a table (.tsv) next to it",
    )
    roi_radius: float | None = option(
        None, description="use spherical ROIs of this radius, mm (default: the preset's own shape)"
    )
    shells: tuple[float, ...] | None = option(
        None, description="shells to fit, s/mm² (default: the shell closest to 1000)"
    )
    roi_weighting: Literal["fraction", "tissue"] = option(
        "fraction",
        description="weight of a voxel in an ROI: the fraction of it inside, or that times its tissue fraction",
    )
    atlas: tuple[str, ...] = option(
        (), description="atlases to measure as well: label or probability images with a table, or TemplateFlow names"
    )
    atlas_threshold: float = option(
        0.5,
        description="minimum fraction of a voxel inside an atlas region, or minimum probability, for it to be included",
    )
    exclude_lesions: bool = option(False, description="exclude voxels that overlap a lesion from the ROIs of the index")
    t1w_aligned: bool = option(
        False, description="use lesion masks drawn on anatomical images as they are, without registering the T1w image"
    )
    b0_threshold: float = option(50.0, description="volumes with a b-value up to this are treated as b=0, s/mm²")
    pose_correction: bool = option(True, description="rotate tensors to the template axes")
    skip_preprocessing: bool = option(
        False, description="use raw series as they are", spellings=("--skip_preprocessing",)
    )
    threshold: tuple[str, ...] = option(
        (), description="change the thresholds of a quality check, NAME=WARN,FAIL, such as pitch=15,n/a"
    )
    gradient_calibration: bool = option(
        False, description="correct b-values per gradient axis where different tissues agree on the gradient strength"
    )
    gradient_table: Literal["check", "repair"] = option(
        "check",
        description="check withholds the index where the gradient table has flipped or swapped axes; repair corrects "
        "the table to the orientation with the highest fiber coherence, where that is unambiguous",
    )
    keep_failed: bool = option(
        False, description="report the index in the column alps even where quality checks failed"
    )
    combine_runs: bool | None = option(
        None,
        description="fit raw series of one session and grid together (default: those that share a MultipartID)",
    )
    denoising: bool = option(False, description="denoise raw series of 30 volumes or more (MP-PCA)")
    unringing: bool = option(False, description="correct Gibbs ringing in raw series without partial Fourier")
    motion_correction: bool = option(True, description="correct head motion and eddy currents of raw series")
    distortion_correction: bool = option(
        True, description="correct susceptibility distortion of raw series that have a fieldmap"
    )
    random_seed: int = option(20170617, description="random seed", spellings=("--random_seed",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to read and where to write."""

    bids_dir: Path = option(description="root of the BIDS dataset, raw or derivative")
    output_dir: Path = option(description="output folder for the derivatives")
    output_label: str | None = option(
        None,
        description="write to derivatives/bids-alps-LABEL in the output folder, to keep results of different settings "
        "side by side",
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
        description="JSON file that selects dwi, t1w and fmap images by entity (null: absent, *: any)",
        spellings=("--bids_filter_file",),
    )
    derivatives: tuple[str, ...] = option(
        (),
        description="preprocessed datasets, PATH or NAME=PATH, used in place of raw runs of the same session and run; "
        "lesions=PATH: a dataset of lesion masks; rois=PATH: a dataset of manually drawn ROIs",
        spellings=("-d", "--datasets"),
    )
    bids_database_dir: Path | None = option(
        None,
        description="pybids database of the dataset, created if it does not exist",
        spellings=("--bids_database_dir",),
    )
    longitudinal: bool = option(
        False,
        description="also process the sessions of a participant in a midpoint space and measure changes of the index",
    )
    reports_only: bool = option(
        False, description="only write the reports again, from existing results", spellings=("--reports_only",)
    )
    boilerplate_only: bool = option(
        False, description="only write the methods text and its references", spellings=("--boilerplate_only",)
    )
    md_only_boilerplate: bool = option(
        False,
        description="write the methods text as Markdown alone, logs/CITATION.md without its .bib and .html",
        spellings=("--md_only_boilerplate",),
    )
    group_column: str = option("group", description="column of participants.tsv with the groups to compare")
    model: tuple[str, ...] = option(
        (), description='formulas to fit, such as "alps_bilateral ~ group + age + sex + pitch"'
    )
    include_status: tuple[str, ...] = option(
        (),
        description="include runs of this status although they are excluded by default (default: none)",
        choices=("fail",),
    )
    reference_group: str | None = option(
        None,
        description="group that the others are compared with and that provides the norms (default: a group named "
        "control, HC or healthy)",
    )
    covariates: tuple[str, ...] | None = option(
        None,
        description="columns to adjust for, or none (default: age, sex and site where available); pose, fa, md and "
        "motion refer to the measured values",
    )
    subset: str | None = option(
        None, description="condition that selects the runs to analyze, such as \"group == 'RLS'\" (default: all)"
    )
    sessions: tuple[str, ...] = option(
        (),
        description="sessions from first to last, used where acquisition times are missing (default: sorted by label)",
    )
    test: Literal["rule", "welch", "student", "mann-whitney"] = option(
        "rule", description="test of two groups; rule: Welch's, or Mann-Whitney where small groups are not normal"
    )
    weights: Literal["equal", "precision"] = option(
        "equal", description="weights of participants in the adjusted group comparison; precision: 1 / (tau^2 + se^2)"
    )
    equivalence_margin: float | None = option(
        None,
        description="largest difference of the index considered equivalent (default: no equivalence test)",
    )
    permutations: int = option(
        5000, description="number of permutations for the group comparison of the index, 0 for none"
    )
    pool_across: tuple[str, ...] = option(
        (),
        description="columns in which pooled runs may differ, such as version (default: none)",
    )
    harmonize: str | None = option(
        None,
        description="column of the site whose effect ComBat removes before testing; site as a covariate is safer",
        spellings=("--combat",),
    )
    ignore: tuple[Literal["fieldmaps", "t1w", "sbref"], ...] = option(
        (), description="images to ignore", choices=("fieldmaps", "t1w", "sbref")
    )
    dry_run: bool = option(
        False, description="print the plan (which files, which steps) and exit; --dry-run=json prints it as JSON"
    )
    plan_json: bool = option(False, description="print the plan as JSON")
    ratings: tuple[Path, ...] = option(
        (), description="tables of manual ratings, saved from the participant reports; runs rated drop are excluded"
    )
    force: bool = option(False, description="process runs again even if their results exist")
    stop_on_first_crash: bool = option(
        False, description="stop when the first run fails", spellings=("--stop_on_first_crash",)
    )

    @property
    def datasets(self) -> dict[str, Path]:
        """Datasets given by ``--derivatives``, by name: ``NAME=PATH``, or a path, named after its folder.

        Raises
        ------
        NoInputError
            If one of them is not a folder.
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
    """How to run it; none of these settings affects the results."""

    run_uuid: str = option(
        "", description="identifier of this execution in the logs (default: date, time and a random suffix)"
    )
    mem: int | None = option(
        None,
        description="upper limit of memory for all processes together, MB, or with a unit such as 8G",
        spellings=("--mem-mb", "--mem_mb"),
        parse=megabytes,
    )
    omp_nthreads: int = option(
        1,
        description="number of threads per process; a run hardly uses more than one: use more processes instead",
        spellings=("--omp_nthreads",),
    )
    work_dir: Path | None = option(
        None,
        description="folder for temporary files (default: the system's, or a folder of the output)",
        spellings=("-w", "--work_dir"),
    )
    resource_monitor: bool = option(
        False, description="log CPU time and peak memory of every run", spellings=("--resource_monitor",)
    )
    nprocs: int = option(
        1,
        description="number of runs processed in parallel, each in its own process",
        spellings=("--nthreads", "--n-cpus", "--n_cpus"),
    )
    timeout: float | None = option(
        None, description="time limit per run, minutes; a run that takes longer is stopped and fails (default: none)"
    )
    executor: Literal["local", "dask"] = option("local", description="local processes, or a Dask cluster")
    dask_address: str | None = option(
        None, description="address of a Dask scheduler, such as tcp://10.0.0.1:8786", spellings=("--dask_address",)
    )
    dask_config: Path | None = option(
        None,
        description="YAML or TOML file for dask-jobqueue: resources of a job on SLURM, PBS, SGE or LSF",
        spellings=("--dask_config",),
    )
    worker_timeout: float | None = option(
        None,
        description="time to wait for Dask workers before giving up, minutes (default: 10, or 1440 for jobs, which may "
        "be queued)",
        spellings=("--worker_timeout",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the user."""

    request: Request
    method: Method
    execution: Execution


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings with absolute paths, valid in any working directory, such as that of a remote worker."""

    def path(text: str) -> str:
        name, equals, rest = text.partition("=")
        return f"{name}{equals}{Path(rest).absolute()}" if equals else str(Path(text).absolute())

    def file(text: str) -> str:
        # names of templates, presets and atlases are kept; a path has a slash or an image extension
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
    """Return the settings as text for ``--config-file``, without those that are not set."""
    lines = []
    for group in fields(settings):
        lines.append(f"[{group.name}]")
        values = getattr(settings, group.name)
        items = ((setting.name, getattr(values, setting.name)) for setting in fields(values))
        lines += [f"{name} = {_toml(value)}" for name, value in items if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value if isinstance(value, (bool, int, float)) else str(value), ensure_ascii=False)
