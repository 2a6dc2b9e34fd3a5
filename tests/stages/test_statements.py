"""Every option changes the methods text as expected, and every cited library was called in that run."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_alps.io.combining import combine
from bids_alps.io.images import read_volumes
from bids_alps.io.layout import find_runs
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import DwiRun, LesionMask, Statement
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.registration import dipy
from bids_alps.report.methods import write_methods
from bids_alps.settings import Method
from bids_alps.stages import run as story
from bids_alps.stages.run import run_stages

pytestmark = [pytest.mark.slow, pytest.mark.untraced]  # whole runs of a phantom

LIBRARY = tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text())
MODULES = {entry["module"]: entry["cite"] for entry in LIBRARY.values() if "module" in entry}
STILL = PhantomSettings(
    participants=1, voxel_size=5.0, slab=60.0, directions=8, b0=2, rotation=0.0, warp=0.0, scalp=False
)
TWO_SHELLS = replace(STILL, shells=(1000.0, 2000.0))
MOVED = replace(STILL, slab=0.0, directions=30, motion=0.4, susceptibility=6.0)
MANY = replace(STILL, directions=30)  # enough volumes to be denoised
FAST = {"registrar": "identity"}
ALONE = {**FAST, "skip_preprocessing": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("statements")
    write_phantom(root / "still", STILL)
    write_phantom(root / "two", TWO_SHELLS)
    write_phantom(root / "moved", MOVED)
    write_phantom(root / "many", MANY)
    mask = read_template().mask
    points = mask.world(np.stack(np.indices(mask.shape), axis=-1))
    write_map(root / "lesion.nii.gz", mask.like((np.abs(points - [-26, -16, 27]) < 4).all(-1)), dtype=np.uint8)
    labels = mask.like(np.where(points[..., 0] < 0, 1, 2) * mask.data)
    write_map(root / "halves_dseg.nii.gz", labels, dtype=np.uint8)
    write_text(root / "halves_dseg.tsv", "index\tname\n1\tleft\n2\tright\n")
    return root


@contextmanager
def watch_calls() -> Iterator[set[str]]:
    """Record which of the cited libraries are called."""
    called: set[str] = set()
    known: set[object] = set()  # what is called a million times is looked at once

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            if id(frame.f_code) in known:
                return
            known.add(id(frame.f_code))
            called.add(str(frame.f_globals.get("__name__")).partition(".")[0])
            if "picsl_greedy" in frame.f_code.co_names:  # methods made by pybind11 raise no event of their own
                called.add("picsl_greedy")
        elif event == "c_call":
            names = getattr(argument, "__module__", ""), type(getattr(argument, "__self__", None)).__module__
            if names not in known:
                known.add(names)
                called.update(str(name).partition(".")[0] for name in names)

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        called &= set(MODULES)


def methods_text(run: DwiRun, out: Path, **method: Any) -> str:
    """Run all stages except figures; return the methods text after checking that cited libraries were called."""
    with watch_calls() as called:
        result = run_stages(run, Method(**method), out)
    methods = write_methods({run.name: result.statements})
    text = " ".join(methods.paragraphs)
    cited = {module for module, cite in MODULES.items() if cite in text}
    assert cited <= called, f"cited and not called: {cited - called}"
    assert not {"[@", "{", "}", "nan", "None"} & set(text.split())
    return text


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(story, "draw", lambda *_: None)
    return tmp_path


def run_of(data: Path, name: str) -> DwiRun:
    (run,) = find_runs(data / name, "01")
    assert isinstance(run, DwiRun)
    return run


@pytest.fixture(scope="module")
def default(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said of a run without preprocessing and alignment, and with the defaults else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story, "draw", lambda *_: None)
        return methods_text(run_of(data, "still"), tmp_path_factory.mktemp("default"), **ALONE)


def test_default_statements(default: str) -> None:
    for words in (
        "used without preprocessing",
        "Otsu's threshold (Otsu, 1979)",
        "fitted to 8 diffusion-weighted volumes (b = 1000 s/mm²) and 2 b=0 volumes (b up to 50 s/mm²)",
        "assumed to be in the space of the template MNI152NLin2009aSym (Fonov et al., 2011)",
        "preset alps",
        "Whitcher et al., 2008",
        "the error of head pose",
        "the effect of voxel size",
        "(seed 20170617)",
        "quality checks",
        "not a measure of glymphatic clearance",
    ):
        assert words in default
    for words in ("Free water", "Head motion", "Noise", "lesion", "atlas", "alps.sh", "SimpleITK", "greedy"):
        assert words not in default


@pytest.mark.parametrize(
    ("method", "come", "gone"),
    [
        ({"pose_correction": False}, ["left in scanner axes"], ["Tatekawa", "error of head pose"]),
        ({"roi_weighting": "fraction"}, ["by the fraction of their volume"], ["FA below 0.2"]),
        ({"roi_weighting": "tissue"}, ["FA below 0.2"], []),
        ({"gradient_calibration": False}, [], ["Nagy"]),
        ({"gradient_calibration": True}, ["Nagy"], []),
        ({"roi_radius": 4.0}, ["spheres of 4 mm radius"], ["ellipsoids"]),
        ({"b0_threshold": 40.0}, ["(b up to 40 s/mm²)"], ["up to 50"]),
        ({"threshold": ("pitch=1,90",)}, ["with the thresholds pitch=1,90"], []),
        ({"random_seed": 5}, ["(seed 5)"], ["20170617"]),
        ({"rois": ("alps.sh",)}, ["Liu et al., 2024", "spheres of 2.5 mm", "DIPY"], ["Whitcher", "semi-axes", "Hoy"]),
        ({"rois": ("alps", "alps.sh")}, ["Liu et al., 2024", "ellipsoids"], []),
        ({"rois": ("alps",)}, ["preset alps, ell"], ["preset alps-sphere"]),
        ({"rois": ("alps", "alps-sphere")}, ["preset alps-sphere, spheres of 2.5 mm", "preset alps, ell"], []),
        ({"threshold": ("fa=.9,.8",)}, ["failed check was withheld"], []),
        ({"threshold": ("fa=.9,.8",), "keep_failed": True}, ["failed check was kept"], ["withheld"]),
    ],
)
def test_measurement_options_change_the_text(
    data: Path, out: Path, default: str, method: dict[str, Any], come: list[str], gone: list[str]
) -> None:
    text = methods_text(run_of(data, "still"), out, **{**ALONE, **method})
    assert [words for words in come if words not in text] == []
    assert [words for words in gone if words in text] == []
    if any(getattr(Method(), name) != value for name, value in method.items()):
        assert text != default


@pytest.mark.parametrize(
    ("method", "fitted"),
    [({}, "8 diffusion-weighted volumes (b = 1000 s"), ({"shells": (1000.0, 2000.0)}, "(b = 1000 and 2000 s/mm²)")],
)
def test_shells_and_free_water_are_stated(data: Path, out: Path, method: dict[str, Any], fitted: str) -> None:
    text = methods_text(run_of(data, "two"), out, **{**ALONE, **method})
    assert fitted in text
    assert "Free water and tensors were fitted jointly" in text


@pytest.mark.parametrize(
    ("method", "come", "gone"),
    [
        (
            {},
            ["Head motion", "(SimpleITK; Lowekamp et al., 2013)", "Susceptibility", "resampled once"],
            ["Noise", "Gibbs", "without preprocessing"],
        ),
        ({"motion_correction": False}, ["Susceptibility"], ["Head motion", "SimpleITK"]),
        ({"distortion_correction": False}, ["Head motion"], ["Susceptibility", "Ruthotto"]),
        (
            {"motion_correction": False, "distortion_correction": False},
            ["used without preprocessing"],
            ["were resampled once"],
        ),
    ],
)
def test_a_correction_is_stated_if_it_ran(
    data: Path, out: Path, method: dict[str, Any], come: list[str], gone: list[str]
) -> None:
    text = methods_text(run_of(data, "moved"), out, **{**FAST, **method})
    assert [words for words in come if words not in text] == []
    assert [words for words in gone if words in text] == []


def test_denoising_is_stated(data: Path, out: Path) -> None:
    steps = {"denoising": True, "unringing": True, "motion_correction": False, "distortion_correction": False}
    text = methods_text(run_of(data, "many"), out, **FAST, **steps)
    for words in ("Veraart et al., 2016", "Kellner et al., 2016", "Garyfallidis"):
        assert words in text
    for words in ("Head motion", "Susceptibility", "were resampled once"):
        assert words not in text


def test_a_requested_correction_that_did_not_run_is_not_stated(data: Path, out: Path) -> None:
    run = replace(run_of(data, "still"), fieldmaps=())
    text = methods_text(run, out, **FAST, denoising=True, motion_correction=False, distortion_correction=True)
    assert "used without preprocessing" in text
    assert "Noise" not in text
    assert "Susceptibility" not in text


def test_uncorrected_opposite_runs_are_not_stated_as_merged(data: Path, out: Path) -> None:
    run = run_of(data, "still")
    opposite = {**run.metadata, "PhaseEncodingDirection": str(run.metadata["PhaseEncodingDirection"]).rstrip("-")}
    assert opposite != run.metadata
    twin = replace(run, entities={**run.entities, "run": "2"}, metadata=opposite)
    merged = replace(run, partners=(twin,))
    assert combine([run], everything=True) == [run]
    text = methods_text(merged, out, **FAST, motion_correction=False, combine_runs=True)
    assert "Runs of opposite phase encoding were merged" not in text
    assert "8 diffusion-weighted volumes" in text


def test_preprocessed_series_and_masks_are_stated(data: Path, out: Path) -> None:
    run = run_of(data, "still")
    image = read_volumes(run.image)
    write_map(data / "brain_mask.nii.gz", image.like(image.data[..., 0] > 100), dtype=np.uint8)
    text = methods_text(replace(run, preprocessed=True, mask=data / "brain_mask.nii.gz"), out / "again", **FAST)
    assert "had been preprocessed by another program" in text
    assert "The brain mask of the preprocessed series was used" in text
    assert "Otsu" not in text


@pytest.mark.parametrize(
    ("method", "come"),
    [({}, ["with and without"]), ({"exclude_lesions": True}, ["with and without", "were excluded from the regions"])],
)
def test_lesions_are_stated(data: Path, out: Path, method: dict[str, Any], come: list[str]) -> None:
    lesions = LesionMask(path=data / "lesion.nii.gz", space="MNI152NLin2009aSym")
    text = methods_text(replace(run_of(data, "still"), lesions=lesions), out, **{**ALONE, **method})
    assert [words for words in come if words not in text] == []
    assert ("were excluded from the regions" in text) is bool(method)


def test_atlases_are_stated(data: Path, out: Path) -> None:
    atlas = str(data / "halves_dseg.nii.gz")
    text = methods_text(run_of(data, "still"), out, **ALONE, atlas=(atlas,), atlas_threshold=0.7)
    assert "over the regions of the atlas halvesdseg, in voxels with a fraction of 0.7 or more" in text


@pytest.mark.parametrize(
    ("registrar", "head", "words"),
    [("staged", "still", "(greedy; Yushkevich et al., 2016)"), ("dipy", "moved", "SyN (Avants et al., 2008)")],
)
def test_the_engine_is_stated_and_called(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, registrar: str, head: str, words: str
) -> None:
    monkeypatch.setattr(dipy, "_STEP_MM", 4.0)
    text = methods_text(run_of(data, head), out, skip_preprocessing=True, registrar=registrar)
    assert words in text
    assert "SimpleITK" not in text


def test_every_reference_is_used() -> None:
    source = "".join(path.read_text() for path in Path(story.__file__).parents[1].rglob("*.py"))
    assert [key for key in LIBRARY if f"[@{key}]" not in source] == []


def test_statements_have_all_their_values() -> None:
    from bids_alps.stages.statements import make_statement

    one, other = make_statement("tensors", "{a:g} of", "{b:.1f} of", a=1.0, b=2.0)
    assert one == Statement(stage="tensors", text="{a:g} of", values={"a": 1.0})
    assert other.values == {"b": 2.0}
