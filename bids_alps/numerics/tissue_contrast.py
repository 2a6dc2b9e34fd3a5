"""One contrast that diffusion maps of a subject and tissue maps of a template share.

White matter counts 1, grey matter one half, CSF and what lies outside the brain nothing: since CSF and outside
are alike, it does not matter how much of the CSF around the brain a mask took in, while the brain's outline, the
ventricles and the white matter all carry weight.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from bids_alps.model import Array, SpatialMap, SubjectMaps, Template

_FA_OF_WHITE_MATTER = 0.5
_MD_OF_TISSUE, _MD_SPAN_TO_CSF = 1.2e-3, 1.4e-3  # mm^2/s
_RIM_MM = 6.0  # at the mask's edge noise, motion and fat make FA high where there is no white matter
_GREY = 0.5


def white_matter(subject: SubjectMaps) -> SpatialMap:
    """Return how much a voxel looks like white matter by its anisotropy, 0 to 1; zero outside the mask."""
    depth = distance_transform_edt(np.pad(subject.mask.data, 1, mode="edge"), sampling=subject.mask.voxel_size)
    inner = np.clip(depth[1:-1, 1:-1, 1:-1] / _RIM_MM, 0, 1)
    share = np.clip(np.nan_to_num(subject.fa.data) / _FA_OF_WHITE_MATTER, 0, 1) * _tissue(subject)
    return subject.fa.like((share * inner).astype(np.float32))


def csf_fraction(subject: SubjectMaps) -> SpatialMap:
    """Return how much of a voxel is CSF by its mean diffusivity, 0 to 1; zero outside the mask."""
    fluid = np.where(subject.mask.data, 1 - _tissue(subject), 0)
    return subject.md.like(fluid.astype(np.float32))


def subject_contrast(subject: SubjectMaps) -> SpatialMap:
    """Return the contrast of a subject, 0 to 1; zero outside the mask."""
    contrast = _GREY * _tissue(subject) + (1 - _GREY) * white_matter(subject).data
    return subject.fa.like(contrast.astype(np.float32))


def template_contrast(template: Template) -> SpatialMap:
    """Return the contrast of a template, 0 to 1; zero outside its brain."""
    contrast = template.wm.data + _GREY * template.gm.data
    return template.wm.like(np.where(template.mask.data, contrast, 0).astype(np.float32))


def tissue_channels(template: Template, subject: SubjectMaps) -> list[tuple[SpatialMap, SpatialMap]]:
    """Return white matter, and all that is not CSF, of the template and of the subject.

    Apart, they tell the ventricles' walls from the border of white and grey matter; in one contrast a border where
    fibres cross, and FA is low, passes for a wall.
    """
    brain = template.wm.like(np.where(template.mask.data, template.wm.data + template.gm.data, 0).astype(np.float32))
    return [(template.wm, white_matter(subject)), (brain, subject.fa.like(_tissue(subject).astype(np.float32)))]


def _tissue(subject: SubjectMaps) -> Array:
    fluid = np.clip((np.nan_to_num(subject.md.data) - _MD_OF_TISSUE) / _MD_SPAN_TO_CSF, 0, 1)
    return np.where(subject.mask.data, 1 - fluid, 0)
