"""Effect of the noise floor of magnitude images on the index, and the estimate of the check `noise_floor`.

Signals of two regions of Park's mean diffusivities with Rician noise, 30 directions and two b=0 volumes: the bias of
the index, its estimate from single scans of 12 voxels, and the remaining bias after subtracting the estimate or twice the
noise variance from the squared signal.
"""

from __future__ import annotations

import numpy as np
from bench_crossing import make_table

from bids_alps.model import DwiSeries, Roi, SpatialMap
from bids_alps.numerics.index.alps import alps_from_series, alps_index
from bids_alps.numerics.index.noise_floor import noise_floor_bias
from bids_alps.numerics.tensors.tensor import design_matrix

TENSORS = {
    "projection": np.array([0.629, 0, 0, 0.422, 0, 1.112]) * 1e-3,
    "association": np.array([0.636, 0, 0, 1.114, 0, 0.381]) * 1e-3,
}
NAMES = [f"{region}_{side}" for region in TENSORS for side in ("left", "right")]
VOXELS, SCANS = 2000, 40


def main() -> None:
    truth = float(alps_index(*TENSORS.values()))
    print(
        f"{'b':>5s}{'SNR':>5s}{'bias %':>9s}{'computed % (SD over scans)':>29s}{'remaining %':>14s}{'remaining, M² - 2 σ² %':>27s}"
    )
    for b in (1000.0, 2000.0, 3000.0):
        gradients = make_table(((b, 30),))
        design = design_matrix(gradients.bvals, gradients.bvecs)
        clean = np.array([np.exp(np.r_[TENSORS[name.partition("_")[0]], 0.0] @ design.T) for name in NAMES])
        for snr in (8.0, 12.0, 15.0, 20.0):
            rng = np.random.default_rng(0)
            signal = np.repeat(clean[:, None, None], VOXELS, axis=1)
            noise = rng.standard_normal((2, *signal.shape)) / snr
            data = np.hypot(signal + noise[0], noise[1])
            raw = measured(data, gradients) / truth - 1
            squared = measured(np.sqrt(np.maximum(data**2 - 2 / snr**2, 1e-6)), gradients) / truth - 1
            size = VOXELS // SCANS
            computed = []
            for n in range(SCANS):
                series, rois = regions_of(data[:, n * size : n * size + 12], gradients)
                computed.append(noise_floor_bias(series, rois, np.eye(3), 1 / snr)["left"])
            left = (1 + raw) / (1 + np.mean(computed)) - 1
            print(
                f"{b:5.0f}{snr:5.0f}{100 * raw:9.1f}{100 * np.mean(computed):17.1f} ({100 * np.std(computed):.1f}){'':6s}{100 * left:14.1f}{100 * squared:27.1f}",
                flush=True,
            )


def regions_of(data, gradients):  # type: ignore[no-untyped-def]
    n = data.shape[1]
    rois = [
        Roi(name=name, voxels=np.array([[row, k, 0] for k in range(n)]), weights=np.ones(n))
        for row, name in enumerate(NAMES)
    ]
    return DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients), rois


def measured(data, gradients) -> float:  # type: ignore[no-untyped-def]
    return alps_from_series(*regions_of(data, gradients), np.eye(3))["left"]


if __name__ == "__main__":
    main()
