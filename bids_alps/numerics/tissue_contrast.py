"""A common contrast of diffusion maps of a subject and tissue maps of a template.

White matter is 1, gray matter 0.5, CSF and the outside of the brain 0. Since CSF and outside are equal, it does not
matter how much of the CSF around the brain is inside the mask, while the outline of the brain, the ventricles and the
white matter all contribute.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from bids_alps.model import Array, SpatialMap, SubjectMaps, Template

_FA_OF_WHITE_MATTER = 0.5
_MD_OF_TISSUE, _MD_SPAN_TO_CSF = 1.2e-3, 1.4e-3  # mm^2/s
_RIM_MM = 6.0  # at the edge of the mask, noise, motion and fat increase FA without white matter
_GRAY = 0.5


def white_matter(subject: SubjectMaps) -> SpatialMap:
    """Return the white matter fraction of voxels, estimated from FA, 0 to 1; zero outside the mask."""
    depth = distance_transform_edt(np.pad(subject.mask.data, 1, mode="edge"), sampling=subject.mask.voxel_size)
    inner = np.clip(depth[1:-1, 1:-1, 1:-1] / _RIM_MM, 0, 1)
    fraction = np.clip(np.nan_to_num(subject.fa.data) / _FA_OF_WHITE_MATTER, 0, 1) * _tissue(subject)
    return subject.fa.like((fraction * inner).astype(np.float32))


def csf_fraction(subject: SubjectMaps) -> SpatialMap:
    """Return the CSF fraction of voxels, estimated from MD, 0 to 1; zero outside the mask."""
    fluid = np.where(subject.mask.data, 1 - _tissue(subject), 0)
    return subject.md.like(fluid.astype(np.float32))


def subject_contrast(subject: SubjectMaps, white: SpatialMap | None = None) -> SpatialMap:
    """Return the contrast of a subject, 0 to 1; zero outside the mask. Give its `white_matter` if it is known."""
    fraction = white_matter(subject) if white is None else white
    contrast = _GRAY * _tissue(subject) + (1 - _GRAY) * fraction.data
    return subject.fa.like(contrast.astype(np.float32))


def template_contrast(template: Template) -> SpatialMap:
    """Return the contrast of a template, 0 to 1; zero outside its brain."""
    contrast = template.wm.data + np.float32(_GRAY) * template.gm.data
    return template.wm.like(np.where(template.mask.data, contrast, np.float32(0)))


def tissue_channels(template: Template, subject: SubjectMaps) -> list[tuple[SpatialMap, SpatialMap]]:
    """Return two channels of template and subject: white matter, and white plus gray matter.

    Separate channels distinguish the walls of the ventricles from the boundary of white and gray matter; in a single
    contrast, a boundary of low FA due to crossing fibers looks like a wall.
    """
    tissue = template.wm.data + template.gm.data
    brain = template.wm.like(np.where(template.mask.data, tissue, np.float32(0)))
    return [(template.wm, white_matter(subject)), (brain, subject.fa.like(_tissue(subject).astype(np.float32)))]


def _tissue(subject: SubjectMaps) -> Array:
    # linear in MD, from 0 for tissue to 1 for CSF
    fluid = np.clip((np.nan_to_num(subject.md.data) - _MD_OF_TISSUE) / _MD_SPAN_TO_CSF, 0, 1)
    return np.where(subject.mask.data, 1 - fluid, 0)
