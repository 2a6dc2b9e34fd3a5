"""What is aligned: the diffusion maps of a subject, and the tissue maps of a template."""

from __future__ import annotations

from dataclasses import dataclass

from bids_alps.model.spatial import SpatialMap


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
