"""Susceptibility distortion from a measured field: phases of two echoes, or a map in hertz.

Off-resonance of f hertz displaces an echo-planar image by f times its readout time, in voxels along phase encoding
(Jezzard & Balaban 1995, doi 10.1002/mrm.1910340111). The b=0 image is registered to the magnitude image of the
fieldmap, which is undistorted; the field is applied only if it makes the two more similar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_alps.errors import ExecutionError, ImageError
from bids_alps.model import Array, FieldmapMethod, SpatialMap, sample_linear, transform_points
from bids_alps.numerics.preprocessing.distortion import MIN_DISPLACEMENT, Distortion, EncodedImage
from bids_alps.numerics.preprocessing.mutual_information import align_by_mutual_information, mutual_information

SENTENCE = (
    "Susceptibility distortion was corrected by a displacement along the phase-encoding axis that follows from a "
    "measured field map ([@jezzard1995])."
)
MIN_GAIN = 0.002
"""Minimum gain of normalized mutual information by a valid field (simulated: 0.003 at 1.4 mm, 0.02 at 2.8 mm); a field
that is mirrored, shifted by 9 mm or twice too strong lowers it by 0.001 to 0.04."""
_SIEMENS = 4096.0
_PI_VALUES = (_SIEMENS, 2048.0, 1000 * np.pi, 500 * np.pi, 180.0)
"""Stored value of a phase of pi: Siemens, Siemens from 0, mrad (GE, Philips), mrad from 0, degrees."""
_ROUNDS = 2
_RIM_VOXELS = 2
_OUTSIDE_MM = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredField:
    """A measured field, with the magnitude image of the head.

    Parameters
    ----------
    hertz
        Off-resonance, shape (i, j, k), valid inside `inside`.
    magnitude
        Magnitude image, undistorted, on the same grid.
    inside
        Voxels with a measured field, shape (i, j, k), bool.
    method
        How it was measured.
    """

    hertz: SpatialMap
    magnitude: SpatialMap
    inside: Array
    method: FieldmapMethod


def phase_in_radians(values: Array, *, units: str = "") -> Array:
    """Return phases in radians: unchanged if in radians, else converted from the scale of the scanner.

    Parameters
    ----------
    values
        Phases, any shape.
    units
        ``Units`` of the sidecar: ``rad``, ``arbitrary`` or nothing.

    Raises
    ------
    ImageError
        If all values are equal.

    Examples
    --------
    >>> phase_in_radians(np.array([-4096.0, 0.0, 4096.0])).round(3).tolist()
    [-3.142, 0.0, 3.142]
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not high > low:
        raise ImageError("phase", f"every value is {low:g}", "remove the fieldmap")
    if units.lower().startswith("rad") or high - low <= 2 * np.pi + 0.1:
        return np.asarray(values, dtype=np.float64)
    largest = max(-low, high) if low < 0 else high / 2
    pi_value = _value_of_pi(largest, _SIEMENS if low < 0 else _SIEMENS / 2)
    zero = 0.0 if low < 0 else pi_value
    return (np.asarray(values, dtype=np.float64) - zero) * (np.pi / pi_value)


def _value_of_pi(largest: float, default: float) -> float:
    """Return the stored value of pi, from the largest phase: that of a known scale, else the largest phase itself.

    A phase image with masked background may not reach pi; the Siemens scale is then assumed.
    """
    matches = [value for value in _PI_VALUES if 0.99 * value <= largest <= 1.001 * value]
    if matches:
        return matches[0]
    return default if 0.25 * default < largest < default else largest


def field_from_phase_difference(phase: Array, inside: Array, *, echo_difference_s: float) -> Array:
    """Return the field in hertz from a phase difference, same shape.

    Parameters
    ----------
    phase
        Phase difference, radians, wrapped, shape (i, j, k).
    inside
        Voxels with signal, shape (i, j, k), bool.
    echo_difference_s
        Time between the echoes, s.

    Raises
    ------
    ImageError
        If the echo times do not differ.
    ExecutionError
        If scikit-image, which unwraps the phase, is not installed.
    """
    if not echo_difference_s > 0:
        raise ImageError("phase difference", f"echoes are {echo_difference_s:g} s apart", "repair EchoTime1, EchoTime2")
    return unwrap(phase, inside) / (2 * np.pi * echo_difference_s)


def difference_of_phases(first: Array, second: Array) -> Array:
    """Return the second phase minus the first one, wrapped, radians.

    Examples
    --------
    >>> float(difference_of_phases(np.array([3.0]), np.array([-3.0])).round(3)[0])
    0.283
    """
    wrapped: Array = np.angle(np.exp(1j * (np.asarray(second) - np.asarray(first))))
    return wrapped


def unwrap(phase: Array, inside: Array) -> Array:
    """Return the unwrapped phase, radians, shape (i, j, k), zero outside; its median inside is close to zero.

    Abdul-Rahman 2007, doi 10.1364/AO.46.006623, as implemented in scikit-image.
    """
    try:
        from skimage.restoration import unwrap_phase
    except ImportError as error:
        raise ExecutionError(
            "phase fieldmap", "unwrapping needs scikit-image", "pip install 'bids-alps[fieldmaps]'"
        ) from error
    masked = np.ma.masked_array(np.angle(np.exp(1j * phase)), mask=~inside)
    unwrapped = np.asarray(np.ma.filled(unwrap_phase(masked, rng=0), 0.0))
    turns = np.round(np.median(unwrapped[inside]) / (2 * np.pi))
    return np.where(inside, unwrapped - 2 * np.pi * turns, 0.0)


