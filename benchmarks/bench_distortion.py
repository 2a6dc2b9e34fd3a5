"""Susceptibility distortion: error of the field in several storage orders, CPU time and peak memory.

If ALPS_REAL_DATA is set, also two runs of one head with opposite phase encoding: their difference before and after
correction, and their index, separately and merged.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from isolated import run_isolated
from motion_phantom import Head, Protocol, make_head, make_pose, make_volume, world_grid
from scipy import ndimage

from bids_alps.io.combining import combine
from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun
from bids_alps.numerics.preprocessing.distortion import EncodedImage, estimate_distortion
from bids_alps.numerics.preprocessing.resampling import align_b0s
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import measure
from bids_alps.stages.prepare import PreparedSeries, prepare
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

CASES = [
    ("LAS", (104, 104, 72), 2.0, "y", -1.0, False),
    ("LAS", (104, 104, 72), 2.0, "y", -1.0, True),
    ("RAS", (72, 72, 48), 3.0, "y", -1.0, False),
    ("LPS", (72, 72, 48), 3.0, "y", -0.6, False),
    ("PSR", (72, 56, 56), 3.0, "y", -1.0, False),
    ("LAS", (72, 72, 48), 3.0, "x", -1.0, False),
]
"""Storage order, shape, voxel size in mm, phase-encoding axis, ratio of readout times, whether the head moved."""


def field_mm(points: np.ndarray) -> np.ndarray:
    """Return displacement along the encoding axis at undistorted world points (3, n): sinus, ears, a slow ramp."""

    def bump(center: tuple[float, float, float], width: float, height: float) -> np.ndarray:
        return height * np.exp(-(((points - np.array(center)[:, None]) / width) ** 2).sum(0) / 2)

    local = bump((0, 45, -15), 16, 7) + bump((42, 5, -25), 14, -5) + bump((-42, 5, -25), 14, -5)
    return local + bump((0, -60, 30), 25, 1.5) + 0.01 * (points[2] - 18) + 0.3


def make_pair(head: Head, protocol: Protocol, ratio: float, moved: bool) -> list[np.ndarray]:
    """Return two images, displaced by the field and by `ratio` times the field."""
    random, points = np.random.default_rng(5), world_grid(protocol)
    row, images = "xyz".index(protocol.phase_axis), []
    for factor in (1.0, ratio):
        source = points.copy()
        for _ in range(25):
            source[row] = points[row] - factor * field_mm(source)
        pose = make_pose(random, 0.8, 0.8) if moved and factor != 1 else np.eye(4)
        clean = make_volume(head, protocol, 0, pose, (factor * field_mm(source)).reshape(protocol.shape))
        noise = random.normal(scale=24, size=(2, *protocol.shape))
        images.append(np.hypot(clean + noise[0], noise[1]))
    return images


def main() -> None:
    head = make_head()
    print(
        "storage  mm  direction  ratio  moved | error mm: median   95 %  | difference before, after | CPU s  peak MiB"
    )
    for axes, shape, voxel, phase, ratio, moved in CASES:
        protocol = Protocol(
            shape=shape, voxel_mm=voxel, axes=axes, bvals=np.zeros(1), bvecs=np.zeros((1, 3)), phase_axis=phase
        )
        axis = int(np.argmax(np.abs(protocol.affine["xyz".index(phase), :3])))
        step = protocol.affine["xyz".index(phase), axis]
        sign = int(np.sign(step))
        images = [
            EncodedImage(data=image, affine=protocol.affine, phase_axis=axis, polarity=polarity, readout=readout)
            for image, polarity, readout in zip(
                make_pair(head, protocol, ratio, moved), (sign, -sign), (0.05, -0.05 * ratio), strict=True
            )
        ]
        rest = ndimage.binary_opening(make_volume(head, protocol, 0, np.eye(4)) > 250, iterations=2)
        mask = ndimage.binary_dilation(rest, iterations=2)
        measured = run_isolated(estimate_distortion, images[0], images[1], mask)
        found = measured.result
        true = field_mm(world_grid(protocol)).reshape(shape) / step
        error = (found.displacement - true)[rest] * voxel
        error = np.abs(error - np.median(error))  # a shift of the whole head is indistinguishable from motion
        direction = "ijk"[axis] + ("" if sign > 0 else "-")
        print(
            f"{axes:7} {voxel:4.1f} {direction:>9} {ratio:7.1f} {moved!s:>6} | {np.median(error):17.3f} "
            f"{np.percentile(error, 95):7.3f} | {found.difference_before:10.4f} {found.difference_after:12.4f} | "
            f"{measured.seconds:5.1f} {measured.peak:9.0f} {'applied' if found.proven else 'not applied'}"
        )

    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        print("real scans: skipped, ALPS_REAL_DATA names no folder")
        return
    compare_runs(find_runs(Path(folder) / "siemens_xa30", "01"))


def compare_runs(runs: list[DwiRun]) -> None:
    """Print the difference between two runs with opposite phase encoding."""
    print(
        f"\n{'two opposite runs (XA30)':28}{'difference of b0, % of the median':>36}{'index':>8}{'index':>8}{'merged':>9}"
    )
    for title, method in {
        "uncorrected": Method(skip_preprocessing=True),
        "motion only": Method(distortion_correction=False),
        "motion and distortion": Method(),
    }.items():
        with tempfile.TemporaryDirectory() as scratch:
            both = [prepare(run, method, Path(scratch)) for run in runs]
            values = [measure_index(run, found, method) for run, found in zip(runs, both, strict=True)]
            merged = float("nan")
            if not method.skip_preprocessing:
                (pair,) = combine(runs, everything=True)
                merged = measure_index(pair, prepare(pair, method, Path(scratch)), method)
        print(f"{title:28}{difference(*both):36.1f}{values[0]:8.3f}{values[1]:8.3f}{merged:9.3f}", flush=True)


def difference(one: PreparedSeries, other: PreparedSeries) -> float:
    """Return the mean difference of two aligned b=0 images within the brain, percent of their median."""
    bases = [
        found.series.image.data[..., found.series.gradients.bvals <= 50].mean(-1, dtype=np.float64)
        for found in (one, other)
    ]
    affines = (one.series.image.affine, other.series.image.affine)
    pose = align_b0s(bases[0], bases[1], affines, one.mask).matrix
    inverse = np.linalg.inv(affines[1]) @ pose @ affines[0]
    moved = ndimage.affine_transform(bases[1], inverse[:3, :3], inverse[:3, 3], output_shape=bases[0].shape, order=1)
    seen = one.mask & (moved > 0)
    return 100 * float(np.abs(bases[0] - moved)[seen].mean() / np.median(bases[0][seen]))


def measure_index(run: DwiRun, prepared: PreparedSeries, method: Method) -> float:
    fitted = fit(prepared, method)
    registration = ENGINES[method.registrar].make().register(subject_maps(fitted, run), read_template())
    return measure(
        AlignedRun(fitted=fitted, registration=registration, method=method), read_preset("alps")
    ).result.alps["bilateral"]


if __name__ == "__main__":
    main()
