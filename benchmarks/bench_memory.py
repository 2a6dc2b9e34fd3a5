"""Peak memory and time of preprocessing on a simulated scan with three shells, 140 x 140 x 92 x 288 by default."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from motion_phantom import make_directions
from scipy.ndimage import gaussian_filter

from bids_alps.model import DwiRun, DwiSeries, Gradients, SpatialMap
from bids_alps.settings import Method
from bids_alps.stages.masking import find_mask
from bids_alps.stages.preprocessing import correct
from bids_alps.stages.tensors import fit


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_scan(shape: tuple[int, int, int, int]) -> DwiSeries:
    """Return a brain-like ellipsoid with smooth fibers and noise; one in eighteen volumes is b=0."""
    rng = np.random.default_rng(0)
    n = shape[3]
    bvals = np.array([0.0 if k % 18 == 0 else (1000.0, 2000.0, 3000.0)[k % 3] for k in range(n)])
    bvecs = make_directions(n) * (bvals > 0)[:, None]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) for size in shape[:3]], indexing="ij"), axis=-1).astype(
        np.float32
    )
    inside = (grid**2).sum(-1) < 0.72
    fiber = np.stack([gaussian_filter(rng.standard_normal(shape[:3]).astype(np.float32), 6) for _ in range(3)], axis=-1)
    fiber /= np.linalg.norm(fiber, axis=-1, keepdims=True)
    s0 = inside * (600 + 3000 * gaussian_filter(rng.standard_normal(shape[:3]).astype(np.float32), 3))
    data = np.empty(shape, dtype=np.float32, order="F")  # as series are read
    for k in range(n):
        exponent = bvals[k] * (0.4e-3 + 0.9e-3 * (fiber @ bvecs[k].astype(np.float32)) ** 2)
        data[..., k] = np.abs(s0 * np.exp(-exponent) + 15 * rng.standard_normal(shape[:3], dtype=np.float32))
    voxel = 210 / shape[0]
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -voxel / 2 * (np.array(shape[:3]) - 1)
    return DwiSeries(image=SpatialMap(data=data, affine=affine), gradients=Gradients(bvals=bvals, bvecs=bvecs))


def main() -> None:
    shape = tuple(int(word) for word in sys.argv[1:5]) if len(sys.argv) > 4 else (140, 140, 92, 288)
    series = make_scan(shape)
    size = np.prod(shape) * 4 / 2**20
    print(f"{shape}: {size:.0f} MiB as float32; peak after making it {peak_mib():.0f} MiB", flush=True)
    run = DwiRun(
        entities={"sub": "01"},
        image=Path("a"),
        bval=Path("b"),
        bvec=Path("c"),
        metadata={"PhaseEncodingDirection": "j"},
    )
    mask = find_mask(series, b0_threshold=50)
    method = Method()
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        found = correct(run, series, mask, method, Path(scratch))
        print(
            f"motion, eddy currents, interpolation, writing: {time.process_time() - began:.0f} CPU s, peak {peak_mib():.0f} MiB ({peak_mib() / size:.1f} times the series)",
            flush=True,
        )
    from bids_alps.stages.prepare import PreparedSeries

    del series
    began = time.process_time()
    fit(PreparedSeries(series=found.series, mask=mask, correction=found), method)
    print(f"tensors of one shell: {time.process_time() - began:.0f} CPU s, peak {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