def estimate_from_field(image: EncodedImage, mask: Array, field: MeasuredField) -> Distortion:
    """Return the displacement field of `image` from a measured field.

    Parameters
    ----------
    image
        b=0 image with its phase encoding.
    mask
        Brain mask of `image`, shape (i, j, k), bool.
    field
        Measured field.

    Raises
    ------
    ImageError
        If polarity or readout time are not known, or an image is empty.
    """
    if not image.polarity or not image.readout:
        fields = (("PhaseEncodingDirection", image.polarity), ("TotalReadoutTime", image.readout))
        missing = " and ".join(name for name, value in fields if not value)
        raise ImageError("distortion", f"{missing} missing: the {field.method} cannot be used", "complete the sidecar")
    if not field.magnitude.data.any() or not field.inside.any():
        raise ImageError("distortion", "the magnitude image of the fieldmap is empty", "remove the fieldmap")
    smooth = _extrapolate(field)
    uncorrected = _compare(image, mask, field, np.zeros(mask.shape))
    corrected, shift = uncorrected, np.zeros(mask.shape)
    for _ in range(_ROUNDS):  # the pose and the displacement depend on each other
        shift = _displacement(image, smooth, corrected.pose)
        corrected = _compare(image, mask, field, shift)
    flipped = _compare(image, mask, field, -shift)
    size = float(np.percentile(np.abs(shift[mask]), 95))
    proven, reason = _verdict((flipped.similarity, uncorrected.similarity, corrected.similarity), size)
    return Distortion(
        displacement=shift.astype(np.float32),
        phase_axis=image.phase_axis,
        assumed="",
        difference_before=1 - uncorrected.similarity,
        difference_after=1 - corrected.similarity,
        proven=proven,
        reason=reason,
        method=field.method,
        size=size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """Similarity of a corrected image and the magnitude after registration: normalized mutual information minus 1."""

    pose: Array
    similarity: float


def _extrapolate(field: MeasuredField) -> SpatialMap:
    """Return the field relative to its median, median-filtered, smoothly extrapolated outside the measured region."""
    eroded = ndimage.binary_erosion(field.inside)
    inside = eroded if eroded.any() else field.inside
    hertz = field.hertz.data - np.median(field.hertz.data[inside])
    hertz = ndimage.median_filter(np.where(field.inside, hertz, 0.0), size=3)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = hertz[tuple(nearest)]
    blurred = ndimage.gaussian_filter(filled, _OUTSIDE_MM / field.hertz.voxel_size)
    return field.hertz.like(np.where(inside, filled, blurred).astype(np.float32))


def _displacement(image: EncodedImage, hertz: SpatialMap, pose: Array) -> Array:
    assert image.readout is not None  # noqa: S101 -- ensured by the caller
    placed = pose @ image.affine
    points = transform_points(placed, np.indices(image.data.shape).reshape(3, -1).T)
    sampled = np.asarray(sample_linear(hertz, points)).reshape(image.data.shape)
    return sampled * (image.readout * image.polarity)


def corrected_image(image: EncodedImage, displacement: Array) -> Array:
    """Return an image corrected for a displacement and for the change of intensity (Jacobian), shape (i, j, k)."""
    coordinates = np.indices(image.data.shape).astype(np.float64)
    coordinates[image.phase_axis] += displacement
    values = ndimage.map_coordinates(np.asarray(image.data, dtype=np.float32), coordinates, order=1, mode="nearest")
    return np.asarray(np.maximum(values * (1 + np.gradient(displacement, axis=image.phase_axis)), 0))


def _compare(image: EncodedImage, mask: Array, field: MeasuredField, displacement: Array) -> _Comparison:
    corrected = corrected_image(image, displacement)
    shape = image.data.shape
    points = SpatialMap(data=corrected, affine=image.affine).world(np.moveaxis(np.indices(shape), 0, -1))
    magnitude = np.asarray(sample_linear(field.magnitude, points)) * field.magnitude.contains(points)
    dilated = ndimage.binary_dilation(mask, iterations=_RIM_VOXELS)
    pose = align_by_mutual_information(corrected, magnitude, dilated, image.affine)
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    registered = np.asarray(sample_linear(field.magnitude, moved))
    compared = dilated & field.magnitude.contains(moved)
    return _Comparison(pose=pose, similarity=mutual_information(corrected[compared], registered[compared]))


def _verdict(similarity: tuple[float, float, float], displacement: float) -> tuple[bool, str]:
    """Return whether a field is accepted, and why, from the similarity with the reversed field, without and with it."""
    reverse, uncorrected, corrected = similarity
    result = (
        "the normalized mutual information with the magnitude image changes "
        f"from {1 + uncorrected:.4f} to {1 + corrected:.4f} "
        f"({1 + reverse:.4f} with the field reversed)"
    )
    if displacement < MIN_DISPLACEMENT:
        return False, f"{result}, but the displacement is only {displacement:.2f} voxels: not applied"
    if corrected - uncorrected < MIN_GAIN or uncorrected - reverse < 0:
        return False, (
            f"{result}; an increase of {MIN_GAIN}, and a decrease with the reversed field, are required: not applied"
        )
    return True, f"{result}: applied"
