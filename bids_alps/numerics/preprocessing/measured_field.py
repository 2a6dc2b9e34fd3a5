"""Susceptibility distortion from a field that was measured: phases of two echoes, or a map in hertz.

A field of f hertz displaces an echo-planar image by f times its readout time, in voxels along phase encoding (Jezzard &
Balaban 1995, doi 10.1002/mrm.1910340111). Where the field was measured the head is seen undistorted in the magnitude
image, with which the unweighted diffusion image is aligned; a field counts only where it makes the two more alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_alps.errors import ExecutionError, ImageError
from bids_alps.model import Array, FieldmapMethod, SpatialMap, sample_linear
from bids_alps.numerics.preprocessing.distortion import LEAST_DISPLACEMENT, Distortion, EncodedImage
from bids_alps.numerics.preprocessing.mutual_information import align_by_mutual_information, mutual_information

SENTENCE = (
    "Susceptibility distortion was corrected by a displacement along the phase-encoding axis that follows from a "
    "measured field map ([@jezzard1995])."
)
LEAST_GAIN = 0.002
"""Normalised mutual information that a true field adds at least (simulated: .003 at 1.4 mm, .02 at 2.8 mm); one that is
mirrored, moved by 9 mm or twice too strong takes .001 to .04 away."""
_SIEMENS = 4096.0
_HALF_TURNS = (_SIEMENS, 2048.0, 1000 * np.pi, 500 * np.pi, 180.0)
"""What scanners store half a turn as: Siemens, the same from 0 on, mrad (GE, Philips), the same from 0 on, degrees."""
_ROUNDS = 2
_RIM_VOXELS = 2
_OUTSIDE_MM = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredField:
    """A field, and the head that it was measured in.

    Parameters
    ----------
    hertz
        Off-resonance, shape (i, j, k), where `inside` is true.
    magnitude
        The head, undistorted, on the same grid.
    inside
        Where the field was measured, shape (i, j, k), bool.
    method
        How it was measured.
    """

    hertz: SpatialMap
    magnitude: SpatialMap
    inside: Array
    method: FieldmapMethod


def phase_in_radians(values: Array, *, units: str = "") -> Array:
    """Return phases in radians from what a scanner stores: radians as they are, else by the scale of a scanner.

    Parameters
    ----------
    values
        Phases, any shape.
    units
        ``Units`` of the sidecar: ``rad``, ``arbitrary`` or nothing.

    Raises
    ------
    ImageError
        If all values are one.

    Examples
    --------
    >>> phase_in_radians(np.array([-4096.0, 0.0, 4096.0])).round(3).tolist()
    [-3.142, 0.0, 3.142]
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not high > low:
        raise ImageError("phase", f"every value is {low:g}", "leave it out")
    if units.lower().startswith("rad") or high - low <= 2 * np.pi + 0.1:
        return np.asarray(values, dtype=np.float64)
    reach = max(-low, high) if low < 0 else high / 2
    half = _half_turn(reach, _SIEMENS if low < 0 else _SIEMENS / 2)
    middle = 0.0 if low < 0 else half
    return (np.asarray(values, dtype=np.float64) - middle) * (np.pi / half)


def _half_turn(reach: float, usual: float) -> float:
    """Return what half a turn is stored as, by the largest phase that was: that of a scanner, else the phase itself.

    A phase whose background was set to zero need not reach half a turn: the usual scale, Siemens', is taken then.
    """
    near = [half for half in _HALF_TURNS if 0.99 * half <= reach <= 1.001 * half]
    if near:
        return near[0]
    return usual if 0.25 * usual < reach < usual else reach


def field_from_phase_difference(phase: Array, inside: Array, *, echo_difference_s: float) -> Array:
    """Return the field in hertz that a phase difference tells, shape kept.

    Parameters
    ----------
    phase
        Difference of phases, radians, wrapped, shape (i, j, k).
    inside
        Where there is signal, shape (i, j, k), bool.
    echo_difference_s
        Time between the echoes, s.

    Raises
    ------
    ImageError
        If the echoes are not apart.
    ExecutionError
        If the library that unwraps phases is not installed.
    """
    if not echo_difference_s > 0:
        raise ImageError("phase difference", f"echoes are {echo_difference_s:g} s apart", "repair EchoTime1, EchoTime2")
    return unwrap(phase, inside) / (2 * np.pi * echo_difference_s)


def difference_of_phases(first: Array, second: Array) -> Array:
    """Return the second phase less the first one, wrapped, radians.

    Examples
    --------
    >>> float(difference_of_phases(np.array([3.0]), np.array([-3.0])).round(3)[0])
    0.283
    """
    wrapped: Array = np.angle(np.exp(1j * (np.asarray(second) - np.asarray(first))))
    return wrapped


def unwrap(phase: Array, inside: Array) -> Array:
    """Return a phase without its wraps, radians, shape (i, j, k), zero outside; its median inside is near zero.

    Abdul-Rahman 2007, doi 10.1364/AO.46.006623, as scikit-image has it.
    """
    try:
        from skimage.restoration import unwrap_phase
    except ImportError as error:
        raise ExecutionError(
            "phase fieldmap", "unwrapping needs scikit-image", "pip install 'bids-alps[fieldmaps]'"
        ) from error
    hidden = np.ma.masked_array(np.angle(np.exp(1j * phase)), mask=~inside)
    straight = np.asarray(np.ma.filled(unwrap_phase(hidden, rng=0), 0.0))
    turns = np.round(np.median(straight[inside]) / (2 * np.pi))
    return np.where(inside, straight - 2 * np.pi * turns, 0.0)


