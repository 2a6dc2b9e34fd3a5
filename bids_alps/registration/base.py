"""What every registration engine promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bids_alps.model import Pose, SpatialMap, SpatialTransform


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectMaps:
    """What an engine sees of a subject, all on the DWI grid but the T1w image.

    Parameters
    ----------
    fa, md, b0
        Fractional anisotropy, mean diffusivity (mm^2/s) and mean signal without weighting.
    mask
        Brain mask, bool.
    t1w
        Anatomical image in the same world space (up to a rigid motion), on a grid of its own.
    """

    fa: SpatialMap
    md: SpatialMap
    b0: SpatialMap
    mask: SpatialMap
    t1w: SpatialMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template: maps of one grid, in the template's RAS+ mm.

    Parameters
    ----------
    name
        TemplateFlow identifier, such as ``MNI152NLin2009aSym``.
    t1w
        Anatomical image, skull removed or not, as the template comes.
    gm, wm, csf
        Tissue probabilities, 0 to 1.
    mask
        Brain mask, bool.
    """

    name: str
    t1w: SpatialMap
    gm: SpatialMap
    wm: SpatialMap
    csf: SpatialMap
    mask: SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What an engine found.

    Parameters
    ----------
    transform
        Subject to template.
    pose
        Angles of the rigid part, with their standard error.
    placement_se_mm
        Standard error of where an ROI's centre was placed, mm per axis: the engine's own estimate, for the
        uncertainty of the index.
    metrics
        Figures for the quality table: similarity, what random poses reach, overlap, Jacobian range and so on.
    engine
        Name and version of what ran.
    """

    transform: SpatialTransform
    pose: Pose
    placement_se_mm: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    engine: str = ""


class Registrar(Protocol):
    """Aligns a subject with a template."""

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return where points of the subject lie in the template.

        The result is the same, bit for bit, whatever the number of threads.

        Raises
        ------
        RegistrationError
            If the two cannot be aligned: an empty mask, no overlap, no convergence.
        """
        ...
