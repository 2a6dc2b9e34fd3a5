"""Why the index of one head differs between scans: placement, pose, gradient strength, directions, errors of volumes.

Reads six scans of one head from the folder that the environment variable ALPS_REAL_DATA names. Upper part: coefficient
of variation (CV) of the index where one source is taken away: regions at one place of the head by rigid registration of
the scans to each other, the pose of that place, b-values calibrated from gray matter. Lower part: one signal of the
tissue of each region (a homogeneous polynomial of degree four in the gradient direction, common to all scans), seen with
the directions of each scan, without errors and with errors of volumes like those that it leaves. Word: a preset (alps).
"""

from __future__ import annotations

import os
import sys
import tempfile
from itertools import combinations_with_replacement
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import DwiSeries, Roi
from bids_alps.numerics.index.alps import alps_by_hemisphere, alps_from_series
from bids_alps.numerics.index.rois import place_preset
from bids_alps.numerics.tensors.calibration import reweight
from bids_alps.registration.base import Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.within_subject import average_maps, find_midpoint, transfer_registration
from bids_alps.settings import Method
from bids_alps.stages.prepare import prepare
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import TensorFit, fit

METHOD = Method()
HEMISPHERES = ("left", "right", "bilateral")
DRAWS = 200
VOXEL_NOISE = 0.01
"""SD of the mean log-signal of a region from noise of its voxels."""


def main() -> None:
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        sys.exit("skipped: ALPS_REAL_DATA names no folder of real scans")
    preset = read_preset(sys.argv[1] if len(sys.argv) > 1 else "alps")
    fits, own, common = align(Path(folder) / "canon_galan")
    regions = {
        "own": [place(preset, fitted, way) for fitted, way in zip(fits, own, strict=True)],
        "common": [place(preset, fitted, way) for fitted, way in zip(fits, common, strict=True)],
    }
    turns = {name: [way.transform.rotation for way in ways] for name, ways in (("own", own), ("common", common))}
    as_recorded = [fitted.as_recorded for fitted in fits]
    part = [reweight(fitted.as_recorded, fitted.weighting.corrected) for fitted in fits]
    whole = [reweight(fitted.as_recorded, fitted.weighting.measured) for fitted in fits]
    print(f"{'':60s}{'CV %, left':>12s}{'right':>7s}{'bilateral':>11s}  bilateral index of each scan")
    for name, (series, where, turn) in {
        "own place, own pose, b-values of the table (default)": (as_recorded, "own", "own"),
        "own place, common pose": (as_recorded, "own", "common"),
        "common place (rigid), own pose": (as_recorded, "common", "own"),
        "calibrated where tissues agree": (part, "own", "own"),
        "calibrated by all that gray matter shows": (whole, "own", "own"),
        "common place, calibrated by all": (whole, "common", "own"),
    }.items():
        values = [
            alps_from_series(one, rois, rotation)
            for one, rois, rotation in zip(series, regions[where], turns[turn], strict=True)
        ]
        tell(name, np.array([[value[side] for side in HEMISPHERES] for value in values]))
    for title, series in (("b-values of the table", as_recorded), ("calibrated by all that gray matter shows", whole)):
        print(f"\nOne tissue in all scans, {title}")
        simulate([mean_signals(*one) for one in zip(series, regions["own"], turns["own"], strict=True)])


def align(folder: Path) -> tuple[list[TensorFit], list[Registration], list[Registration]]:
    """Return the fits, each scan's own registration, and that of the mean of all scans carried to each."""
    template, engine, fits, maps = read_template(), ENGINES[METHOD.registrar].make(), [], []
    for run in find_runs(folder, "01"):
        with tempfile.TemporaryDirectory() as scratch:
            fits.append(fit(prepare(run, METHOD, Path(scratch)), METHOD))
        maps.append(subject_maps(fits[-1], run))
    own = [engine.register(one, template) for one in maps]
    midpoint = find_midpoint(maps, [way.transform for way in own], template)
    mean = engine.register(average_maps(maps, midpoint), template)
    edges = [float(np.prod(one.mask.voxel_size)) ** (1 / 3) for one in maps]
    common = [transfer_registration(mean, way, edge) for way, edge in zip(midpoint.frame_from_scan, edges, strict=True)]
    return fits, own, common


def place(preset: object, fitted: TensorFit, registration: Registration) -> list[Roi]:
    """Return the regions of a preset that enter the index."""
    placed = place_preset(preset, registration.transform, fitted.field.image.like(fitted.field.mask))
    return [roi for roi in placed if roi.region != "subcortical"]


