"""Statements of the stages for the methods text of a run, by what was done, not by what was requested."""

from __future__ import annotations

from collections.abc import Iterable

from bids_alps import __version__
from bids_alps.model import AlpsResult, Check, Gradients, RoiPreset, Stage, Statement
from bids_alps.numerics.index import alps, rois, uncertainty
from bids_alps.numerics.tensors import calibration, free_water, tensor
from bids_alps.numerics.tensors.gradients import find_shells
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method

START = (
    "The index of diffusion tensor image analysis along the perivascular space (DTI-ALPS; [@taoka2017]) was computed "
    f"with bids-alps {__version__}, a BIDS App ([@gorgolewski2017])."
)
_SOURCES = {"2009": " ([@fonov2011])"}
"""References of templates, by a part of their name."""


def make_statement(stage: Stage, *texts: str, **values: float) -> tuple[Statement, ...]:
    """Return statements of a stage, each with the values in its text."""
    return tuple(
        Statement(
            stage=stage, text=text, values={name: value for name, value in values.items() if f"{{{name}:" in text}
        )
        for text in texts
    )


def fit_statements(
    given: Gradients, fitted: Gradients, *, b0_threshold: float, compared: bool
) -> tuple[Statement, ...]:
    """Return the statements of the tensor fit.

    Parameters
    ----------
    given, fitted
        Gradients of the fitted volumes, before and after calibration.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.
    compared
        Whether calibration of the b-values was requested.
    """
    shells = find_shells(given.bvals, b0_threshold=b0_threshold)
    weighted = sorted({float(shell) for shell in shells if shell > 0})
    names = [f"b{n}" for n in range(1, len(weighted) + 1)]
    shown = " and ".join(f"{{{name}:.0f}}" for name in names) + " s/mm²"
    text = tensor.SENTENCE.replace("{b_values}", shown)
    counts = {"directions": float((shells > 0).sum()), "b0": float((shells == 0).sum()), "b0_threshold": b0_threshold}
    changed = calibration.CALIBRATED if (fitted.bvals != given.bvals).any() else calibration.KEPT
    return (
        *make_statement("tensors", text, **counts, **dict(zip(names, weighted, strict=True))),
        *(make_statement("tensors", changed) if compared else ()),
    )


def registration_statements(method: Method, template: str) -> tuple[Statement, ...]:
    """Return the statements of the registration to a template."""
    source = next((source for part, source in _SOURCES.items() if part in template), "")
    return make_statement(
        "registration", f"Each subject was {ENGINES[method.registrar].sentence} {literal(template)}{source}."
    )


def index_statements(preset: RoiPreset, result: AlpsResult, method: Method) -> tuple[Statement, ...]:
    """Return the statements of the measurement of a preset; `result` is before an index is withheld."""
    pose = uncertainty.POSE_ERROR if method.pose_correction else ""
    return (
        *make_statement(
            "regions",
            f"Regions of interest in the projection and association fibers of both hemispheres ({_shape(preset)}) "
            "were transformed to the diffusion images.",
        ),
        *make_statement(
            "regions", rois.COUNTED_BY_TISSUE if method.roi_weighting == "tissue" else rois.COUNTED_BY_FRACTION
        ),
        *make_statement("index", alps.ROTATED if method.pose_correction else alps.NOT_ROTATED, alps.SENTENCE),
        *(make_statement("index", free_water.SENTENCE) if result.alps_water_corrected else ()),
        *(
            make_statement("uncertainty", uncertainty.SENTENCE.replace("{pose}", pose), seed=method.random_seed)
            if result.interval
            else ()
        ),
    )


def literal(name: str) -> str:
    """Return a name given by the user, escaped for the text of a statement."""
    return name.replace("{", "{{").replace("}", "}}")


def _shape(preset: RoiPreset) -> str:
    named = f"preset {literal(preset.name)}"
    if preset.label_image is not None:
        return f"{named}, manual regions in the {'scan' if preset.native else 'template'}"
    if preset.radius_mm == preset.radius_mm:
        return f"{named}, spheres of {preset.radius_mm:g} mm radius"
    return f"{named}, ellipsoids with semi-axes along x, y and z of {preset.description} mm"


def quality_statements(checks: Iterable[Check], method: Method, *, failed: bool) -> tuple[Statement, ...]:
    """Return the statements of the quality checks."""
    limits = f", with the thresholds {literal(', '.join(method.threshold))}" if method.threshold else ""
    text = f"Each index was assessed by {{checks:g}} quality checks of the scan, registration and regions{limits}."
    kept = (
        "An index with a failed check was kept." if method.keep_failed else "An index with a failed check was withheld."
    )
    return make_statement("quality", text, *([kept] if failed else []), checks=float(len(list(checks))))
