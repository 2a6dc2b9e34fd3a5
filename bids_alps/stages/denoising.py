"""Stage: optional denoising and Gibbs correction, before any resampling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bids_alps.model import Array, DwiRun, DwiSeries
from bids_alps.numerics.preprocessing.denoising import MIN_VOLUMES, denoise, patch_radius, remove_ringing
from bids_alps.settings import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisedSeries:
    """A denoised series, with one volume before and after each step, values for the sidecar, and notes."""

    series: DwiSeries
    before_after: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def clean(run: DwiRun, series: DwiSeries, mask: Array, method: Method) -> DenoisedSeries:
    """Denoise and correct Gibbs ringing, as requested by the method and possible for the series."""
    steps, notes = choose_steps(run, series, method)
    if not steps:
        return DenoisedSeries(series=series, notes=notes)
    data = np.asarray(series.image.data)
    shown = int(np.flatnonzero(series.gradients.bvals > method.b0_threshold)[:1].sum())
    before_after, figures = {}, {}
    for step in steps:
        before = data[..., shown].copy()
        if step == "denoise":
            denoised = denoise(data, mask)
            data, sigma = denoised.data, denoised.sigma
            figures["noise_sigma"] = float(np.median(sigma[sigma > 0])) if (sigma > 0).any() else float("nan")
        else:
            data = remove_ringing(data)
        before_after[step] = before, data[..., shown].copy()
    return DenoisedSeries(
        series=DwiSeries(image=series.image.like(data), gradients=series.gradients),
        before_after=before_after,
        figures=figures,
        notes=notes,
    )


def choose_steps(run: DwiRun, series: DwiSeries, method: Method) -> tuple[list[str], tuple[str, ...]]:
    """Return the steps to apply, in order, and why requested steps are skipped."""
    steps, notes = list[str](), list[str]()
    if method.denoising:
        obstacle = denoising_obstacle(series)
        notes += [f"Not denoised: {obstacle}."] if obstacle else []
        steps += [] if obstacle else ["denoise"]
    if method.unringing:
        partial = run.metadata.get("PartialFourier")
        if isinstance(partial, int | float) and partial < 1:
            notes.append(f"Gibbs ringing not removed: PartialFourier is {partial}, for which the method is not valid.")
        else:
            steps.append("gibbs")
    return steps, tuple(notes)


def denoising_obstacle(series: DwiSeries) -> str:
    """Return why a series cannot be denoised; empty if it can."""
    volumes, shape = len(series.gradients), series.image.shape
    if volumes < MIN_VOLUMES:
        return f"{volumes} volumes, where MP-PCA needs {MIN_VOLUMES}"
    edge = 2 * patch_radius(volumes) + 1
    if min(shape) < edge:
        return f"{min(shape)} voxels along one axis, where patches of {volumes} volumes need {edge}"
    return ""
