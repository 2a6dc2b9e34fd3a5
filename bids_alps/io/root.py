"""Files at the root of the derivatives, which make the folder a BIDS dataset."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.errors import OutputError
from bids_alps.identity import code_url
from bids_alps.io.derivative_kinds import ROI_LABELS
from bids_alps.io.tables import table_text
from bids_alps.io.writing import write_if_changed

PROGRAM = "bids-alps"
BIDS_VERSION = "1.10.0"
IGNORED = {
    "*.html": "Reports: BIDS has no rule for pages.",
    "figures": "Figures of the reports, as in fMRIPrep. With a slash at the end the validator would not match it.",
    "group_*": "Tables of the group level: BIDS has no rule for tables of many participants other than phenotypes.",
    "*_scalarstats.*": "Tables of one value per region or check (the suffix of QSIRecon): BIDS has no rule for them.",
    "*_timeseries.*": "Motion of the head by volume: in BIDS, this suffix is for functional MRI and physiology.",
    "*_dwimap.*": "Maps of diffusion models: BEP 16 is not merged.",
    "*_xfm.*": "Transforms: BEP 14 is not merged.",
    "*_dwi.bval": "b-values of preprocessed series: the schema has gradient tables of raw series only.",
    "*_dwi.bvec": "b-vectors of preprocessed series: as above.",
    "work": "Intermediate files, where the output folder is the only one that can be written to.",
}
"""Files that the BIDS schema does not know: patterns of ``.bidsignore``, each with its reason."""

_COLORS = {"projection": "#3b6fd4", "association": "#2f9e44", "subcortical": "#e03131"}
_DESCRIPTIONS = {
    "preproc": "Diffusion series after the preprocessing steps in its sidecar",
    "brain": "Brain mask on the diffusion grid",
    "alps": "DTI-ALPS index; rows left, right, bilateral",
    "quality": "Quality checks; one row per check",
    "longitudinal": "DTI-ALPS index, or its regions, in the midpoint space of the sessions",
    "longitudinalregions": "Measurements in each region of interest in midpoint space",
    "longitudinalquality": "Quality checks of the measurements in midpoint space",
    "midpoint": "Average of the sessions in midpoint space",
    "change": "Change of the index between sessions; one row per pair and hemisphere",
    "rigid": "Rigid part of a transform",
    "affine": "Affine part of a transform",
    "confounds": "Head motion, one row per volume",
}
_README = """\
# Derivatives of bids-alps

DTI-ALPS indices with their uncertainty and quality checks, by bids-alps {version}.
Open `sub-*.html` for the report of each participant. `sub-*/**/*_desc-alps_scalarstats.tsv` holds the indices,
`*_seg-alps_scalarstats.tsv` the measurements in each region, `*_desc-quality_scalarstats.tsv` the checks;
the JSON file of each table describes its columns. `logs/` has the settings of each execution.

The index is an asymmetry of diffusion. It is not a measure of glymphatic clearance.
"""


def write_root(
    output_dir: Path,
    bids_dir: Path,
    inputs: Mapping[str, Path] | None = None,
    *,
    presets: Sequence[str] = ("alps",),
) -> None:
    """Write the files at the root of the output, each only if its content differs.

    A file that belongs to another user is kept with a warning, since several users may share the folder.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    bids_dir
        Input dataset.
    inputs
        Other input datasets, by name.
    presets
        Labels of the ROI presets, each of which has a table of its regions.

    Raises
    ------
    OutputError
        If the folder cannot be created or written to.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be created ({error.strerror})"
        raise OutputError(str(output_dir), what, "choose another output folder") from error
    if not os.access(output_dir, os.W_OK | os.X_OK):
        raise OutputError(str(output_dir), "cannot be written to", "choose another output folder")
    files = {
        "dataset_description.json": _json(dataset_description(bids_dir, inputs or {})),
        "README.md": _README.format(version=__version__),
        ".bidsignore": "\n".join(IGNORED) + "\n",
        "descriptions.tsv": table_text(
            ({"desc_id": f"desc-{label}", "description": about} for label, about in _DESCRIPTIONS.items()),
            ("desc_id", "description"),
        ),
    }
    for label in presets:
        files[f"seg-{label}_dseg.tsv"] = table_text(_labels(), ("index", "name", "color"))
        files[f"seg-{label}_dseg.json"] = _json(_LABEL_DICTIONARY)
    for name, text in files.items():
        try:
            write_if_changed(output_dir / name, text.encode())
        except OutputError as error:
            if not (output_dir / name).exists():
                raise
            logging.getLogger(__name__).warning("%s The file was kept.", error)


def dataset_description(bids_dir: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Return the dataset description of the derivatives of `bids_dir`, including its ``GeneratedBy``."""
    source = read_description(bids_dir)
    ours: dict[str, Any] = {
        "Name": PROGRAM,
        "Version": __version__,
        "Description": "DTI-ALPS index",
        "CodeURL": code_url(),
    }
    tag = os.environ.get("BIDS_ALPS_DOCKER_TAG")
    if tag:
        ours["Container"] = {"Type": "docker", "Tag": f"bids/alps:{tag}"}
    datasets = {"raw": bids_dir, **inputs}
    earlier, sources = list[Any](), list[dict[str, str]]()
    for path in datasets.values():
        description = read_description(path)
        generated_by = description.get("GeneratedBy") if description.get("DatasetType") == "derivative" else None
        earlier += generated_by if isinstance(generated_by, list) else []
        doi = description.get("DatasetDOI")
        sources.append({"URL": path.resolve().as_uri()} | ({"DOI": doi} if isinstance(doi, str) else {}))
    described: dict[str, Any] = {
        "Name": derivative_name(source) or derivative_name({"Name": bids_dir.name}),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [ours, *earlier],
        "SourceDatasets": sources,
        "DatasetLinks": {name: path.resolve().as_uri() for name, path in datasets.items()},
        "HowToAcknowledge": "Cite the works listed in logs/CITATION.md.",
    }
    return {**described, "License": source["License"]} if isinstance(source.get("License"), str) else described


def derivative_name(source: Mapping[str, Any]) -> str:
    """Return the name of the derivatives of a dataset, from its description; empty if it has no name."""
    name = source.get("Name")
    return f"{PROGRAM} derivatives of {name}" if isinstance(name, str) and name else ""


def read_description(dataset: Path) -> dict[str, Any]:
    """Read ``dataset_description.json``; empty if it is missing or not a JSON object."""
    try:
        content = json.loads((dataset / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def generated_by_programs(dataset: Path) -> frozenset[str]:
    """Return the names of the programs in ``GeneratedBy`` of a dataset, in lower case."""
    generated_by = read_description(dataset).get("GeneratedBy")
    entries = generated_by if isinstance(generated_by, list) else []
    return frozenset(str(entry.get("Name", "")).lower() for entry in entries if isinstance(entry, dict))


def _labels() -> list[dict[str, Any]]:
    return [
        {"index": label, "name": name, "color": _COLORS[name.rpartition("_")[0]]} for name, label in ROI_LABELS.items()
    ]


_LABEL_DICTIONARY = {
    "index": {"Description": "Value in the label image"},
    "name": {"Description": "Region of interest and side; the side is defined by x in the template"},
    "color": {"Description": "Color for display"},
}


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
