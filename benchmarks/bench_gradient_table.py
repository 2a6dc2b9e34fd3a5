"""Gradient tables flipped on purpose: which of the 24 readings is taken, beside MRtrix3's dwigradcheck.

Reads the folder that the environment variable ALPS_REAL_DATA names; without it there is nothing to measure.

python benchmarks/bench_gradient_table.py [READINGS [PEER]]   # readings a scan for us (24) and for dwigradcheck (3)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.linalg import polar

from bids_alps.io.images import read_series
from bids_alps.io.layout import find_runs
from bids_alps.io.writing import write_map
from bids_alps.model import Array, DwiRun, DwiSeries, Gradients
from bids_alps.numerics.tensors.coherence import axis_conventions
from bids_alps.settings import Method
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.masking import find_mask

REPAIR = Method(gradient_table="repair")


def main() -> None:
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        sys.exit("skipped: ALPS_REAL_DATA names no folder of real scans")
    ours, peers = (int(text) for text in (*sys.argv[1:], "24", "3")[:2])
    print(
        f"{'scan':40s}{'right, of':>12s}{'left alone':>12s}{'CPU s each':>12s}{'dwigradcheck':>15s}{'CPU s each':>12s}"
    )
    for dataset in sorted(Path(folder).glob("*/dataset_description.json")):
        for run in find_runs(dataset.parent, "01"):
            if isinstance(run, DwiRun):
                measure_run(run, ours, peers)


def measure_run(run: DwiRun, ours: int, peers: int) -> None:
    """Print how often the right reading is found, by us and by dwigradcheck, in tables read wrongly on purpose."""
    series = read_series(run)
    mask = find_mask(series, b0_threshold=50.0)
    right, alone, begun = 0, 0, time.process_time()
    for reading in axis_conventions()[:ours]:
        wrong = misread(series, reading)
        repaired = repair_table(wrong, mask, REPAIR)
        right += is_same(repaired.gradients.bvecs, series.gradients.bvecs)
        alone += repaired.gradients is wrong.gradients and not np.allclose(reading, np.eye(3))
    seconds = (time.process_time() - begun) / max(ours, 1)
    line = f"{run.image.parents[2].name[:18] + ' ' + run.name:40s}{right:6d} of {ours:2d}{alone:12d}{seconds:12.1f}"
    if shutil.which("dwigradcheck") and peers:
        found = [
            check_by_mrtrix(misread(series, one), mask, series) for one in axis_conventions()[1 : 1 + 7 * peers : 7]
        ]
        line += f"{sum(same for same, _ in found):9d} of {len(found):2d}{np.mean([spent for _, spent in found]):12.1f}"
    print(line, flush=True)


def misread(series: DwiSeries, reading: Array) -> DwiSeries:
    """Return a series whose b-vectors have voxel axes exchanged or flipped."""
    turn, _ = polar(series.image.affine[:3, :3])
    bvecs = series.gradients.bvecs @ turn @ reading @ turn.T
    return DwiSeries(image=series.image, gradients=Gradients(bvals=series.gradients.bvals, bvecs=bvecs))


def is_same(one: Array, other: Array) -> bool:
    """Whether directions are alike but for their sign."""
    weighted = np.linalg.norm(other, axis=1) > 0.5
    return bool((np.abs((one[weighted] * other[weighted]).sum(1)) > 0.99).all())


def check_by_mrtrix(wrong: DwiSeries, mask: Array, right: DwiSeries) -> tuple[bool, float]:
    """Return whether dwigradcheck finds the right reading, and its CPU seconds."""
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
