"""Correction of motion, eddy currents and distortion: estimated in turn, applied in a single interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bids_alps.errors import AlpsError, ImageError
from bids_alps.model import Array, DwiSeries, Gradients
from bids_alps.numerics.preprocessing.distortion import Distortion, EncodedImage, FieldEstimator
from bids_alps.numerics.preprocessing.motion import SeriesMotion
from bids_alps.numerics.preprocessing.realignment import estimate_motion
from bids_alps.numerics.preprocessing.resampling import Grid, align_b0s, mean_b0, replace_outliers, resample_series
from bids_alps.numerics.preprocessing.volume_motion import no_motion
from bids_alps.numerics.volumes import mean_volume

CONCATENATED = "Runs with the same phase encoding were scaled to the same b=0 signal and concatenated."
COMBINED = "Runs of opposite phase encoding were merged into one series after correction."
ALIGNED = "Runs on different voxel grids were aligned and merged into one series."
EXCLUDED = "Volumes that were empty or did not correlate with the others were excluded (number: {volumes:g})."
_AXES = {"i": 0, "j": 1, "k": 2}
_MAX_READOUT_S = 1.0  # a longer one is in other units


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Readout of a series.

    Parameters
    ----------
    phase_axis, slice_axis
        Voxel axes of phase encoding and of the slices.
    polarity
        1, -1, or 0 where it is unknown.
    readout
        Total readout time, s, or None.
    """

    phase_axis: int = 1
    slice_axis: int = 2
    polarity: int = 0
    readout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedSeries:
    """A corrected series, with the estimated motion and distortion.

    Parameters
    ----------
    series
        Corrected series, without volumes that could not be realigned; b-vectors rotated.
    motion
        Motion of all acquired volumes.
    distortion
        The field, even if it was not applied; None if not estimated.
    notes
        Remarks on assumptions and exclusions, one sentence each.
    motion_corrected
        Whether head motion and eddy currents were corrected.
    figures
        Values for the quality table: ``fd_mean``, ``fd_max`` (mm), ``outlier_slices``, ``replaced`` (fractions),
        ``unusable_volumes``, ``displacement`` (95th percentile, mm), ``difference_before``, ``difference_after``.
    before_after
        Pairs of images of shape (i, j, k): ``motion`` (mean diffusion-weighted), ``distortion`` (mean b=0).
    """

    series: DwiSeries
    motion: SeriesMotion
    distortion: Distortion | None
    notes: tuple[str, ...]
    motion_corrected: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    before_after: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    @property
    def distortion_corrected(self) -> bool:
        """Whether a field was accepted and applied."""
        return self.distortion is not None and self.distortion.proven


def encoding_from_sidecar(metadata: Mapping[str, object], shape: Sequence[int] | None = None) -> Encoding:
    """Return the readout of a series from its sidecar.

    Parameters
    ----------
    metadata
        Fields of the sidecar.
    shape
        Shape of the image: if ``TotalReadoutTime`` is missing it is computed from ``EffectiveEchoSpacing`` and the
        number of phase-encoding steps.

    Examples
    --------
    >>> encoding = encoding_from_sidecar({"PhaseEncodingDirection": "i-", "TotalReadoutTime": 0.05})
    >>> encoding.phase_axis, encoding.polarity, encoding.readout
    (0, -1, 0.05)
    >>> encoding_from_sidecar({"PhaseEncodingAxis": "j"}).polarity
    0
    """
    direction = str(metadata.get("PhaseEncodingDirection", ""))
    axis = direction[:1] or str(metadata.get("PhaseEncodingAxis", ""))[:1]
    polarity = 0 if direction[:1] not in _AXES else -1 if direction.endswith("-") else 1
    phase_axis = _AXES.get(axis, 1)
    return Encoding(
        phase_axis=phase_axis,
        slice_axis=_AXES.get(str(metadata.get("SliceEncodingDirection", "k"))[:1], 2),
        polarity=polarity,
        readout=_readout_s(metadata, None if shape is None else shape[phase_axis]),
    )


def _readout_s(metadata: Mapping[str, object], steps: int | None) -> float | None:
    """Return the total readout time, s; None if it is missing or implausible."""
    total, spacing = metadata.get("TotalReadoutTime"), metadata.get("EffectiveEchoSpacing")
    matrix = metadata.get("ReconMatrixPE", steps)
    if isinstance(total, int | float):
        readout = float(total)
    elif isinstance(spacing, int | float) and isinstance(matrix, int):
        readout = float(spacing) * (matrix - 1)
    else:
        return None
    return readout if 0 < readout < _MAX_READOUT_S else None


