"""Manual regions replace those of a preset, in their own run only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_alps import cli
from bids_alps.io.images import read_map
from bids_alps.io.tables import read_table
from bids_alps.io.writing import write_map
from bids_alps.phantom import PhantomSettings, write_phantom

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered")]  # whole runs of a phantom

SETTINGS = PhantomSettings(participants=2, voxel_size=4.0, directions=8, b0=1, rotation=0.0, warp=0.0)
OPTIONS = [
    "--skip-preprocessing",
    "--registrar",
    "identity",
    "--skip-bids-validation",
    "--keep-failed",
    "--rois",
    "alps",
]
NAME = "sub-01/dwi/sub-01_seg-alps_dseg.nii.gz"


def run(*arguments: object) -> int:
    return cli.main([*map(str, arguments[:2]), "participant", *OPTIONS, *map(str, arguments[2:])])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and the regions placed by the program."""
    root = tmp_path_factory.mktemp("drawn")
    write_phantom(root / "in", SETTINGS)
    assert run(root / "in", root / "out") == 0
    return root


@pytest.fixture
def drawn(study: Path, tmp_path: Path) -> Path:
    """The regions of one participant, moved by a voxel to the front, with their table."""
    folder = tmp_path / "drawn"
    image = read_map(study / "out" / NAME)
    write_map(folder / NAME, image.like(np.roll(image.data, 1, axis=1)), dtype=np.uint8)
    shutil.copy(study / "out/seg-alps_dseg.tsv", folder)
    return folder


def with_manual_rois(folder: Path, change: object) -> None:
    image = read_map(folder / NAME)
    write_map(folder / NAME, change(image), dtype=np.uint8)


def rows(out: Path, label: str, kind: str = "desc-alps") -> dict[str, list[Any]]:
    table = read_table(out / f"sub-{label}/dwi/sub-{label}_{kind}_scalarstats.tsv")
    return {str(name): values.tolist() for name, values in table.items()}


def test_manual_regions_are_used_for_their_run_only(study: Path, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(study / "in", out, "-d", f"rois={drawn}") == 0
    np.testing.assert_array_equal(read_map(out / NAME).data, read_map(drawn / NAME).data)
    placed, moved = (rows(folder, "01", "seg-alps") for folder in (study / "out", out))
    labels = read_map(drawn / NAME)
    inside = [labels.world(np.argwhere(labels.data == value)).mean(axis=0)[1] for value in (1, 2, 4, 5)]
    measured = [
        moved["y"][moved["roi"].index(f"{region}_{side}")]
        for side in ("left", "right")
        for region in ("projection", "association")
    ]
    np.testing.assert_allclose(measured, inside, atol=1.5)
    assert moved["y"] != placed["y"]
    assert rows(out, "01")["roi_source"] == ["scan"] * 3
    assert rows(out, "01")["roi_preset"] == ["alps"] * 3
    assert np.isfinite(rows(out, "01")["alps_se"]).all()
    other = "sub-02/dwi/sub-02_desc-alps_scalarstats.tsv"
    assert (out / other).read_text() == (study / "out" / other).read_text()
    assert rows(out, "02")["roi_source"] == ["template"] * 3


def test_redrawn_regions_trigger_reprocessing(
    study: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [study / "in", tmp_path / "out", "--participant-label", "01", "-d", f"rois={drawn}"]
    assert run(*options) == 0
    assert run(*options) == 0
    assert "[up to date]" in capsys.readouterr().out
    with_manual_rois(drawn, lambda image: image.like(np.roll(image.data, 1, axis=2)))
    assert run(*options) == 0
    assert "[up to date]" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.like(image.data[:-1]), "Draw the regions on the grid"),
        (
            lambda image: type(image)(data=image.data, affine=image.affine + np.diag([0.1, 0, 0, 0])),
            "Draw the regions on the grid",
        ),
        (lambda image: image.like(np.where(image.data == 2, 0, image.data)), "no voxel of association_left"),
        (
            lambda image: image.like(np.choose(image.data.astype(int), [0, 4, 5, 6, 1, 2, 3])),
            "to the right of projection_right",
        ),
    ],
    ids=["shape", "position", "missing", "sides"],
)
def test_unusable_manual_regions_are_refused(
    study: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, message: str
) -> None:
    with_manual_rois(drawn, change)
    assert run(study / "in", tmp_path / "out", "--participant-label", "01", "-d", f"rois={drawn}") == 65
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "seg-alps_dseg.tsv").unlink(), 66),
        (lambda folder: shutil.copy(folder / NAME, folder / NAME.replace(".nii.gz", ".nii")), 65),
    ],
    ids=["table", "twice"],
)
def test_ambiguous_manual_regions_are_refused_in_the_plan(
    study: Path, drawn: Path, tmp_path: Path, spoil: object, code: int
) -> None:
    spoil(drawn)
    assert run(study / "in", tmp_path / "out", "--participant-label", "01", "-d", f"rois={drawn}", "--dry-run") == code


def test_an_unused_manual_image_is_reported(
    study: Path, drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    misspelt = (drawn / NAME).rename(drawn / NAME.replace("seg-alps", "seg-apls"))
    assert run(study / "in", tmp_path / "out", "-d", f"rois={drawn}", "--dry-run") == 0
    assert f"{misspelt}: its name matches no processed run and preset" in caplog.text


def test_the_plan_names_manual_regions(
    study: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(study / "in", tmp_path / "out", "-d", f"rois={drawn}", "--dry-run") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "regions" in line] == [
        f"  regions   {drawn / NAME} for alps"
    ]
