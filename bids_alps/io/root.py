"""Files at the root of the output: what makes it a BIDS derivative dataset."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.errors import AlpsError, OutputError
from bids_alps.io.derivatives import ROI_LABELS
from bids_alps.io.inheritance import read_json
from bids_alps.io.tables import table_text
from bids_alps.io.writing import write_if_changed

LOG = logging.getLogger(__name__)
CODE_URL = "https://github.com/bids-apps/alps"

BIDSIGNORE = (
    *("*.html", "logs", "figures", "*_xfm.*", "*_dwimap.*", "*_scalarstats.*", "*_dwi.bval", "*_dwi.bvec"),
    *("group_*", "*_timeseries.*"),
)
README = """# bids-alps

DTI-ALPS index (diffusion along the perivascular space) of every diffusion run: an asymmetry of diffusion, not a
measure of glymphatic clearance. Open `sub-<label>.html` for the report of a participant; `group_alps.tsv` holds one row
a run once the group level has run. Every table has a JSON dictionary beside it.
"""


def write_root(output_dir: Path, bids_dir: Path) -> None:
    """Write the root files where they differ; another job's copy that cannot be replaced is only a warning.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(output_dir), f"cannot be made ({error.strerror})", "choose another folder") from error
    labels = [{"index": number, "name": name} for name, number in ROI_LABELS.items()]
    contents = {
        "dataset_description.json": json.dumps(describe(bids_dir), indent=2) + "\n",
        ".bidsignore": "\n".join(BIDSIGNORE) + "\n",
        "README.md": README,
        "seg-alps_dseg.tsv": table_text(labels, ["index", "name"]),
    }
    for name, content in contents.items():
        path = output_dir / name
        try:
            write_if_changed(path, content.encode())
        except AlpsError as error:
            if not path.exists():
                raise
            LOG.warning("%s", error)


def describe(bids_dir: Path) -> dict[str, Any]:
    """Return the content of ``dataset_description.json``."""
    source = read_json(bids_dir / "dataset_description.json")
    ours: dict[str, Any] = {"Name": "bids-alps", "Version": __version__, "CodeURL": CODE_URL}
    if tag := os.environ.get("BIDS_ALPS_DOCKER_TAG"):
        ours["Container"] = {"Type": "docker", "Tag": tag}
    before = source.get("GeneratedBy", []) if source.get("DatasetType") == "derivative" else []
    return {
        "Name": "bids-alps - DTI-ALPS index",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": str(source.get("License", "")) or "not stated",
        "GeneratedBy": [ours, *before],
        "SourceDatasets": [{"URL": str(source.get("DatasetDOI") or f"file://{bids_dir.resolve()}")}],
        "DatasetLinks": {"raw": f"file://{bids_dir.resolve()}"},
    }
