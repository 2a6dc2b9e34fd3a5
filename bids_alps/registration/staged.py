"""Default engine: rigid registration from multiple starts, similarity, affine, then a smooth deformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.numerics.filters import dilated, eroded
from bids_alps.numerics.tissue_contrast import subject_contrast, template_contrast, tissue_channels, white_matter
from bids_alps.registration.base import WHERE, Registration, check_subject, jacobian_range, pose_of
from bids_alps.registration.deformable import fit_displacement
from bids_alps.registration.linear import AFFINE, SIMILARITY, LinearFit, Pair, fit_linear
from bids_alps.registration.search import best_rotated_similarity, find_starting_poses, random_similarities

_RIM_MM = 6.0
_DEPTH_MM, _ABOVE_MM = (
    8.0,
    0.0,
)  # deep, and above the commissures: where EPI distortion is small
_MIN_SIMILARITY = 0.3
_BOARD_VOXELS = 16
_ANATOMY_SE_MM, _VOXEL_SHARE = 0.8, 0.1  # tracts of eight real hemispheres: SD 0.6 mm along x, the best-determined axis
_POSE_SE_DEGREES = 0.3  # residual error in simulated heads of known pose


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Staged registration of diffusion maps to tissue maps.

    Parameters
    ----------
    deformable
        Whether to add a deformable stage after the affine stage.
    smoothing
        Gaussian standard deviations of the update field and of the total field, voxels.
    seed
        Seed of the random poses used for comparison.
    """

    deformable: bool = True
    smoothing: tuple[float, float] = (4.0, 2.0)
    seed: int = 20170617

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return the registration of a subject to a template.

        Raises
        ------
        RegistrationError
            If the mask is empty or too small to be a brain, or no starting pose overlaps.
        """
        check_subject(subject)
        with threadpool_limits(limits=1):  # BLAS sums depend on the number of threads
            return self._aligned(subject, template)

    def _aligned(self, subject: SubjectMaps, template: Template) -> Registration:
        channels = tissue_channels(template, subject)
        fixed, moving = template_contrast(template), subject_contrast(subject, white=channels[0][1])
        brain = with_rim(template.mask)
        inner = inner_brain(template.mask)
        coarse, middle = Pair(fixed, moving, brain, 8.0), Pair(fixed, moving, brain, 4.0)
        candidates = [
            fit_linear(middle, start.rigid, SIMILARITY)
            for start in find_starting_poses(coarse, template.mask, subject.mask)
        ]
        best = max(candidates, key=lambda fit: fit.similarity)
        require_similarity(best)
        fit = fit_linear(Pair(fixed, moving, inner, 2.0), fit_linear(middle, best, AFFINE), AFFINE)
        affine = np.linalg.inv(fit.subject_from_template)
        displacement = None
        if self.deformable:
            displacement = fit_displacement(channels, subject.mask, affine, smoothing=self.smoothing)
        transform = SpatialTransform(
            affine=affine, rigid=np.linalg.inv(fit.rigid.subject_from_template), displacement=displacement
        )
        spreads = pose_spreads(fit, candidates, ((fixed, moving), *channels), inner)
        metrics = {
            "similarity": middle.similarity(fit.subject_from_template)[0],
            "similarity_inner": fit.similarity,
            "similarity_coarse": coarse.similarity(fit.subject_from_template)[0],
            "similarity_random": float(random_similarities(coarse, fit, draws=100, seed=self.seed).max()),
            "similarity_rotated": best_rotated_similarity(coarse, fit),
            "covered": fit.covered,
            "scale_min": float(fit.scales.min()),
            "scale_max": float(fit.scales.max()),
            **spreads,
            **jacobian_range(displacement, subject.mask),
        }
        require_orientation(metrics)
        return Registration(
            transform=transform,
            pose=pose_of(transform.rotation, se_degrees=float(np.linalg.norm([_POSE_SE_DEGREES, *spreads.values()]))),
            placement_se_mm=placement_se(fit, subject.mask),
            metrics=metrics,
            engine="staged 2",
        )


def fit_whole_brain(subject: SubjectMaps, template: Template, affine: Array) -> Array:
    """Return an affine of 12 parameters fitted to the white matter of the whole brain, subject to template, (4, 4).

    Parameters
    ----------
    subject, template
        Subject and template to register.
    affine
        Starting point, subject to template, shape (4, 4).
    """
    brain = with_rim(template.mask)
    start = LinearFit.of_matrix(np.linalg.inv(affine), template.mask.world(np.argwhere(template.mask.data)).mean(0))
    with threadpool_limits(limits=1):  # BLAS sums depend on the number of threads
        fit = fit_linear(Pair(template.wm, white_matter(subject), brain, 4.0), start, AFFINE)
    return np.linalg.inv(fit.subject_from_template)


def inner_brain(mask: SpatialMap) -> Array:
    """Return the template's brain without its outermost layer and its base, bool, shape of `mask`.

    EPI distortion along the phase-encoding axis reaches centimeters near the skull base and the sinuses but is small
    in the deep white matter above: between two phase encodings of one head, whole-brain fits rotate by degrees, fits
    to this part by half a degree.
    """
    inner, box = np.zeros(mask.shape, dtype=bool), _bounding_box(mask, 1.0)
    # z of each voxel in world mm, from the third row of the affine
    z = sum(step * index for step, index in zip(mask.affine[2, :3], np.ogrid[box], strict=True)) + mask.affine[2, 3]
    inner[box] = eroded(mask.data[box], mask.voxel_size, _DEPTH_MM) & (z > _ABOVE_MM)
    return inner


def with_rim(mask: SpatialMap) -> Array:
    """Return the template's brain with a rim of a few mm, bool, shape of `mask`."""
    grown, box = np.zeros(mask.shape, dtype=bool), _bounding_box(mask, _RIM_MM)
    grown[box] = dilated(mask.data[box], mask.voxel_size, _RIM_MM)
    return grown


