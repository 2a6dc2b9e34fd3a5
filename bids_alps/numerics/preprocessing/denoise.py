"""Noise reduction by principal components of small patches, the noise told by the Marchenko-Pastur law (MP-PCA).

Veraart 2016, doi 10.1016/j.neuroimage.2016.08.016, with the estimator of Cordero-Grande 2019,
doi 10.1016/j.neuroimage.2019.06.039 ("Exp2"). Every voxel is the mean of all patches that hold it; with `average` off
it is that of the patch about it alone, as MRtrix3's ``dwidenoise`` gives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from bids_alps.model import Array

FEWEST_VOLUMES = 30
"""Below this, signal leaves too few components for noise to be told."""

STRIDE = 2
_BATCH = 128  # patches at a time: some tens of megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """A series with less noise, shape (i, j, k, n), and the noise's standard deviation, shape (i, j, k), 0 outside."""

    data: Array
    sigma: Array


def choose_window(volumes: int) -> int:
    """Return the edge of the smallest odd cube with at least as many voxels as there are volumes.

    Examples
    --------
    >>> choose_window(27), choose_window(33), choose_window(200)
    (3, 5, 7)
    """
    edge = 3
    while edge**3 < volumes:
        edge += 2
    return edge


def denoise(data: Array, mask: Array, *, window: int | None = None, average: bool = True) -> Denoised:
    """Return a series with less noise, in the memory of the given one.

    Parameters
    ----------
    data
        Signal, shape (i, j, k, n), float32; it is overwritten. Every axis must be as long as the window.
    mask
        Where to work, shape (i, j, k), bool; elsewhere the signal stays as it is.
    window
        Edge of a patch, odd; by default `choose_window`.
    average
        Whether a voxel is the mean over the patches that hold it.
    """
    edge = choose_window(data.shape[3]) if window is None else window
    reach = edge // 2
    stride = STRIDE if average else 1
    wanted = maximum_filter(np.asarray(mask, dtype=bool), size=edge) if average else np.asarray(mask, dtype=bool)
    planes = data.shape[2]
    total = np.zeros((*data.shape[:2], edge, data.shape[3]), dtype=np.float32)  # of the planes that are not done yet
    weight = np.zeros((*data.shape[:2], edge), dtype=np.float32)
    sigma, counted = np.zeros(data.shape[:3], dtype=np.float32), np.zeros(data.shape[:3], dtype=np.float32)
    first = 0  # plane that total[:, :, 0] stands for
    centres = _centres(planes, reach, stride)
    for z in centres:
        shift = z - reach - first
        _finish(data, total[:, :, :shift], weight[:, :, :shift], mask, first)
        total, weight, first = _moved(total, shift), _moved(weight, shift), z - reach
        block = np.ascontiguousarray(data[:, :, z - reach : z + reach + 1])
        for corners, clean, noise in _denoised_patches(block, wanted[:, :, z], edge, stride):
            for (x, y), patch, deviation in zip(corners, clean, noise, strict=True):
                place = (slice(x, x + edge), slice(y, y + edge))
                if average:
                    total[place] += patch.reshape(edge, edge, edge, -1)
                    weight[place] += 1
                else:
                    total[x + reach, y + reach, reach] += patch[patch.shape[0] // 2]
                    weight[x + reach, y + reach, reach] += 1
                sigma[place[0], place[1], z - reach : z + reach + 1] += deviation
                counted[place[0], place[1], z - reach : z + reach + 1] += 1
    _finish(data, total, weight, mask, first)
    return Denoised(data=data, sigma=np.where(mask, sigma / np.maximum(counted, 1), 0).astype(np.float32))


def _centres(size: int, reach: int, stride: int) -> list[int]:
    """Return centres of patches along an axis that leave out no voxel."""
    last = size - 1 - reach
    return sorted({*range(reach, last + 1, stride), last})


def _moved(planes: Array, shift: int) -> Array:
    """Return planes moved by `shift` towards the first, zeros following."""
    moved = np.roll(planes, -shift, axis=2)
    moved[:, :, planes.shape[2] - shift :] = 0
    return moved


def _finish(data: Array, total: Array, weight: Array, mask: Array, first: int) -> None:
    """Write planes that no later patch touches, inside the mask and where there was a patch."""
    for plane in range(total.shape[2]):
        done = (weight[:, :, plane] > 0) & mask[:, :, first + plane]
        data[:, :, first + plane][done] = total[:, :, plane][done] / weight[:, :, plane][done][:, None]


def _denoised_patches(block: Array, wanted: Array, edge: int, stride: int) -> Iterator[tuple[Array, Array, Array]]:
    """Return corners (b, 2), denoised patches (b, edge^3, n) and noise (b,) of one layer of patches, in batches."""
    reach = edge // 2
    xs, ys = (_centres(size, reach, stride) for size in block.shape[:2])
    centres = np.array([(x, y) for x in xs for y in ys if wanted[x, y]], dtype=np.intp).reshape(-1, 2)
    steps = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for start in range(0, len(centres), _BATCH):
        corners = centres[start : start + _BATCH] - reach
        patches = block[corners[:, :1] + steps[:, 0], corners[:, 1:] + steps[:, 1], steps[:, 2]]
        yield corners, *_without_noise(patches)


def _without_noise(patches: Array) -> tuple[Array, Array]:
    """Return patches, shape (b, m, n) with m >= n, without the components of noise, and its SD, shape (b,)."""
    m, n = patches.shape[1:]
    values, vectors = np.linalg.eigh(np.matmul(patches.transpose(0, 2, 1), patches))
    noisy, variance = split_spectrum(values, m)
    kept = vectors * (np.arange(n) >= noisy[:, None])[:, None, :]
    return np.matmul(patches, np.matmul(kept, vectors.transpose(0, 2, 1))), np.sqrt(variance)


def split_spectrum(values: Array, m: int) -> tuple[Array, Array]:
    """Return how many of the smallest eigenvalues are noise, shape (b,), and the noise's variance, shape (b,).

    Parameters
    ----------
    values
        Eigenvalues of X'X in ascending order, shape (b, n), for X of shape (m, n), m >= n.
    m
        Rows of X.
    """
    n = values.shape[1]
    spectrum = np.maximum(values, 0).astype(np.float64) / m
    counts = np.arange(1, n + 1)
    mean = np.cumsum(spectrum, axis=1) / counts
    width = (spectrum - spectrum[:, :1]) / 4 / np.sqrt(counts / (m - (n - counts)))
    below = width < mean
    noisy = np.where(below.any(axis=1), n - np.argmax(below[:, ::-1], axis=1), 0)
    variance = np.where(noisy > 0, np.take_along_axis(mean, np.maximum(noisy - 1, 0)[:, None], axis=1)[:, 0], 0.0)
    return noisy, variance
