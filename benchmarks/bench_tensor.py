"""Tensor fits compared: bids-alps, DIPY and MRtrix3's dwi2tensor on the same simulated voxels.

python benchmarks/bench_tensor.py     # MRtrix3 only if dwi2tensor is installed

Prints CPU seconds, memory in addition to the input, error to the true tensor, and the median difference to this package.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from isolated import is_installed, run_isolated, run_mrtrix

from bids_alps.numerics.tensors.tensor import design_matrix, fit_coefficients

SHAPE, B0, DIRECTIONS, SNR = (60, 60, 60), 6, 64, 20.0
ELEMENTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def simulate() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return signal (voxels, n), true elements (voxels, 6), b-values and b-vectors: FA of all sizes, Rician noise."""
    rng = np.random.default_rng(1)
    voxels, n = int(np.prod(SHAPE)), B0 + DIRECTIONS
    bvals = np.r_[np.zeros(B0), np.full(DIRECTIONS, 1000.0)]
    bvecs = rng.normal(size=(n, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    bvecs[:B0] = 0
    frames = np.linalg.qr(rng.normal(size=(voxels, 3, 3)))[0]
    values = np.sort(rng.uniform(0.2e-3, 1.8e-3, size=(voxels, 3)), axis=1)
    tensors = np.einsum("vij,vj,vkj->vik", frames, values, frames)
    elements = np.stack([tensors[:, i, j] for i, j in ELEMENTS], axis=1)
    clean = 1000 * np.exp(elements @ design_matrix(bvals, bvecs)[:, :6].T)
    noise = 1000 / SNR * rng.normal(size=(2, *clean.shape))
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32), elements, bvals, bvecs


def ours(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """Three weighted passes, in blocks."""
    design = design_matrix(bvals, bvecs)
    blocks = [fit_coefficients(signal[n : n + 20_000], design)[:, :6] for n in range(0, len(signal), 20_000)]
    return np.concatenate(blocks)


def dipy_wls(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """DIPY's default: weights from an ordinary fit, one weighted pass."""
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    form = TensorModel(gradient_table(bvals, bvecs=bvecs), fit_method="WLS").fit(signal).quadratic_form
    return np.stack([form[..., i, j] for i, j in ELEMENTS], axis=-1)


def dipy_reweighted(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """DIPY's weighted fit with the same three sets of weights as ours."""
    from dipy.reconst.dti import wls_fit_tensor

    design, signal = design_matrix(bvals, bvecs), np.asarray(signal, dtype=float)
    weights, fitted = signal**2, np.empty(0)
    for _ in range(3):
        blocks = range(0, len(signal), 20_000)
        fitted = np.concatenate(
            [
                wls_fit_tensor(
                    design, signal[n : n + 20_000], weights=weights[n : n + 20_000], return_lower_triangular=True
                )[0]
                for n in blocks
            ]
        )
        weights = np.exp(2 * fitted @ design.T)
    return fitted[:, :6]


def mrtrix(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """dwi2tensor with its defaults: two reweighted passes."""
    with TemporaryDirectory() as scratch:
        table = Path(scratch) / "grad.b"
        np.savetxt(table, np.c_[bvecs, bvals])
        image = signal.reshape(20, 20, -1, signal.shape[-1])  # any grid: voxels are independent
        found = run_mrtrix("dwi2tensor", {"dwi.nii": image}, ["dwi.nii", "dt.nii", "-grad", str(table)], ["dt.nii"])[0]
    return found.reshape(-1, 6)[:, [0, 3, 4, 1, 5, 2]]  # MRtrix3: xx, yy, zz, xy, xz, yz


def main() -> None:
    """Print the table."""
    signal, truth, bvals, bvecs = simulate()
    print(f"{len(signal)} voxels, {B0} b=0 and {DIRECTIONS} directions at b=1000, SNR {SNR:g}; diffusivities in um2/ms")
    print("fit                            CPU s   MiB   RMS error  median |difference|")
    methods = {"this package (3 WLS passes)": ours, "DIPY TensorModel (1 WLS pass)": dipy_wls}
    methods["DIPY wls_fit_tensor, 3 passes"] = dipy_reweighted
    if is_installed("dwi2tensor"):
        methods["MRtrix3 dwi2tensor"] = mrtrix
    own = None
    for name, method in methods.items():
        one = run_isolated(method, signal, bvals, bvecs)
        own = one.result if own is None else own
        error = 1e3 * np.sqrt(((one.result - truth) ** 2).mean())
        difference = 1e3 * np.median(np.abs(one.result - own))
        print(f"{name:30s} {one.seconds:5.1f} {one.peak:5.0f}   {error:8.5f}  {difference:.1e}")


if __name__ == "__main__":
    main()
