"""Input of the registration: diffusion maps of a subject, and tissue maps of a template."""

from __future__ import annotations

from dataclasses import dataclass

from bids_alps.model.spatial import SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectMaps:
    """Input of a registration engine; all on the DWI grid, except the T1w image.

    Parameters
    ----------
    fa, md, b0
        Fractional anisotropy, mean diffusivity (mm^2/s) and mean b=0 signal.
    mask
        Brain mask, bool.
    t1w
        Anatomical image in the same world space (up to a rigid transform), on its own grid.
    """

    fa: SpatialMap
    md: SpatialMap
    b0: SpatialMap
    mask: SpatialMap
    t1w: SpatialMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template: maps on one grid, in the RAS+ mm of the template.

    Parameters
    ----------
    name
        TemplateFlow identifier, such as ``MNI152NLin2009aSym``.
    t1w
        Anatomical image, with or without skull, as distributed.
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
