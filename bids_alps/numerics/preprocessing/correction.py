"""Motion, eddy currents and distortion of one series: estimated one after the other, undone together."""

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
from bids_alps.numerics.preprocessing.volume_motion import at_rest
from bids_alps.numerics.volumes import mean_volume

COMBINED = "Two runs of opposite phase encoding were merged into one series after they were corrected."
LEFT_OUT = "Volumes that were empty or unlike all others were left out (number: {volumes:g})."
_AXES = {"i": 0, "j": 1, "k": 2}
_LONGEST_READOUT_S = 1.0  # a longer one is in other units


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a series was read out.

    Parameters
    ----------
    phase_axis, slice_axis
        Voxel axes.
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
    """A corrected series with what was found and done.

    Parameters
    ----------
    series
        Without the volumes that could not be aligned; b-vectors turned.
    motion
        Of every volume that was acquired.
    distortion
        The field, also where it was not applied; None where none was estimated.
    notes
        What was assumed, left out or doubtful, one sentence each.
    motion_corrected
        Whether head motion and eddy currents were estimated and undone.
    figures
        For the quality table: ``fd_mean``, ``fd_max`` (mm), ``outlier_slices``, ``replaced`` (fractions),
        ``unusable_volumes``, ``displacement`` (95th percentile, mm), ``difference_before``, ``difference_after``.
    before_after
        Pairs of images of shape (i, j, k): ``motion`` (mean with weighting), ``distortion`` (mean without).
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
        """Whether a field was found that brings the two encodings together, and was undone."""
        return self.distortion is not None and self.distortion.proven


def encoding_from_sidecar(metadata: Mapping[str, object], shape: Sequence[int] | None = None) -> Encoding:
    """Return how a series was read out, as its sidecar tells.

    Parameters
    ----------
    metadata
        Fields of the sidecar.
    shape
        Of the image: where ``TotalReadoutTime`` is not told it follows from ``EffectiveEchoSpacing`` and the number of
        phase-encoding steps.

    Examples
    --------
    >>> encoding = encoding_from_sidecar({"PhaseEncodingDirection": "i-", "TotalReadoutTime": 0.05})
    >>> encoding.phase_axis, encoding.polarity, encoding.readout
    (0, -1, 0.05)
    >>> encoding_from_sidecar({"PhaseEncodingAxis": "j"}).polarity
    0
    """
    told = str(metadata.get("PhaseEncodingDirection", ""))
    axis = told[:1] or str(metadata.get("PhaseEncodingAxis", ""))[:1]
    polarity = 0 if told[:1] not in _AXES else -1 if told.endswith("-") else 1
    phase_axis = _AXES.get(axis, 1)
    return Encoding(
        phase_axis=phase_axis,
        slice_axis=_AXES.get(str(metadata.get("SliceEncodingDirection", "k"))[:1], 2),
        polarity=polarity,
        readout=_readout_s(metadata, None if shape is None else shape[phase_axis]),
    )


def _readout_s(metadata: Mapping[str, object], steps: int | None) -> float | None:
    """Return the total readout time, s; None where nothing tells it, or nothing that can be true."""
    total, spacing = metadata.get("TotalReadoutTime"), metadata.get("EffectiveEchoSpacing")
    matrix = metadata.get("ReconMatrixPE", steps)
    if isinstance(total, int | float):
        found = float(total)
    elif isinstance(spacing, int | float) and isinstance(matrix, int):
        found = float(spacing) * (matrix - 1)
    else:
        return None
    return found if 0 < found < _LONGEST_READOUT_S else None


def correct_series(
    series: DwiSeries,
    mask: Array,
    encoding: Encoding,
    *,
    fields: Sequence[FieldEstimator] = (),
    motion: bool = True,
    b0_threshold: float = 50.0,
) -> CorrectedSeries:
    """Return a series with motion, eddy currents and susceptibility distortion undone in one interpolation.

    Parameters
    ----------
    series
        Raw (or denoised) series.
    mask
        Brain, shape (i, j, k), bool.
    encoding
        How the series was read out.
    fields
        What may find the susceptibility field, the best first: the first one that is proven is applied.
    motion
        Whether to correct motion and eddy currents.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.
    """
    data, affine = series.image.data, series.image.affine
    bvals = np.where(series.gradients.bvals <= b0_threshold, 0.0, series.gradients.bvals)
    notes: list[str] = []
    moved = _motion(series, bvals, mask, encoding, notes) if motion else None
    found = series_at_rest(series, slice_axis=encoding.slice_axis) if moved is None else moved
    base = mean_b0(data, affine, bvals, found)
    field_found = None
    if fields:
        image = EncodedImage(
            data=base,
            affine=affine,
            phase_axis=encoding.phase_axis,
            polarity=encoding.polarity,
            readout=encoding.readout,
        )
        field_found = _distortion(image, fields, mask, notes)
    corrected = resample_series(data, affine, found, distortion=field_found)
    replaced = replace_outliers(corrected, affine, bvals, found, distortion=field_found)
    weighted = bvals > 0
    pairs = {"motion": (mean_volume(data, weighted & found.usable), mean_volume(corrected, weighted & found.usable))}
    if field_found is not None and field_found.proven:
        pairs["distortion"] = (base, mean_volume(corrected, ~weighted & found.usable))
    kept = found.usable
    gradients = Gradients(bvals=series.gradients.bvals, bvecs=found.bvecs).take(kept)
    if not kept.all():
        notes.append(f"volumes left out as empty or unlike all others: {np.flatnonzero(~kept).tolist()}")
        corrected = corrected[..., kept]
    return CorrectedSeries(
        series=DwiSeries(image=series.image.like(corrected), gradients=gradients),
        motion=found,
        distortion=field_found,
        notes=tuple(notes),
        motion_corrected=moved is not None,
        figures=_figures(found, field_found, replaced, series.image.voxel_size, mask),
        before_after=pairs,
    )


def combine_runs(one: DwiSeries, second: CorrectedSeries, mask: Array, *, b0_threshold: float = 50.0) -> DwiSeries:
    """Return two corrected runs of one head as one series on the first one's grid, where the first lies.

    Parameters
    ----------
    one, second
        Corrected runs; the second may have another grid.
    mask
        Brain of the first, shape (i, j, k), bool.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.
    """
    two = second.series
    bases = [mean_volume(run.image.data, run.gradients.bvals <= b0_threshold) for run in (one, two)]
    pose = align_b0s(bases[0], bases[1], (one.image.affine, two.image.affine), mask).matrix
    moved = resample_series(
        two.image.data,
        two.image.affine,
        series_at_rest(two, slice_axis=second.motion.slice_axis),
        grid=Grid(shape=one.image.shape, affine=one.image.affine, pose=pose),
    )
    gradients = Gradients(
        bvals=np.r_[one.gradients.bvals, two.gradients.bvals],
        bvecs=np.r_[one.gradients.bvecs, two.gradients.bvecs @ pose[:3, :3]],
    )
    placed = DwiSeries(image=one.image.like(moved), gradients=two.gradients)
    moved *= np.float32(relative_gain(one, placed, mask, b0_threshold=b0_threshold))
    together = np.concatenate([one.image.data, moved], axis=3)
    return DwiSeries(image=one.image.like(together), gradients=gradients)


def relative_gain(one: DwiSeries, other: DwiSeries, mask: Array, *, b0_threshold: float = 50.0) -> float:
    """Return by what the second series must be multiplied to be as bright without weighting as the first; 1 untold.

    Parameters
    ----------
    one, other
        On one grid.
    mask
        Where to compare, shape (i, j, k), bool.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.
    """
    unweighted = [series.gradients.bvals <= b0_threshold for series in (one, other)]
    if not all(volumes.any() for volumes in unweighted):
        return 1.0
    first, second = (
        float(np.median(mean_volume(series.image.data, volumes)[mask]))
        for series, volumes in zip((one, other), unweighted, strict=True)
    )
    return first / second if second > 0 else 1.0


def series_at_rest(series: DwiSeries, *, slice_axis: int = 2) -> SeriesMotion:
    """Return no motion at all."""
    number = len(series.gradients)
    return SeriesMotion(
        volumes=(at_rest(np.zeros(3), np.zeros(3)),) * number,
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
    """Return the first field that is proven, else the first that was found; tell what became of each."""
    first = None
    for estimate in fields:
        try:
            found = estimate(image, mask)
        except AlpsError as error:
            notes.append(f"distortion not corrected: {error}")
            continue
        notes.append(f"distortion by {found.method}: {found.reason}" + (f" ({found.assumed})" if found.assumed else ""))
        if found.proven:
            return found
        first = first or found
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
    """Return mean and largest displacement between volumes, mm, the share of outlier slices, and volumes left out."""
    displacement = motion.framewise_displacement[motion.usable]
    return {
        "fd_mean": float(displacement[1:].mean()) if displacement.size > 1 else 0.0,
        "fd_max": float(displacement.max()),
        "outlier_slices": float(motion.outlier_slices.mean()),
        "unusable_volumes": float((~motion.usable).sum()),
    }
