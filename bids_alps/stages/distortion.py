"""Stage: reads fieldmaps and returns estimators of the susceptibility field of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from bids_alps.errors import ImageError, MetadataError
from bids_alps.io.gradient_tables import read_bvals
from bids_alps.io.images import read_map, read_volumes
from bids_alps.model import Array, DwiRun, Fieldmap, FieldmapImage, FieldmapMethod, SpatialMap
from bids_alps.numerics.preprocessing.correction import encoding_from_sidecar
from bids_alps.numerics.preprocessing.distortion import Distortion, EncodedImage, FieldEstimator, estimate_distortion
from bids_alps.numerics.preprocessing.measured_field import (
    MeasuredField,
    corrected_image,
    difference_of_phases,
    estimate_from_field,
    field_from_phase_difference,
    phase_in_radians,
)
from bids_alps.numerics.preprocessing.resampling import Grid, align_b0s
from bids_alps.numerics.tensors.mask import estimate_brain_mask

_SIGNAL_SHARE = 0.15
"""Fraction of the magnitude of bright voxels below which the phase is noise."""
_HERTZ = {"hz": 1.0, "rad/s": 1 / (2 * np.pi), "t": 42.577478e6}


def field_estimators(run: DwiRun, *, b0_threshold: float) -> list[FieldEstimator]:
    """Return estimators of the field of a run, in order of priority; files are read when they are called."""
    estimators: list[FieldEstimator] = []
    for fieldmap in run.fieldmaps:
        if fieldmap.method == "reverse phase encoding":
            estimators.append(partial(_by_reverse_images, fieldmap, b0_threshold))
            if fieldmap.matching:
                estimators.append(partial(_by_measured, partial(_field_of_pair, fieldmap, b0_threshold)))
        else:
            estimators.append(partial(_by_measured, partial(_READERS[fieldmap.method], fieldmap)))
    return estimators


def _by_reverse_images(fieldmap: Fieldmap, b0_threshold: float, image: EncodedImage, mask: Array) -> Distortion:
    return estimate_distortion(image, read_encoded(fieldmap.images, b0_threshold=b0_threshold), mask)


def _by_measured(read: Callable[[], MeasuredField], image: EncodedImage, mask: Array) -> Distortion:
    return estimate_from_field(image, mask, read())


def read_encoded(images: tuple[FieldmapImage, ...], *, b0_threshold: float) -> EncodedImage:
    """Read the mean b=0 image of files with the same phase encoding; those on the grid of the first are realigned.

    Raises
    ------
    ImageError
        If the first one has no b=0 volume.
    AlpsError
        If it cannot be read.
    """
    first, *others = (_read_mean_b0(image, b0_threshold) for image in images)
    same_grid = [one for one in others if one.same_grid(first)]
    inside = first.data > np.percentile(first.data, 60)
    aligned = [first.data]
    for one in same_grid:
        pose = align_b0s(first.data, one.data, (first.affine, one.affine), inside).matrix
        points = Grid(shape=first.shape, affine=first.affine, pose=pose).points
        voxels = one.voxels(points).T.reshape(3, *first.shape)
        aligned.append(ndimage.map_coordinates(one.data, voxels, order=1, mode="nearest"))
    encoding = encoding_from_sidecar(images[0].metadata, first.shape)
    return EncodedImage(
        data=np.mean(aligned, axis=0),
        affine=first.affine,
        phase_axis=encoding.phase_axis,
        polarity=encoding.polarity,
        readout=encoding.readout,
    )


def _read_mean_b0(image: FieldmapImage, b0_threshold: float) -> SpatialMap:
    volumes = read_volumes(image.path)
    count = volumes.data.shape[3]
    b0 = np.ones(count, dtype=bool)
    if image.bval is not None:
        bvals = read_bvals(image.bval)
        if bvals.size != count:
            raise ImageError(str(image.path), f"{count} volumes, {bvals.size} b-values", "give one b-value per volume")
        b0 = bvals <= b0_threshold
    if not b0.any():
        raise ImageError(str(image.path), "no b=0 volume", "give another fieldmap")
    return volumes.like(volumes.data[..., b0].mean(-1))


def _field_of_pair(fieldmap: Fieldmap, b0_threshold: float) -> MeasuredField:
    """Return the field of a pair of images with opposite phase encoding, for a run with another grid."""
    image, other = (read_encoded(one, b0_threshold=b0_threshold) for one in (fieldmap.matching, fieldmap.images))
    grid = SpatialMap(data=image.data, affine=image.affine)
    mask = estimate_brain_mask(image.data, grid.voxel_size)
    distortion = estimate_distortion(image, other, mask)
    if not distortion.proven or not image.readout:
        reason = distortion.reason if image.readout else "TotalReadoutTime is missing"
        raise ImageError(
            f"{fieldmap.matching[0].path.name} and {fieldmap.images[0].path.name}", reason, "check their sidecars"
        )
    return MeasuredField(
        hertz=grid.like(distortion.displacement / (image.readout * image.polarity)),
        magnitude=grid.like(corrected_image(image, distortion.displacement)),
        inside=mask,
        method="reverse phase encoding",
    )


def _read_phase_difference(fieldmap: Fieldmap) -> MeasuredField:
    (one,) = fieldmap.images
    echoes = [_seconds(one, name) for name in ("EchoTime1", "EchoTime2")]
    phase = read_map(one.path)
    return _from_phase(fieldmap, phase.like(_radians(one, phase)), abs(echoes[1] - echoes[0]))


def _read_two_phases(fieldmap: Fieldmap) -> MeasuredField:
    """Read two phases; the difference is the later echo minus the earlier one."""
    images = sorted(fieldmap.images[:2], key=lambda one: _seconds(one, "EchoTime"))
    phases = [read_map(one.path) for one in images]
    if not phases[0].same_grid(phases[1]):
        raise ImageError(str(images[1].path), "a grid different from that of the first phase", "use one grid")
    radians = [_radians(one, phase) for one, phase in zip(images, phases, strict=True)]
    echo_difference_s = _seconds(images[1], "EchoTime") - _seconds(images[0], "EchoTime")
    return _from_phase(fieldmap, phases[0].like(difference_of_phases(*radians)), echo_difference_s)


def _read_measured_field(fieldmap: Fieldmap) -> MeasuredField:
    (one,) = fieldmap.images
    field = read_map(one.path)
    units = str(one.metadata.get("Units", "Hz")).strip().lower()
    if units not in _HERTZ:
        raise MetadataError(str(one.path), f"Units {units!r}", "give Hz, rad/s or T")
    magnitude, inside = _read_magnitude(fieldmap, field)
    return MeasuredField(
        hertz=field.like(field.data * _HERTZ[units]), magnitude=magnitude, inside=inside, method=fieldmap.method
    )


_READERS: Mapping[FieldmapMethod, Callable[[Fieldmap], MeasuredField]] = {
    "phase difference": _read_phase_difference,
    "two phases": _read_two_phases,
    "measured field": _read_measured_field,
}


def _from_phase(fieldmap: Fieldmap, phase: SpatialMap, echo_difference_s: float) -> MeasuredField:
    magnitude, inside = _read_magnitude(fieldmap, phase)
    hertz = field_from_phase_difference(phase.data, inside, echo_difference_s=echo_difference_s)
    return MeasuredField(hertz=phase.like(hertz), magnitude=magnitude, inside=inside, method=fieldmap.method)


def _read_magnitude(fieldmap: Fieldmap, field: SpatialMap) -> tuple[SpatialMap, Array]:
    """Read the magnitude image of a fieldmap (first echo), and the mask of its signal."""
    path = fieldmap.magnitudes[0]
    volumes = read_volumes(path)
    magnitude = volumes.like(volumes.data[..., 0])
    if not magnitude.same_grid(field):
        raise ImageError(str(path), f"shape {magnitude.shape}, or another position than its phase", "use one grid")
    bright = magnitude.data > _SIGNAL_SHARE * np.percentile(magnitude.data, 98)
    parts, count = ndimage.label(ndimage.binary_opening(bright))
    if not count:
        raise ImageError(str(path), "no signal", "remove it")
    largest = 1 + int(np.argmax(ndimage.sum_labels(bright, parts, range(1, count + 1))))
    return magnitude, np.asarray(ndimage.binary_fill_holes(parts == largest))


def _radians(image: FieldmapImage, phase: SpatialMap) -> Array:
    return phase_in_radians(phase.data, units=str(image.metadata.get("Units", "")))


def _seconds(image: FieldmapImage, name: str) -> float:
    value: Any = image.metadata.get(name)
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise MetadataError(str(image.path), f"{name} is {value!r}", "give it in seconds")
    return float(value)
