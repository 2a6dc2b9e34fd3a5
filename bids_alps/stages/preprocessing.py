"""The stage that corrects a raw series: reads the reverse-phase image, corrects, writes, and tells what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_alps.errors import AlpsError
from bids_alps.io.derivatives import derivative_path, sidecar_of
from bids_alps.io.images import read_bvals, read_series, read_volumes
from bids_alps.io.inheritance import find_inherited, read_sidecar
from bids_alps.io.tables import Column, write_table
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import Array, Check, DwiRun, DwiSeries, Statement
from bids_alps.numerics.preprocessing import distortion, outliers, realignment, resampling
from bids_alps.numerics.preprocessing.correction import (
    COMBINED,
    LEFT_OUT,
    CorrectedSeries,
    combine_runs,
    correct_series,
    encoding_from_sidecar,
)
from bids_alps.numerics.preprocessing.denoising import DENOISED, UNRINGED
from bids_alps.numerics.preprocessing.distortion import EncodedImage
from bids_alps.numerics.tensors.gradients import fsl_from_world
from bids_alps.quality.checks import evaluate
from bids_alps.report.drawing import BeforeAfter, Motion, compare_steps, trace_motion
from bids_alps.settings import Method
from bids_alps.stages.denoising import DenoisedSeries, clean
from bids_alps.stages.masking import find_mask
from bids_alps.stages.statements import say

GIVEN = "The diffusion series had been preprocessed by another program and were used as they were given."
RAW = "The diffusion series were used without preprocessing."
_TITLES = {"motion": "Head motion and eddy currents", "distortion": "Susceptibility distortion"}
_MOTION_COLUMNS = (
    *(Column(name=f"trans_{axis}", description=f"Translation along {axis}, world axes.", unit="mm") for axis in "xyz"),
    *(Column(name=f"rot_{axis}", description=f"Rotation about {axis}, world axes.", unit="rad") for axis in "xyz"),
    Column(name="framewise_displacement", description="Motion since the volume before (Power).", unit="mm"),
    Column(
        name="eddy_shift",
        description="Shift of the whole volume along phase encoding by eddy currents; not part of the head motion.",
        unit="mm",
    ),
    Column(name="outlier_slices", description="Slices whose signal was lost and replaced by its prediction."),
    Column(name="usable", description="Whether the volume was kept.", levels={"1": "kept", "0": "left out"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessedSeries:
    """A corrected series, and what the report and the tables say of it: of two merged runs, what holds for both."""

    series: DwiSeries
    motion_corrected: bool = False
    distortion_corrected: bool = False
    comparisons: tuple[BeforeAfter, ...] = ()
    motion: Motion | None = None
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _One:
    """What became of one run: cleaned, corrected, and what is to be said."""

    cleaned: DenoisedSeries
    found: CorrectedSeries
    notes: list[str]


def correct(run: DwiRun, series: DwiSeries, mask: Array, method: Method, output_dir: Path) -> PreprocessedSeries:
    """Correct a raw series as far as the method asks, and write it; a preprocessed one stays as it is.

    A run with a partner of opposite phase encoding becomes one series of both, on its own grid.
    """
    if run.preprocessed or method.skip_preprocessing or not corrects(method):
        return PreprocessedSeries(series=series, statements=say("preparation", GIVEN if run.preprocessed else RAW))
    one = _correct_one(run, series, mask, method)
    parts, whole, notes = [one], one.found.series, list(one.notes)
    if run.partner is not None:
        second = read_series(run.partner)
        parts.append(_correct_one(run.partner, second, find_mask(second, b0_threshold=method.b0_threshold), method))
        whole = combine_runs(one.found, parts[1].found, mask, b0_threshold=method.b0_threshold)
        notes += [f"{run.partner.name}: {note}" for note in parts[1].notes]
        notes.append(f"{run.partner.name} merged into this run: {len(whole.gradients)} volumes together")
    _write(run, whole, parts, notes, output_dir)
    return PreprocessedSeries(
        series=whole,
        motion_corrected=all(part.found.motion_corrected for part in parts),
        distortion_corrected=all(part.found.distortion_corrected for part in parts),
        comparisons=compare_steps(whole.image, one.cleaned.before_after) + _comparisons(one.found, method),
        motion=trace_motion(one.found.motion) if method.motion_correction else None,
        checks=check_correction([part.found.figures for part in parts]) if method.motion_correction else (),
        notes=tuple(notes),
        statements=state_correction(parts),
    )


def state_correction(parts: Sequence[_One]) -> tuple[Statement, ...]:
    """Return what the steps that ran say, of one run or of two that were merged."""
    steps = {step for part in parts for step in part.cleaned.before_after}
    found = [part.found for part in parts]
    lost = sum(one.figures["unusable_volumes"] for one in found)
    texts = {
        DENOISED: "denoise" in steps,
        UNRINGED: "gibbs" in steps,
        realignment.SENTENCE: any(one.motion_corrected for one in found),
        outliers.SENTENCE: any(one.figures["replaced"] > 0 for one in found),
        LEFT_OUT: lost > 0,
        distortion.SENTENCE: any(one.distortion_corrected for one in found),
        resampling.SENTENCE: any(one.motion_corrected or one.distortion_corrected for one in found),
        COMBINED: len(parts) > 1,
    }
    ran = [text for text, holds in texts.items() if holds]
    return say("preparation", *(ran or [RAW]), volumes=lost)


def corrects(method: Method) -> bool:
    """Whether a method changes raw series at all."""
    return method.denoising or method.unringing or method.motion_correction or method.distortion_correction


def _correct_one(run: DwiRun, series: DwiSeries, mask: Array, method: Method) -> _One:
    cleaned = clean(run, series, mask, method)
    notes = [*cleaned.notes, *(run.notes if method.distortion_correction else ())]
    other = _reverse_image(run, method, notes) if method.distortion_correction else None
    found = correct_series(
        cleaned.series,
        mask,
        encoding_from_sidecar(run.metadata),
        other=other,
        motion=method.motion_correction,
        b0_threshold=method.b0_threshold,
    )
    return _One(cleaned=cleaned, found=found, notes=notes + list(found.notes))


def _reverse_image(run: DwiRun, method: Method, notes: list[str]) -> EncodedImage | None:
    """Read the mean unweighted image of the first reverse-phase file that can be used."""
    for path in run.reverse_phase:
        try:
            root = _root_of(path)
            encoding = encoding_from_sidecar(read_sidecar(path, root))
            image = read_volumes(path)
            volumes = np.ones(image.data.shape[3], dtype=bool)
            if path.name.split(".", 1)[0].endswith("_dwi"):
                volumes = read_bvals(find_inherited(path, ".bval", root)) <= method.b0_threshold
            return EncodedImage(
                data=image.data[..., volumes].mean(-1),
                affine=image.affine,
                phase_axis=encoding.phase_axis,
                polarity=encoding.polarity,
                readout=encoding.readout,
            )
        except AlpsError as error:
            notes.append(f"reverse-phase image not used: {error}")
    return None


def _root_of(path: Path) -> Path:
    return next((folder for folder in path.parents if (folder / "dataset_description.json").exists()), path.parent)


def _write(run: DwiRun, whole: DwiSeries, parts: list[_One], notes: list[str], output_dir: Path) -> None:
    gradients, image, first = whole.gradients, whole.image, parts[0]
    steps = {
        "Noise": dict(first.cleaned.figures),
        "Motion": {key: value for key, value in first.found.figures.items() if np.isfinite(value)},
        "Notes": notes,
        "DistortionCorrected": all(part.found.distortion_corrected for part in parts),
    }
    write_map(
        derivative_path(output_dir, run, "preproc"), image, sidecar=sidecar_of(run, "preproc", Preprocessing=steps)
    )
    write_text(derivative_path(output_dir, run, "preproc_bval"), " ".join(f"{b:g}" for b in gradients.bvals) + "\n")
    rows = fsl_from_world(gradients.bvecs, image.affine).T
    text = "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
    write_text(derivative_path(output_dir, run, "preproc_bvec"), text)
    table = [
        {name: values[n] for name, values in part.found.motion.confounds.items()}
        for part in parts
        for n in range(len(part.found.motion.usable))
    ]
    write_table(derivative_path(output_dir, run, "confounds"), table, _MOTION_COLUMNS)


def _comparisons(found: CorrectedSeries, method: Method) -> tuple[BeforeAfter, ...]:
    wanted = {"motion": method.motion_correction, "distortion": True}
    return tuple(
        BeforeAfter(
            name=name,
            title=_TITLES[name],
            before=found.series.image.like(before),
            after=found.series.image.like(after),
        )
        for name, (before, after) in found.before_after.items()
        if wanted[name]
    )


def check_correction(figures: Sequence[Mapping[str, float]]) -> tuple[Check, ...]:
    """Return the checks of motion from the figures of each run; of two runs the worse counts."""
    return (
        evaluate("framewise_displacement", max(one["fd_mean"] for one in figures)),
        evaluate("outlier_slices", max(one["outlier_slices"] for one in figures)),
    )