def estimate_from_field(image: EncodedImage, mask: Array, field: MeasuredField) -> Distortion:
    """Return the displacement field of `image` from a measured field.

    Parameters
    ----------
    image
        Unweighted image with its phase encoding.
    mask
        Brain of `image`, shape (i, j, k), bool.
    field
        What was measured.

    Raises
    ------
    ImageError
        If polarity or readout time are not known, or an image is empty.
    """
    if not image.polarity or not image.readout:
        lacking = " and ".join(
            name
            for name, told in (("PhaseEncodingDirection", image.polarity), ("TotalReadoutTime", image.readout))
            if not told
        )
        raise ImageError("distortion", f"{lacking} not told: the {field.method} cannot be used", "complete the sidecar")
    if not field.magnitude.data.any() or not field.inside.any():
        raise ImageError("distortion", "the magnitude image of the fieldmap is empty", "leave it out")
    smooth = _extended(field)
    still = _compare(image, mask, field, np.zeros(mask.shape))
    found, shifted = still, np.zeros(mask.shape)
    for _ in range(_ROUNDS):
        shifted = _displacement(image, smooth, found.pose)
        found = _compare(image, mask, field, shifted)
    flipped = _compare(image, mask, field, -shifted)
    size = float(np.percentile(np.abs(shifted[mask]), 95))
    proven, reason = _verdict((flipped.similarity, still.similarity, found.similarity), size)
    return Distortion(
        displacement=shifted.astype(np.float32),
        phase_axis=image.phase_axis,
        assumed="",
        difference_before=1 - still.similarity,
        difference_after=1 - found.similarity,
        proven=proven,
        reason=reason,
        method=field.method,
        size=size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """How alike a corrected image and the magnitude are once aligned: normalised mutual information less 1."""

    pose: Array
    similarity: float


def _extended(field: MeasuredField) -> SpatialMap:
    """Return the field about its median, without specks, going on smoothly where nothing was measured."""
    eroded = ndimage.binary_erosion(field.inside)
    inside = eroded if eroded.any() else field.inside
    hertz = field.hertz.data - np.median(field.hertz.data[inside])
    hertz = ndimage.median_filter(np.where(field.inside, hertz, 0.0), size=3)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = hertz[tuple(nearest)]
    blurred = ndimage.gaussian_filter(filled, _OUTSIDE_MM / field.hertz.voxel_size)
    return field.hertz.like(np.where(inside, filled, blurred).astype(np.float32))


def _displacement(image: EncodedImage, hertz: SpatialMap, pose: Array) -> Array:
    assert image.readout is not None  # noqa: S101 -- the caller asked
    placed = pose @ image.affine
    points = np.indices(image.data.shape).reshape(3, -1).T @ placed[:3, :3].T + placed[:3, 3]
    sampled = np.asarray(sample_linear(hertz, points)).reshape(image.data.shape)
    return sampled * (image.readout * image.polarity)


def corrected_image(image: EncodedImage, displacement: Array) -> Array:
    """Return an image without a displacement, its intensity corrected for stretching, shape (i, j, k)."""
    places = np.indices(image.data.shape).astype(np.float64)
    places[image.phase_axis] += displacement
    values = ndimage.map_coordinates(np.asarray(image.data, dtype=np.float32), places, order=1, mode="nearest")
    return np.asarray(np.maximum(values * (1 + np.gradient(displacement, axis=image.phase_axis)), 0))


def _compare(image: EncodedImage, mask: Array, field: MeasuredField, displacement: Array) -> _Comparison:
    corrected = corrected_image(image, displacement)
    shape = image.data.shape
    points = SpatialMap(data=corrected, affine=image.affine).world(np.moveaxis(np.indices(shape), 0, -1))
    there = np.asarray(sample_linear(field.magnitude, points)) * field.magnitude.contains(points)
    wide = ndimage.binary_dilation(mask, iterations=_RIM_VOXELS)
    pose = align_by_mutual_information(corrected, there, wide, image.affine)
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    seen = np.asarray(sample_linear(field.magnitude, moved))
    compared = wide & field.magnitude.contains(moved)
    return _Comparison(pose=pose, similarity=mutual_information(corrected[compared], seen[compared]))


def _verdict(similarity: tuple[float, float, float], displacement: float) -> tuple[bool, str]:
    """Return whether a field is proven, by the similarity with it reversed, without it and with it, and why."""
    reverse, still, found = similarity
    told = (
        f"the normalised mutual information with the magnitude image goes from {1 + still:.4f} to {1 + found:.4f} "
        f"({1 + reverse:.4f} with the field reversed)"
    )
    if displacement < LEAST_DISPLACEMENT:
        return False, f"{told}, but the displacement stays under {displacement:.2f} voxels: not applied"
    if found - still < LEAST_GAIN or still - reverse < 0:
        return False, f"{told}; {LEAST_GAIN} more, and less with the field reversed, would prove a field: not applied"
    return True, f"{told}: applied"
