"""Gradient tables misread on purpose: which of the 24 readings the repair takes, beside MRtrix3's dwigradcheck.

python benchmarks/bench_gradient_table.py [READINGS [PEER [DATASET ...]]]  # readings for us (24), for dwigradcheck (3)

Simulated thin curved bundles; a simulated head, whose wide straight tracts continue in every reading, so that all must be
refused; and the scans of the folder that ALPS_REAL_DATA names (only the first run of the DATASETs, where these are
named). A table and its negative give the same tensors, so the 24 readings with either sign are all 48 ways to flip and
exchange axes, of both handednesses. "Wrong" counts tables that were repaired wrongly or taken for right.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.linalg import polar

from bids_alps.io.images import read_series
from bids_alps.io.layout import find_runs
from bids_alps.io.writing import write_map
from bids_alps.model import Array, DwiRun, DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors.coherence import axis_conventions
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.settings import Method
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.masking import find_mask

REPAIR = Method(gradient_table="repair")
PHANTOM = PhantomSettings(participants=1, seed=5, voxel_size=2.5, directions=30, b0=2)


def main() -> None:
    ours, peers = (int(text) for text in (*sys.argv[1:3], *("24", "3")[len(sys.argv[1:3]) :]))
    print(f"{'':40s}{'bids-alps':>32s}{'CPU s':>8s}{'dwigradcheck':>17s}{'CPU s':>8s}")
    print(f"{'scan':40s}{'right':>12s}{'refused':>10s}{'wrong':>10s}{'each':>8s}{'right':>17s}{'each':>8s}")
    measure_series("simulated bundles", simulate_bundles(), ours, peers)
    with tempfile.TemporaryDirectory() as scratch:
        write_phantom(Path(scratch) / "phantom", PHANTOM)
        for dataset in (Path(scratch) / "phantom", *real_datasets(sys.argv[3:])):
            runs = [run for run in find_runs(dataset, "01") if isinstance(run, DwiRun)]
            for run in runs[:1] if sys.argv[3:] else runs:
                name = f"{run.image.parents[2].name[:18]} {run.name}"
                measure_series(name, read_series(run), ours, peers)


def real_datasets(names: list[str]) -> Iterator[Path]:
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        print("skipped: ALPS_REAL_DATA names no folder of real scans")
        return
    for path in sorted(Path(folder).glob("*/dataset_description.json")):
        if not names or path.parent.name in names:
            yield path.parent


def simulate_bundles(seed: int = 1, *, size: int = 44, number: int = 60) -> DwiSeries:
    """Return a series of circular bundles, 3 voxels wide, in random planes; 2 mm, oblique, 30 directions, SNR 25."""
    random = np.random.default_rng(seed)
    fibers = np.zeros((size, size, size, 3))
    around = np.argwhere(np.ones((3, 3, 3))) - 1
    for _ in range(number):
        first, second = np.linalg.qr(random.normal(size=(3, 2)))[0].T
        angles = np.linspace(0, 2 * np.pi, 400)[:, None]
        radius, center = random.uniform(8, 25), random.uniform(0, size, 3)
        points = center + radius * (np.cos(angles) * first + np.sin(angles) * second)
        tangents = -np.sin(angles) * first + np.cos(angles) * second
        for shift in around:
            voxels = np.rint(points + shift).astype(int)
            inside = ((voxels >= 0) & (voxels < size)).all(axis=1)
            fibers[tuple(voxels[inside].T)] = tangents[inside]
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * np.linalg.qr(np.eye(3) + 0.2 * random.normal(size=(3, 3)))[0]
    directions = random.normal(size=(30, 3))
    bvecs = np.vstack([np.zeros((2, 3)), directions / np.linalg.norm(directions, axis=1, keepdims=True)])
    bvals = np.where(bvecs.any(axis=1), 1000.0, 0.0)
    along = (fibers @ affine[:3, :3].T / 2.0) @ bvecs.T
    white = fibers.any(axis=3, keepdims=True)
    signal = 1000 * np.exp(-bvals * np.where(white, 0.0003 + 0.0014 * along**2, 0.0009))
    noisy = np.abs(signal + random.normal(scale=40, size=signal.shape)).astype(np.float32)
    return DwiSeries(image=SpatialMap(data=noisy, affine=affine), gradients=Gradients(bvals=bvals, bvecs=bvecs))


def measure_series(name: str, series: DwiSeries, ours: int, peers: int) -> None:
    """Print how often the right reading is found, by us and by dwigradcheck, in tables misread on purpose."""
    mask = np.ones(series.image.shape[:3], bool) if name.startswith("sim") else find_mask(series, b0_threshold=50.0)
    right, refused, begun = 0, 0, time.process_time()
    for reading in axis_conventions()[:ours]:
        wrong = misread(series, reading)
        repaired = repair_table(wrong, mask, REPAIR)
        same = is_same(repaired.gradients.bvecs, series.gradients.bvecs)
        right += same
        refused += not same and repaired.gradients is wrong.gradients and repaired.notes != wrong.notes
    seconds = (time.process_time() - begun) / max(ours, 1)
    line = f"{name:40s}{right:6d} of {ours:2d}{refused:10d}{ours - right - refused:10d}{seconds:8.1f}"
    if shutil.which("dwigradcheck") and peers:
        found = [
            check_by_mrtrix(misread(series, one), mask, series) for one in axis_conventions()[1 : 1 + 7 * peers : 7]
        ]
        line += f"{sum(same for same, _ in found):11d} of {len(found):2d}{np.mean([spent for _, spent in found]):8.1f}"
    print(line, flush=True)


def misread(series: DwiSeries, reading: Array) -> DwiSeries:
    """Return a series whose b-vectors have permuted or flipped voxel axes."""
    turn, _ = polar(series.image.affine[:3, :3])
    bvecs = series.gradients.bvecs @ turn @ reading @ turn.T
    return DwiSeries(image=series.image, gradients=Gradients(bvals=series.gradients.bvals, bvecs=bvecs))


def is_same(one: Array, other: Array) -> bool:
    """Return whether directions are equal up to their sign."""
    weighted = np.linalg.norm(other, axis=1) > 0.5
    return bool((np.abs((one[weighted] * other[weighted]).sum(1)) > 0.99).all())


def check_by_mrtrix(wrong: DwiSeries, mask: Array, right: DwiSeries) -> tuple[bool, float]:
    """Return whether dwigradcheck finds the correct convention, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_map(folder / "dwi.nii.gz", wrong.image)
        write_map(folder / "mask.nii.gz", wrong.image.like(mask), dtype=np.uint8)
        np.savetxt(folder / "in.b", np.column_stack([wrong.gradients.bvecs, wrong.gradients.bvals]))
        command = [
            *("dwigradcheck", folder / "dwi.nii.gz", "-grad", folder / "in.b", "-mask", folder / "mask.nii.gz"),
            *("-export_grad_mrtrix", folder / "out.b", "-nthreads", "0", "-scratch", folder, "-quiet"),
        ]
        before = os.times()
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        after = os.times()
        table = np.loadtxt(folder / "out.b")[:, :3]
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return is_same(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9), right.gradients.bvecs), spent


if __name__ == "__main__":
    main()