def tell(name: str, values: np.ndarray) -> None:
    """Print CV and bilateral values of indices of shape (scans, 3)."""
    cv = 100 * values.std(axis=0, ddof=1) / values.mean(axis=0)
    print(
        f"{name:60s}{cv[0]:12.1f}{cv[1]:7.1f}{cv[2]:11.1f}  " + " ".join(f"{one:.3f}" for one in values[:, 2]),
        flush=True,
    )


def mean_signals(series: DwiSeries, rois: list[Roi], rotation: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """Return for each region the log of its mean attenuation, b-values, and directions in template axes."""
    gradients = series.gradients
    weighted = gradients.bvals > METHOD.b0_threshold
    found = {}
    for roi in rois:
        signal = series.image.data[tuple(roi.voxels.T)].astype(np.float64)
        mean = roi.weights @ (signal / signal[:, ~weighted].mean(1, keepdims=True)) / roi.weights.sum()
        found[roi.name] = np.log(mean[weighted]), gradients.bvals[weighted], gradients.bvecs[weighted] @ rotation.T
    return found


def polynomial(bvals: np.ndarray, bvecs: np.ndarray, degree: int) -> np.ndarray:
    """Return the design of a homogeneous polynomial: 6 columns of degree 2 (a tensor), 15 of degree 4."""
    terms = combinations_with_replacement(range(3), degree)
    return np.stack([-bvals * np.prod(bvecs[:, list(term)], axis=1) for term in terms], axis=1)


def simulate(scans: list[dict[str, tuple[np.ndarray, ...]]]) -> None:
    """Print the CV that directions, and then errors of volumes, give to one tissue."""
    tissue, errors = {}, []
    for name in scans[0]:
        design = np.concatenate([polynomial(*scan[name][1:], 4) for scan in scans])
        observed = np.concatenate([scan[name][0] for scan in scans])
        tissue[name] = np.linalg.lstsq(design, observed, rcond=None)[0]
        errors.append(observed - design @ tissue[name])
    covariance = np.array(errors) @ np.array(errors).T / (len(errors[0]) - 15)
    shared = float(np.mean(covariance[np.triu_indices(len(errors), 1)]))
    print(
        f"errors of volumes: SD {100 * np.sqrt(np.diag(covariance).mean()):.1f} % of a region's signal, of which common to "
        f"the four regions {100 * np.sqrt(max(shared, 0)):.1f} %; noise of voxels alone about {100 * VOXEL_NOISE:.0f} %"
    )
    rng = np.random.default_rng(0)
    tell("  seen with the directions of each scan, no errors", indices(scans, tissue, np.zeros((4, len(errors[0])))))
    for title, factor in (
        ("  with errors of volumes as found", np.linalg.cholesky(covariance)),
        ("  with noise of voxels alone", VOXEL_NOISE * np.eye(4)),
    ):
        values = [indices(scans, tissue, factor @ rng.standard_normal((4, len(errors[0])))) for _ in range(DRAWS)]
        cvs = np.array([100 * one.std(axis=0, ddof=1) / one.mean(axis=0) for one in values])
        rms, (low, high) = np.sqrt((cvs**2).mean(axis=0)), np.percentile(cvs[:, 2], [5, 95])
        print(f"{title:60s}{rms[0]:12.1f}{rms[1]:7.1f}{rms[2]:11.1f}  {low:.1f} to {high:.1f} in 90 % of draws")


def indices(
    scans: list[dict[str, tuple[np.ndarray, ...]]], tissue: dict[str, np.ndarray], errors: np.ndarray
) -> np.ndarray:
    """Return the index of each scan, shape (scans, 3), of tensors fitted to one tissue plus errors (4, volumes)."""
    found, start = [], 0
    for scan in scans:
        tensors = {}
        for row, (name, (log_signal, bvals, bvecs)) in enumerate(scan.items()):
            observed = polynomial(bvals, bvecs, 4) @ tissue[name] + errors[row, start : start + len(log_signal)]
            tensors[name] = np.linalg.lstsq(polynomial(bvals, bvecs, 2), observed, rcond=None)[0]
        tensors = {name: tensor / [1, 2, 2, 1, 2, 1] for name, tensor in tensors.items()}
        start += len(log_signal)
        values = alps_by_hemisphere(tensors)
        found.append([float(values[side]) for side in HEMISPHERES])
    return np.array(found)


if __name__ == "__main__":
    main()
