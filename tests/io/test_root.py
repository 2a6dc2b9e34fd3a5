"""The files at the root of the output."""

from __future__ import annotations

import json
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bids_alps.io.derivative_kinds import DERIVATIVES
from bids_alps.io.derivatives import derivative_path
from bids_alps.io.root import IGNORED, write_root
from bids_alps.io.validation import find_validator
from bids_alps.model import DwiRun

LABELS = {
    **dict.fromkeys(("template", "space"), "MNI152NLin2009aSym"),
    **dict.fromkeys(("preset", "atlas", "seg", "name", "label", "axis"), "alps"),
}
ABOUT_NAMES = (
    *("NOT_INCLUDED", "ALL_FILENAME_RULES_HAVE_ISSUES", "FILENAME_MISMATCH", "EXTENSION_MISMATCH"),
    *("ENTITY_NOT_IN_RULE", "ENTITY_WITH_NO_LABEL", "DATATYPE_MISMATCH", "INVALID_LOCATION"),
)
"""Codes of errors in names; the files of this test have no content, which is an error too."""
Unknown = frozenset[str]


def write_all_kinds(root: Path) -> None:
    """Write a file of each kind, most of them empty."""
    (root / "in").mkdir()
    (root / "in/dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.10.0"}')
    out = root / "out"
    write_root(out, root / "in")
    run = DwiRun(entities={"sub": "01", "ses": "1"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    for key in DERIVATIVES:
        path = derivative_path(out, run, key, **LABELS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.name.endswith((".nii.gz", ".tsv")):
            path.with_name(path.name.partition(".")[0] + ".json").write_text("{}")
    other = ("sub-01.html", "group_alps.tsv", "group_alps.json", "group_alps.html")
    logs = ("logs/CITATION.md", "logs/sub-01/sub-01_desc-receipt_dwi.json", "logs/sub-01/0-0/bids-alps.log")
    for name in (*other, *logs, "sub-01/figures/sub-01_desc-rois_dwi.svg", "work/run/part.npy"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    (out / ".bidsignore").unlink()


@pytest.fixture(scope="module", params=["its own", "published"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Unknown]:
    """An output without its .bidsignore, and the files whose names a schema does not know."""
    validator, options, root = find_validator(), [], tmp_path_factory.mktemp("root")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    write_all_kinds(root)
    if request.param == "published":
        schema = pytest.importorskip("bidsschematools.schema", reason="bidsschematools is not installed")
        (root / "schema.json").write_text(schema.load_schema().to_json())
        options = ["-s", (root / "schema.json").as_uri()]
    command = [validator, str(root / "out"), "--ignoreWarnings", "--format", "json", *options]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=300)
    errors = [issue for issue in json.loads(ran.stdout)["issues"]["issues"] if issue["severity"] == "error"]
    return root / "out", frozenset(
        str(issue["location"]).strip("/") for issue in errors if issue["code"] in ABOUT_NAMES
    )


def hidden_by(pattern: str, out: Path) -> set[str]:
    """Return the files that an entry hides: it matches their name, or that of a folder above them."""
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    return {path.as_posix() for path in files if any(fnmatch(part, pattern) for part in path.parts)}


@pytest.mark.parametrize("pattern", IGNORED)
def test_an_entry_hides_only_files_that_the_schema_does_not_know(output: tuple[Path, Unknown], pattern: str) -> None:
    out, unknown = output
    hidden = hidden_by(pattern, out)
    assert hidden
    assert hidden <= unknown, f"known: {sorted(hidden - unknown)}"


def test_every_file_that_the_schema_does_not_know_is_hidden(output: tuple[Path, Unknown]) -> None:
    out, unknown = output
    files = {name for name in unknown if (out / name).is_file()}
    assert files - set().union(*(hidden_by(pattern, out) for pattern in IGNORED)) == set()


def test_every_entry_has_its_reason() -> None:
    assert all(reason.endswith(".") for reason in IGNORED.values())
