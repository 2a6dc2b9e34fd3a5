"""Names, paths and sidecars of the files written for a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_alps.errors import MetadataError, UsageError
from bids_alps.io.derivative_kinds import DERIVATIVES
from bids_alps.model import DwiRun

ENTITY_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run"),
    *("mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "atlas"),
    *("seg", "scale", "res", "den", "label", "model", "param", "from", "to", "mode", "desc"),
)
"""Order of entities in file names."""

STANDARD_SPACES = (
    "MNI152NLin2009aSym",
    "MNI152NLin2009cAsym",
    "MNI152NLin2009cSym",
    "MNI152NLin6Asym",
    "MNI152NLin6Sym",
)

_LABEL = re.compile(r"[a-zA-Z0-9+]+")


def derivative_path(output_dir: Path, run: DwiRun, key: str, **fill: str) -> Path:
    """Return the path of an output file of a run.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    run
        Run, whose entities are in the name.
    key
        Kind of file, a key of `DERIVATIVES`.
    **fill
        Labels to fill in.

    Raises
    ------
    MetadataError
        If a label has other characters than letters and digits, which could lead outside the folder.

    Examples
    --------
    >>> run = DwiRun(entities={"sub": "01", "run": "2"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    >>> derivative_path(Path("out"), run, "fa").as_posix()
    'out/sub-01/dwi/sub-01_run-2_model-tensor_param-fa_dwimap.nii.gz'
    """
    kind = DERIVATIVES[key]
    added = {entity: label.format(**fill) for entity, label in kind.entities.items()}
    name = entity_name({**run.entities, **added})
    return participant_folder(output_dir, run) / kind.folder / f"{name}_{kind.suffix}{kind.extension}"


def name_ending(key: str, **fill: str) -> str:
    """Return the end of the name of an output file, after the entities of the run; arguments as in `derivative_path`.

    Examples
    --------
    >>> name_ending("xfm_rigid", template="MNI152NLin6Asym")
    '_from-dwi_to-MNI152NLin6Asym_mode-image_desc-rigid_xfm.txt'
    """
    kind = DERIVATIVES[key]
    added = entity_name({entity: label.format(**fill) for entity, label in kind.entities.items()})
    return f"_{added}_{kind.suffix}{kind.extension}"


_ANY = "0any0"
_EXTENSIONS = {".nii.gz": ("nii.gz", "json", "tsv"), ".tsv": ("tsv", "json")}
"""Extensions of a file and its companions: sidecar and table of labels."""


def name_pattern(run: DwiRun) -> re.Pattern[str]:
    """Return a pattern that matches exactly the names of output files of a run, with any settings.

    Examples
    --------
    >>> run = DwiRun(entities={"sub": "01"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    >>> names = ("sub-01_desc-brain_mask.json", "sub-01_desc-mine_mask.json", "sub-01_run-2_desc-brain_mask.json")
    >>> [bool(name_pattern(run).fullmatch(name)) for name in names]
    [True, False, False]
    """
    names = []
    for kind in DERIVATIVES.values():
        # a stand-in that survives escaping and is a valid label; it becomes the pattern of labels below
        added = {entity: re.sub(r"{\w+}", _ANY, label) for entity, label in kind.entities.items()}
        name = re.escape(f"{entity_name({**run.entities, **added})}_{kind.suffix}.")
        endings = "|".join(map(re.escape, _EXTENSIONS.get(kind.extension, (kind.extension[1:],))))
        names.append(f"{name.replace(_ANY, _LABEL.pattern)}(?:{endings})")
    return re.compile("|".join(names))


def participant_folder(output_dir: Path, run: DwiRun) -> Path:
    """Return the folder of a run's participant and session."""
    folder = output_dir / f"sub-{checked_label('sub', run.participant)}"
    return folder / f"ses-{checked_label('ses', run.session)}" if run.session else folder


def entity_name(entities: Mapping[str, str]) -> str:
    """Return entities as in a file name, in canonical order; unknown ones before ``desc``.

    Examples
    --------
    >>> entity_name({"sub": "01", "desc": "alps", "run": "2", "space": "ACPC"})
    'sub-01_run-2_space-ACPC_desc-alps'
    """
    known = {entity: n for n, entity in enumerate(ENTITY_ORDER)}
    order = sorted(entities, key=lambda entity: known.get(entity, known["desc"] - 0.5))
    return "_".join(f"{entity}-{checked_label(entity, entities[entity])}" for entity in order)


def checked_label(entity: str, label: str) -> str:
    """Return a label if it is valid, else raise a MetadataError."""
    if not _LABEL.fullmatch(label):
        raise MetadataError(f"{entity}-{label}", "not a BIDS label", "use letters and digits only")
    return label


def sidecar_of(run: DwiRun, key: str, *, sources: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """Return the sidecar of an image, with the fields that BIDS requires.

    Parameters
    ----------
    run
        Run of the image.
    key
        Kind of file, a key of `DERIVATIVES`.
    sources
        BIDS URIs of its sources; the files of the run if none are given.
    **fields
        Fields to add or to replace.
    """
    if key not in DERIVATIVES:
        raise UsageError(key, "no such derivative", f"choose one of {', '.join(DERIVATIVES)}")
    kind = DERIVATIVES[key]
    sidecar: dict[str, Any] = {"Description": kind.description}
    if kind.unit:
        sidecar["Units"] = kind.unit
    space = run.entities.get("space")
    if space is not None and space not in STANDARD_SPACES:
        sidecar["SpatialReference"] = run.uri_of(run.image)
    images = (run.image, *(partner.image for partner in run.partners))
    sidecar["Sources"] = list(sources) or [run.uri_of(path) for path in images]
    return {**sidecar, **kind.fields, **fields}