def correct_series(
    series: DwiSeries,
    mask: Array,
    encoding: Encoding,
    *,
    fields: Sequence[FieldEstimator] = (),
    motion: bool = True,
    b0_threshold: float = 50.0,
) -> CorrectedSeries:
    """Return a series corrected for motion, eddy currents and susceptibility distortion, in a single interpolation.

    The corrected series takes the memory of the given one, which is lost, if that is float32, writable, and stored
    volume by volume as it is read: a second copy would exceed the memory of many computers.

    Parameters
    ----------
    series
        Raw (or denoised) series.
    mask
        Brain mask, shape (i, j, k), bool.
    encoding
        Readout of the series.
    fields
        Estimators of the susceptibility field, in order of priority: the first accepted field is applied.
    motion
        Whether to correct motion and eddy currents.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.
    """
    data, affine = series.image.data, series.image.affine
    bvals = np.where(series.gradients.bvals <= b0_threshold, 0.0, series.gradients.bvals)
    notes: list[str] = []
    estimated = _motion(series, bvals, mask, encoding, notes) if motion else None
    applied = series_without_motion(series, slice_axis=encoding.slice_axis) if estimated is None else estimated
    distortion = None
    if fields:
        b0 = mean_b0(data, affine, bvals, applied)
        image = EncodedImage(
            data=b0,
            affine=affine,
            phase_axis=encoding.phase_axis,
            polarity=encoding.polarity,
            readout=encoding.readout,
        )
        distortion = _distortion(image, fields, mask, notes)
    usable, weighted = applied.usable, bvals > 0
    uncorrected = mean_volume(data, weighted & usable)
    corrected = resample_series(data, affine, applied, distortion=distortion, out=_storage(data))
    replaced = replace_outliers(corrected, affine, bvals, applied, distortion=distortion)
    pairs = {"motion": (uncorrected, mean_volume(corrected, weighted & usable))}
    if distortion is not None and distortion.proven:
        pairs["distortion"] = (b0, mean_volume(corrected, ~weighted & usable))
    gradients = Gradients(bvals=series.gradients.bvals, bvecs=applied.bvecs).take(usable)
    if not usable.all():
        notes.append(f"volumes excluded as empty or uncorrelated with the others: {np.flatnonzero(~usable).tolist()}")
        corrected = _kept(corrected, usable)
    return CorrectedSeries(
        series=DwiSeries(image=series.image.like(corrected), gradients=gradients),
        motion=applied,
        distortion=distortion,
        notes=tuple(notes),
        motion_corrected=estimated is not None,
        figures=_figures(applied, distortion, replaced, series.image.voxel_size, mask),
        before_after=pairs,
    )


def _storage(data: Array) -> Array | None:
    """Return the memory of a series to be overwritten; None if it is not float32, writable and stored by volumes."""
    if data.dtype != np.float32 or not data.flags.f_contiguous:
        return None
    writable = data.view()
    try:
        writable.flags.writeable = True
    except ValueError:  # it is a view of memory that is read-only
        return None
    return writable


def _kept(data: Array, volumes: Array) -> Array:
    """Return the volumes to keep, moved to the front in place; the result is a view."""
    kept = np.flatnonzero(volumes)
    for target, volume in enumerate(kept.tolist()):
        if target != volume:
            data[..., target] = data[..., volume]
    return data[..., : kept.size]


