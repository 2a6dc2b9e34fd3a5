"""The BIDS validator finds no error in input and output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_alps import cli
from bids_alps.io.images import read_map
from bids_alps.io.writing import write_map
from bids_alps.phantom import PhantomSettings, write_phantom

pytestmark = [pytest.mark.slow, pytest.mark.untraced, pytest.mark.usefixtures("unrendered")]  # whole runs of a phantom

SMALL: dict[str, Any] = {"participants": 1, "voxel_size": 5.0, "directions": 6, "b0": 1, "rotation": 0.0, "warp": 0.0}
ALL = PhantomSettings(**SMALL, t1w=True, susceptibility=3.0)
SESSIONS = PhantomSettings(**SMALL, sessions=1)


@pytest.fixture(scope="module", params=[ALL, SESSIONS], ids=["without sessions", "with sessions"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and the output of both levels; without sessions all kinds of files."""
    root = tmp_path_factory.mktemp("validator")
    write_phantom(root / "in", request.param)
    options = ["--registrar", "identity", "--keep-failed"]
    if request.param is ALL:
        atlas = root / "regions.nii.gz"
        grid = read_map(next((root / "in").glob("sub-01/**/*_epi.nii.gz")))
        write_map(atlas, grid.like(np.ones(grid.shape)), dtype=np.uint8)
        atlas.with_name("regions.tsv").write_text("index\tname\n1\teverything\n")
        options += ["--rois", "alps", "alps.sh", "--atlas", str(atlas)]
    else:
        options.append("--skip-preprocessing")
    given = state_of(root / "in")
    for level, chosen in (("participant", options), ("group", [])):
        assert cli.main([str(root / "in"), str(root / "out"), level, *chosen]) == 0
    assert state_of(root / "in") == given  # nothing is written where data are read
    return root


def state_of(folder: Path) -> dict[Path, int]:
    """Return every file and folder with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.fixture(scope="module")
def published_schema(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the published schema of the specification, in addition to that of the validator."""
    schema = pytest.importorskip("bidsschematools.schema", reason="bidsschematools is not installed")
    path = tmp_path_factory.mktemp("schema") / "schema.json"
    path.write_text(schema.load_schema().to_json())
    return path.as_uri()


@pytest.mark.parametrize("which", ["in", "out"])
@pytest.mark.parametrize("schema", ["its own", "published"])
def test_the_output_is_valid_bids(
    study: Path, which: str, schema: str, request: pytest.FixtureRequest, bids_errors: Callable[..., list[str]]
) -> None:
    options = [] if schema == "its own" else ["-s", request.getfixturevalue("published_schema")]
    assert bids_errors(study / which, *options) == []


def test_the_validator_detects_an_error(study: Path, tmp_path: Path, bids_errors: Callable[..., list[str]]) -> None:
    broken = tmp_path / "out"
    shutil.copytree(study / "out", broken)
    next(broken.glob("sub-01/**/*_desc-brain_mask.nii.gz")).rename(broken / "sub-01/sub-01_mask_of_the_brain.nii.gz")
    assert bids_errors(broken)
