"""The steps that clean a raw series before anything moves it: noise reduction and Gibbs ringing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bids_alps.model import Array, DwiRun, DwiSeries
from bids_alps.numerics.preprocessing.denoise import FEWEST_VOLUMES, choose_window, denoise
from bids_alps.numerics.preprocessing.gibbs import remove_ringing
from bids_alps.settings import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisedSeries:
    """A cleaned series, one volume before and after each step, figures for the sidecar, and what is to be said."""

    series: DwiSeries
    before_after: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def clean(run: DwiRun, series: DwiSeries, mask: Array, method: Method) -> DenoisedSeries:
    """Take out noise and ringing as far as the method asks and the series allows."""
    steps, notes = [], list[str]()
    if method.denoising:
        why_not = refuse_denoising(series)
        notes += [f"Noise was not reduced: {why_not}."] if why_not else []
        steps += [] if why_not else ["denoise"]
    if method.unringing:
        partial = run.metadata.get("PartialFourier")
        known = isinstance(partial, int | float) and partial < 1
        notes += (
            [f"Ringing was left: PartialFourier is {partial}, and its ripples are of another kind."] if known else []
        )
        steps += [] if known else ["gibbs"]
    if not steps:
        return DenoisedSeries(series=series, notes=tuple(notes))
    data = np.array(series.image.data, dtype=np.float32)
    shown = int(np.flatnonzero(series.gradients.bvals > method.b0_threshold)[:1].sum())
    before_after, figures = {}, {}
    for step in steps:
        before = data[..., shown].copy()
        if step == "denoise":
            sigma = denoise(data, mask).sigma
            figures["noise_sigma"] = float(np.median(sigma[sigma > 0])) if (sigma > 0).any() else float("nan")
        else:
            remove_ringing(data)
        before_after[step] = before, data[..., shown].copy()
    return DenoisedSeries(
        series=DwiSeries(image=series.image.like(data), gradients=series.gradients),
        before_after=before_after,
        figures=figures,
        notes=tuple(notes),
    )


def refuse_denoising(series: DwiSeries) -> str:
    """Return why noise cannot be told from signal in a series; nothing where it can."""
    volumes, shape = len(series.gradients), series.image.shape
    if volumes < FEWEST_VOLUMES:
        return f"{volumes} volumes, and noise needs {FEWEST_VOLUMES} to be told from signal"
    window = choose_window(volumes)
    if min(shape) < window:
        return f"{min(shape)} voxels along one axis, and patches of {volumes} volumes need {window}"
    return ""