def combine_runs(one: DwiSeries, second: CorrectedSeries, mask: Array, *, b0_threshold: float = 50.0) -> DwiSeries:
    """Return two corrected runs of the same head as one series, on the grid and in the position of the first.

    Parameters
    ----------
    one, second
        Corrected runs; the second may have another grid.
    mask
        Brain mask of the first, shape (i, j, k), bool.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.
    """
    two = second.series
    b0s = [mean_volume(run.image.data, run.gradients.bvals <= b0_threshold) for run in (one, two)]
    pose = align_b0s(b0s[0], b0s[1], (one.image.affine, two.image.affine), mask).matrix
    count = len(one.gradients)
    combined = np.empty((*one.image.shape, count + len(two.gradients)), dtype=np.float32, order="F")
    combined[..., :count] = one.image.data
    resampled = resample_series(
        two.image.data,
        two.image.affine,
        series_without_motion(two, slice_axis=second.motion.slice_axis),
        grid=Grid(shape=one.image.shape, affine=one.image.affine, pose=pose),
        out=combined[..., count:],
    )
    gradients = Gradients(
        bvals=np.r_[one.gradients.bvals, two.gradients.bvals],
        bvecs=np.r_[one.gradients.bvecs, two.gradients.bvecs @ pose[:3, :3]],
    )
    second_series = DwiSeries(image=one.image.like(resampled), gradients=two.gradients)
    resampled *= np.float32(relative_gain(one, second_series, mask, b0_threshold=b0_threshold))
    return DwiSeries(image=one.image.like(combined), gradients=gradients)


def relative_gain(one: DwiSeries, other: DwiSeries, mask: Array, *, b0_threshold: float = 50.0) -> float:
    """Return the factor that scales the b=0 signal of the second series to that of the first; 1 if unknown.

    Parameters
    ----------
    one, other
        Series on the same grid.
    mask
        Voxels to compare, shape (i, j, k), bool.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.
    """
    b0 = [series.gradients.bvals <= b0_threshold for series in (one, other)]
    if not all(volumes.any() for volumes in b0):
        return 1.0
    first, second = (
        float(np.median(mean_volume(series.image.data, volumes)[mask]))
        for series, volumes in zip((one, other), b0, strict=True)
    )
    return first / second if second > 0 else 1.0


def series_without_motion(series: DwiSeries, *, slice_axis: int = 2) -> SeriesMotion:
    """Return the motion of a series without any motion."""
    number = len(series.gradients)
    return SeriesMotion(
        volumes=(no_motion(np.zeros(3), np.zeros(3)),) * number,
        bvecs=series.gradients.bvecs,
        outlier_slices=np.zeros((number, series.image.shape[slice_axis]), dtype=bool),
        usable=np.ones(number, dtype=bool),
        correlation=np.ones(number),
        slice_axis=slice_axis,
        eddy_shift=np.zeros(number),
    )


def _motion(series: DwiSeries, bvals: Array, mask: Array, encoding: Encoding, notes: list[str]) -> SeriesMotion | None:
    try:
        return estimate_motion(
            series.image.data,
            series.image.affine,
            (bvals, series.gradients.bvecs),
            mask,
            phase_axis=encoding.phase_axis,
            slice_axis=encoding.slice_axis,
        )
    except ImageError as error:
        notes.append(f"motion not corrected: {error}")
        return None


def _distortion(
    image: EncodedImage, fields: Sequence[FieldEstimator], mask: Array, notes: list[str]
) -> Distortion | None:
    """Return the first accepted field, else the first estimated one; a note is added for each."""
    first = None
    for estimate in fields:
        try:
            distortion = estimate(image, mask)
        except AlpsError as error:
            notes.append(f"distortion not corrected: {error}")
            continue
        notes.append(
            f"distortion by {distortion.method}: {distortion.reason}"
            + (f" ({distortion.assumed})" if distortion.assumed else "")
        )
        if distortion.proven:
            return distortion
        first = first or distortion
    return first


def _figures(
    motion: SeriesMotion, distortion: Distortion | None, replaced: float, size: Array, mask: Array
) -> Mapping[str, float]:
    figures = {**measure_motion(motion), "replaced": replaced}
    if distortion is not None:
        voxels = float(np.percentile(np.abs(distortion.displacement[mask]), 95))
        figures["displacement"] = voxels * float(size[distortion.phase_axis])
        figures["difference_before"] = distortion.difference_before
        figures["difference_after"] = distortion.difference_after
    return figures


def measure_motion(motion: SeriesMotion) -> dict[str, float]:
    """Return mean and maximum framewise displacement, mm, fraction of outlier slices, number of excluded volumes."""
    displacement = motion.framewise_displacement[motion.usable]
    return {
        "fd_mean": float(displacement[1:].mean()) if displacement.size > 1 else 0.0,
        "fd_max": float(displacement.max()),
        "outlier_slices": float(motion.outlier_slices.mean()),
        "unusable_volumes": float((~motion.usable).sum()),
    }
