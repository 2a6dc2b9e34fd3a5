"""Gibbs ringing, taken out by shifts of less than a voxel: Kellner 2016, doi 10.1002/mrm.26054.

An edge between two voxels rings least where it is sampled at the zeros of its ripple. Every line is shifted by
fractions of a voxel, each voxel takes the shift at which its surroundings vary least, and is interpolated back. Lines
along the two axes of a slice are treated apart, with the part of k-space that rings along each.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from bids_alps.model import Array

SHIFTS = 20
"""Shifts to either side, up to half a voxel."""

NEAREST, FARTHEST = 1, 3
"""Neighbours, in voxels, between which variation is measured."""

_LINES = 16  # at a time: all their shifts stay in the cache of a processor
_STEPS = np.array([0, *(sign * n for n in range(1, SHIFTS + 1) for sign in (1, -1))]) / (2 * SHIFTS)


def remove_ringing(data: Array, *, slice_axis: int = 2) -> Array:
    """Return a series without ringing in the plane of its slices, in the memory of the given one.

    Parameters
    ----------
    data
        Magnitude, shape (i, j, k, n), float32; it is overwritten.
    slice_axis
        Spatial axis across the slices.
    """
    slices = np.moveaxis(data, slice_axis, 0)
    for plane in slices:  # shape (rows, columns, n), a view
        for n in range(plane.shape[2]):
            plane[..., n] = unring(np.ascontiguousarray(plane[..., n]))
    return data


def unring(image: Array) -> Array:
    """Return a slice, shape (rows, columns), without ringing, float32."""
    spectrum = fft.fft2(image.astype(np.float32))
    along_rows, along_columns = _shares(image.shape)
    first: Array = fft.ifft2(spectrum * along_rows).real
    second: Array = fft.ifft2(spectrum * along_columns).real
    return unring_lines(first.T).T + unring_lines(second)


def _shares(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the filters of k-space that keep what rings along the rows' axis and along the columns'; they sum to 1."""
    rows, columns = (1 + np.cos(2 * np.pi * np.arange(size) / size) for size in shape)
    total = rows[:, None] + columns[None, :]
    share = np.divide(columns[None, :], total, out=np.full(shape, 0.5), where=total > 1e-9).astype(np.float32)
    return share, 1 - share


def unring_lines(lines: Array) -> Array:
    """Return lines without ringing along their last axis, shape (m, n), float32."""
    unrung = np.empty(lines.shape, dtype=np.float32)
    for start in range(0, len(lines), _LINES):
        unrung[start : start + _LINES] = _unring_some(lines[start : start + _LINES])
    return unrung


def _unring_some(lines: Array) -> Array:
    size = lines.shape[-1]
    frequency = np.arange(size // 2 + 1)
    phases = np.exp(2j * np.pi * _STEPS[:, None, None] * frequency / size).astype(np.complex64)
    shifted: Array = fft.irfft(fft.rfft(lines.astype(np.float32)) * phases, n=size)  # (shifts, m, n)
    best = np.argmin(_variation(shifted), axis=0)  # the smallest of equal ones, so that flat signal stays as it is
    rows, columns = np.indices(lines.shape)
    step = _STEPS[best].astype(np.float32)
    here = shifted[best, rows, columns]
    beside = shifted[best, rows, (columns - np.sign(step).astype(np.intp)) % size]
    return here + (beside - here) * np.abs(step)


def _variation(lines: Array) -> Array:
    """Return the smaller total variation of both sides of every voxel, last axis, lines taken as closed."""
    size, first = lines.shape[-1], NEAREST + FARTHEST + 1
    closed = np.concatenate([lines[..., -first:], lines, lines[..., : FARTHEST + 1]], axis=-1)
    jumps = np.abs(closed[..., 1:] - closed[..., :-1])  # jumps[first + l] lies between l and l + 1
    count = size + first
    right = jumps[..., NEAREST : NEAREST + count].copy()
    for t in range(NEAREST + 1, FARTHEST + 1):
        right += jumps[..., t : t + count]
    # the left side of l is the right side of l - first
    return np.minimum(right[..., first:], right[..., :size])
