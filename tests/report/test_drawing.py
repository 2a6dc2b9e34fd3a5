"""Figures are complete, well-formed, and the same bytes every time."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pytest

from bids_alps.model import Roi
from bids_alps.report.drawing import compare_steps, draw_run_figures, trace_motion
from bids_alps.report.figures_group import (
    draw_checks,
    draw_index_distribution,
    draw_left_right,
    draw_pose,
)
from bids_alps.report.figures_rois import draw_rois
from bids_alps.report.slices import find_display

pytestmark = pytest.mark.medium


def texts(svg):
    return " ".join(text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip())  # noqa: S314


def test_every_figure_of_a_run_is_drawn_and_small(figures):
    pairs = {f"{name}{when}" for name in ("registration", "denoise") for when in ("Before", "After")}
    assert set(figures) == {"rois", "sticks", "headmotion", *pairs}
    assert all(len(svg) < 500_000 for svg in figures.values())


def test_figures_mark_the_left_side(figures):
    for name in ("rois", "sticks", "registrationBefore", "denoiseAfter"):
        labels = texts(figures[name])
        assert "Left of the image = left of the head" in labels
        assert {"L", "R", "A", "P", "S", "I"} <= set(labels.split())


@pytest.mark.slow
def test_same_input_same_bytes_whatever_the_users_settings(drawing, figures):
    with mpl.rc_context({"font.size": 22, "svg.fonttype": "path", "image.cmap": "jet"}):
        again = draw_run_figures(drawing)
    assert again == figures
    assert not any(b"<dc:date>" in svg for svg in figures.values())


def test_subject_and_template_are_drawn_in_the_same_planes(figures):
    before, after = (ElementTree.fromstring(figures[f"registration{when}"]) for when in ("Before", "After"))  # noqa: S314
    places = [
        [(image.get("x"), image.get("y"), image.get("width")) for image in svg.iter() if image.tag.endswith("image")]
        for svg in (before, after)
    ]
    assert places[0] == places[1]
    assert before.get("viewBox") == after.get("viewBox")


def test_a_rotated_display_shows_template_coordinates(drawing):
    lifted = np.eye(4)
    lifted[2, 3] = 20.0
    levels = []
    for rigid in (np.eye(4), lifted):
        svg = draw_rois(drawing.fa, drawing.v1, drawing.rois, find_display(drawing.mask, rigid))
        levels.append(int(texts(svg).split("axial, z = ")[1].split()[0]))
    assert levels[1] == levels[0] + 20


@pytest.mark.parametrize("sides", [("left",), ()])
def test_a_run_that_lacks_regions_is_still_drawn(drawing, sides):
    none = Roi(name="projection_right", voxels=np.zeros((0, 3)), weights=np.zeros(0))
    rois = [*(roi for roi in drawing.rois if roi.side in sides), none]
    drawn = draw_run_figures(replace(drawing, rois=rois, comparisons=(), motion=None))
    assert (b"projection, left" in drawn["rois"]) == bool(sides)
    assert b"projection, right" not in drawn["rois"]


def test_preprocessing_steps_are_compared_in_order(drawing):
    image = np.ones(drawing.fa.shape)
    steps = compare_steps(drawing.fa, {"distortion": (image, 2 * image), "motion": (image, 3 * image)})
    assert [step.name for step in steps] == ["motion", "distortion"]
    assert steps[1].after.data.max() == 2


def test_motion_is_drawn_in_millimeters_and_degrees():
    motion = SimpleNamespace(
        confounds={
            **{f"trans_{axis}": np.array([0.0, n]) for n, axis in enumerate("xyz")},
            **{f"rot_{axis}": np.array([0.0, np.pi / 2]) for axis in "xyz"},
        },
        framewise_displacement=np.array([0.0, 3.0]),
        outlier_slices=np.array([[False, False], [True, False]]),
        slice_axis=2,
    )
    trace = trace_motion(cast(Any, motion))
    np.testing.assert_allclose(trace.translations_mm[1], [0, 1, 2])
    np.testing.assert_allclose(trace.rotations_degrees[1], 90)
    assert trace.outlier_fraction == (0.0, 0.5)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_charts_for_cohorts_of_any_size(n):
    values = np.linspace(1.2, 1.6, n)
    values[:1] = np.nan
    statuses = ["pass", "warn", "fail", "pass", "pass"][:n]
    indices = dict.fromkeys(("left", "right", "bilateral"), values)
    assert b"left" in draw_index_distribution(indices)
    assert b"ALPS index, right" in draw_left_right(values, values, statuses)
    assert b"pitch" in draw_pose({"pitch": values}, values, statuses)
    assert b"SNR b=0" in draw_checks({"SNR b=0": {"pass": n}})


def test_the_correlation_with_pose_is_shown():
    pitch = np.array([0.0, 1.0, 2.0, 3.0])
    assert "r = -1.00" in texts(draw_pose({"pitch": pitch}, 1.5 - pitch / 10, ["pass"] * 4))


@pytest.mark.slow
def test_atlas_regions_have_their_own_figure(drawing):
    labels = np.zeros(drawing.fa.shape, dtype=int)
    labels[15:22, 15:25, 15:25], labels[38:45, 15:25, 15:25] = 1, 2
    drawn = draw_run_figures(replace(drawing, atlases=(drawing.fa.like(labels),)))
    empty = draw_run_figures(replace(drawing, atlases=(drawing.fa.like(labels * 0),)))
    assert b"#ffd23f" not in empty["atlases"]
    assert len(drawn["atlases"]) > len(empty["atlases"])
    assert b"#56b4e9" in drawn["atlases"]


def test_lesions_are_outlined_in_intersecting_planes(drawing, figures):
    share = np.zeros(drawing.fa.shape)
    share[15:22, 14:25, 17:26] = 1.0
    display = find_display(drawing.mask, np.eye(4))
    drawn, empty = (
        draw_rois(drawing.fa, drawing.v1, drawing.rois, display, drawing.fa.like(lesions))
        for lesions in (share, share * 0)
    )
    assert "cyan lesions" in texts(drawn)
    assert b"#00e5ff" in drawn
    assert b"#00e5ff" not in empty
    assert "lesions" not in texts(figures["rois"])
