"""Effect of crossing fibers and free water on the index, and on the experimental fit of crossing fibers.

Signals of two regions whose tracts have a known index, mixed with callosal fibers along x, fibers of the other tract and
free water; Rician noise at SNR 25, mean of 12 voxels. Compartments are Gaussian; their axial diffusivity
differs from that assumed by the fit. Arguments: names of protocols (default: all), and ``--quick`` for a true index of
1.5 only.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.model import DwiSeries, Gradients, Roi, SpatialMap
from bids_alps.numerics.index.alps import alps_from_series
from bids_alps.numerics.index.crossing import choose_crossing_volumes, measure_crossing
from bids_alps.numerics.tensors.gradients import choose_shells

PROTOCOLS: dict[str, tuple[tuple[float, int], ...]] = {
    "b 1000": ((1000.0, 64),),
    "b 2000": ((2000.0, 64),),
    "b 3000": ((3000.0, 64),),
    "b 1000, 2000": ((1000.0, 30), (2000.0, 60)),
}
MIXTURES = {
    "nothing": (0.0, 0.0, 0.0),
    "callosal 0.1": (0.1, 0.0, 0.0),
    "callosal 0.2": (0.2, 0.0, 0.0),
    "callosal 0.3": (0.3, 0.0, 0.0),
    "other tract 0.1": (0.0, 0.1, 0.0),
    "callosal 0.1, other 0.1": (0.1, 0.1, 0.0),
    "water 0.2": (0.0, 0.0, 0.2),
}
AXIAL, RADIAL, CALLOSAL, ASSUMED = 1.3e-3, 0.46e-3, (1.55e-3, 0.36e-3), (1.45e-3, 0.40e-3)
SNR, VOXELS, REPEATS = 25.0, 12, 4


def spiral(n: int) -> np.ndarray:
    z, turn = (np.arange(n) + 0.5) / n, np.pi * (1 + 5**0.5) * np.arange(n)
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)


def make_table(shells: tuple[tuple[float, int], ...]) -> Gradients:
    bvals, bvecs = [np.zeros(2)], [np.zeros((2, 3))]
    for k, (b, n) in enumerate(shells):
        bvals.append(np.full(n, b))
        bvecs.append(spiral(n) @ Rotation.random(rng=np.random.default_rng(k)).as_matrix())
    return Gradients(bvals=np.concatenate(bvals), bvecs=np.vstack(bvecs))


def signal_of(gradients: Gradients, tract: int, index: float, mixture: tuple[float, float, float]) -> np.ndarray:
    """Return the signal of a region whose tract runs along axis `tract`, shape (n,)."""
    callosal, other, water = mixture
    b, squares = gradients.bvals, gradients.bvecs**2
    diagonal = np.array([2 * RADIAL * index / (1 + index)] + [2 * RADIAL / (1 + index)] * 2)
    diagonal[tract] = AXIAL
    crossing = np.where(np.arange(3) == 0, *CALLOSAL)
    intruding = np.where(np.arange(3) == 3 - tract, AXIAL, RADIAL)
    parts = [(1 - callosal - other - water, diagonal), (callosal, crossing), (other, intruding)]
    return sum(share * np.exp(-b * (squares @ one)) for share, one in parts) + water * np.exp(-b * 3e-3)


def make_regions(
    gradients: Gradients, index: float, mixture: tuple[float, float, float], rng: np.random.Generator
) -> tuple[DwiSeries, list[Roi]]:
    names = [f"{region}_{side}" for region in ("projection", "association") for side in ("left", "right")]
    rows = [signal_of(gradients, 2 if name.startswith("projection") else 1, index, mixture) for name in names]
    clean = np.repeat(np.array(rows)[:, None, None], VOXELS, axis=1)
    noise = rng.standard_normal((2, *clean.shape)) / SNR
    image = SpatialMap(data=np.hypot(clean + noise[0], noise[1]), affine=np.eye(4))
    rois = [
        Roi(name=name, voxels=np.array([[row, n, 0] for n in range(VOXELS)]), weights=np.ones(VOXELS))
        for row, name in enumerate(names)
    ]
    return DwiSeries(image=image, gradients=gradients), rois


def main() -> None:
    print(
        f"{'protocol':14s}{'mixture':24s}{'true':>6s}{'tensor':>8s}{'crossing':>10s}{'SD':>6s}{'its SE':>8s}  fractions: x, y, z, water (projection)"
    )
    quick = "--quick" in sys.argv
    for protocol in [word for word in sys.argv[1:] if word in PROTOCOLS] or PROTOCOLS:
        gradients = make_table(PROTOCOLS[protocol])
        for name, mixture in MIXTURES.items():
            for index in (1.5,) if quick else (1.0, 1.5):
                print_mixture(protocol, name, gradients, mixture, index)


def print_mixture(
    protocol: str, name: str, gradients: Gradients, mixture: tuple[float, float, float], index: float
) -> None:
    rng = np.random.default_rng(1)
    tensor, crossing, errors, shares = [], [], [], []
    fitted = choose_shells(gradients)
    volumes = choose_crossing_volumes(gradients, b0_threshold=50.0)
    for _ in range(REPEATS):
        series, rois = make_regions(gradients, index, mixture, rng)
        shell = DwiSeries(image=series.image.like(series.image.data[..., fitted]), gradients=gradients.take(fitted))
        tensor.append(alps_from_series(shell, rois, np.eye(3))["left"])
        if volumes is not None:
            found = measure_crossing(series, volumes, rois, np.eye(3), ASSUMED, seed=0)
            crossing.append(found.alps["left"])
            errors.append(found.se["left"])
            shares.append(list(found.fractions["projection_left"].values()))
    line = f"{protocol:14s}{name:24s}{index:6.2f}{np.mean(tensor):8.2f}"
    if crossing:
        line += f"{np.mean(crossing):10.2f}{np.std(crossing, ddof=1):6.2f}{np.mean(errors):8.2f}  " + " ".join(
            f"{share:.2f}" for share in np.mean(shares, axis=0)
        )
    print(line, flush=True)


if __name__ == "__main__":
    main()
