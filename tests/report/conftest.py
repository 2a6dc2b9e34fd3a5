"""A small run and an output folder to report on."""

import json

import numpy as np
import pytest

from bids_alps.model import Roi, SpatialMap, SpatialTransform, Template
from bids_alps.report.catalog import write_figures
from bids_alps.report.drawing import BeforeAfter, Motion, RunDrawing, draw_run_figures
from bids_alps.report.page import IndexValue, RunSection


def make_drawing():
    """A box of tissue with one region of each kind on each side, aligned with itself."""
    shape = (60, 40, 40)
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = (-75, -50, -50)
    grid = SpatialMap(data=np.zeros(shape), affine=affine)
    inside = np.zeros(shape, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    fa = grid.like(np.where(inside, 0.6, 0.0))
    v1 = grid.like(np.broadcast_to(np.array([0.0, 0.6, 0.8]), (*shape, 3)))
    rois = []
    for sign, side in ((-1, "left"), (1, "right")):
        for region, x in (("projection", 26), ("association", 38), ("subcortical", 52)):
            center = np.round(grid.voxels(np.array([sign * x, -5.0, 5.0]))).astype(int)
            voxels = center + np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1]])
            rois.append(Roi(name=f"{region}_{side}", voxels=voxels, weights=np.array([1.0, 0.7, 0.4])))
    wm = grid.like(inside.astype(float))
    template = Template(name="Box", t1w=wm, gm=wm, wm=wm, csf=wm, mask=wm.like(inside))
    motion = Motion(
        translations_mm=np.arange(12.0).reshape(4, 3) / 10,
        rotations_degrees=np.zeros((4, 3)),
        displacement_mm=np.array([np.nan, 0.3, 0.3, 0.3]),
        outlier_fraction=(0.0, 0.1, 0.0, 0.0),
    )
    return RunDrawing(
        fa=fa,
        mask=fa.like(inside),
        v1=v1,
        rois=rois,
        transform=SpatialTransform(affine=np.eye(4), rigid=np.eye(4)),
        template=template,
        comparisons=(BeforeAfter(name="denoise", title="Denoising", before=fa, after=wm),),
        motion=motion,
    )


@pytest.fixture(scope="session")
def drawing():
    return make_drawing()


@pytest.fixture(scope="session")
def figures(drawing):
    return draw_run_figures(drawing)


def write_tsv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0]), *("\t".join(str(cell) for cell in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_run(output, name, figures, *, status="pass", reason="Noise widens the interval."):
    """Write the derivatives that a report is made from."""
    participant = name.partition("_")[0]
    folder = output / participant / "dwi"
    index = [
        {
            "roi_preset": "alps",
            "hemisphere": side,
            "alps": alps,
            "alps_se": 0.05,
            "alps_ci_low": alps - 0.1,
            "alps_ci_high": alps + 0.1,
            "alps_uncorrected": alps - 0.03,
            "pitch": 3.0,
            "b_value": 1000.0,
            "n_directions": 32,
            "roi_radius": 2.5,
            "roi_semi_axes": "2.5 2.5 2.5",
            "status": status,
        }
        for side, alps in (("left", 1.512), ("right", 1.4), ("bilateral", 1.456))
    ]
    write_tsv(folder / f"{name}_desc-alps_scalarstats.tsv", index)
    check = {
        "roi_preset": "alps",
        "name": "snr_b0",
        "value": 21.5,
        "unit": "",
        "warn": 10,
        "fail": 5,
        "direction": "below",
    }
    write_tsv(folder / f"{name}_desc-quality_scalarstats.tsv", [{**check, "status": status, "reason": reason}])
    roi = {"roi_preset": "alps", "roi": "projection_left", "n_voxels": 8.2, "dxx": 0.000612, "fa": 0.51}
    write_tsv(folder / f"{name}_seg-alps_scalarstats.tsv", [roi])
    said = [{"stage": "start", "text": "The index ([@taoka2017]) of {n:g} volumes.", "values": {"n": 32}}]
    receipt = {"version": "0.1.0", "method": {"template": "MNI152NLin2009aSym", "random_seed": 7}, "methods": said}
    logs = output / "logs" / participant
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"{name}_desc-receipt_dwi.json").write_text(json.dumps(receipt))
    write_figures(output, name, figures)


@pytest.fixture
def output(tmp_path, figures):
    write_run(tmp_path, "sub-01_dir-AP", figures)
    return tmp_path


@pytest.fixture
def section():
    return RunSection(name="sub-01", status="pass", index=(IndexValue(hemisphere="left", alps=1.5),))