def _bounding_box(mask: SpatialMap, margin_mm: float) -> tuple[slice, ...]:
    """Return the part of the grid that has all of a mask and a margin: distances there are those of the whole."""
    box = []
    for axis, size in enumerate(mask.voxel_size):
        inside = np.flatnonzero(mask.data.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(margin_mm / size))
        box.append(slice(max(int(inside[0]) - margin, 0), int(inside[-1]) + 1 + margin))
    return tuple(box)


def require_similarity(fit: LinearFit) -> None:
    """Raise RegistrationError if the best registration does not resemble the template."""
    if fit.similarity < _MIN_SIMILARITY:
        raise RegistrationError(
            WHERE,
            f"the best registration has a correlation of {fit.similarity:.2f} with the template, less than "
            f"{_MIN_SIMILARITY}",
            "check that the scan shows a head and that the orientation in its header is correct",
        )


def require_orientation(metrics: Mapping[str, float]) -> None:
    """Raise RegistrationError if rotated or random poses fit better than the registration."""
    similarity, rotated = metrics["similarity_coarse"], metrics["similarity_rotated"]
    if similarity < rotated:
        raise RegistrationError(
            WHERE,
            f"the correlation with the template is {similarity:.2f} in the orientation of the header, but "
            f"{rotated:.2f} after a rotation by 90 or 180 degrees",
            "correct the orientation in the header",
        )
    if similarity < metrics["similarity_random"]:
        raise RegistrationError(
            WHERE,
            f"the best registration has a correlation of {similarity:.2f} with the template, no better than random "
            "poses",
            "check that the scan shows a head, and check its mask",
        )


def pose_spreads(
    fit: LinearFit, starts: list[LinearFit], images: Sequence[tuple[SpatialMap, SpatialMap]], region: Array
) -> dict[str, float]:
    """Return the variability of the rotation over starts, halves of the data and channels, degrees.

    `images` are pairs of template and subject: contrasts, white matter, and white and gray matter.
    """
    # blocks rather than voxels: residuals of neighbors are correlated
    i, j, k = (index // _BOARD_VOXELS % 2 == 1 for index in np.ogrid[tuple(map(slice, region.shape))])
    checkerboard = ~(i ^ j ^ k)
    contrasts, *tissues = images
    halves = [Pair(*contrasts, region & part, 4.0) for part in (checkerboard, ~checkerboard)]
    channels = [Pair(*pair, region, 4.0) for pair in tissues]
    first, second = (fit_linear(pair, fit, AFFINE, iterations=15) for pair in halves)
    fibers, fluid = (fit_linear(pair, fit, AFFINE, iterations=15) for pair in channels)
    best = max(starts, key=lambda start: start.similarity)
    return {
        "pose_spread_starts": rotation_spread(best, [start for start in starts if start is not best]),
        "pose_spread_halves": rotation_spread(first, [second])
        / 2,  # half the difference of two estimates: standard error of their mean
        "pose_spread_channels": rotation_spread(fibers, [fluid]) / 2,
    }


def placement_se(fit: LinearFit, mask: SpatialMap) -> float:
    """Return the standard error of an ROI center per axis, mm: from anatomy, voxel size and the affine fit."""
    # edge of a cube with the volume of a voxel
    voxel = float(np.prod(mask.voxel_size)) ** (1 / 3)
    translation = 0.0 if fit.covariance is None else float(np.mean(np.diag(fit.covariance)[:3]))
    return float(np.sqrt(_ANATOMY_SE_MM**2 + (_VOXEL_SHARE * voxel) ** 2 + translation))


def rotation_spread(fit: LinearFit, others: list[LinearFit]) -> float:
    """Return the root mean square angle between the rotation of a fit and those of others, degrees."""
    if not others:
        return 0.0
    angles = [Rotation.from_matrix(other.rotation @ fit.rotation.T).magnitude() for other in others]
    return float(np.degrees(np.sqrt(np.mean(np.square(angles)))))
