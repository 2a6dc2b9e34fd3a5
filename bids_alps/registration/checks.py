"""What can fail a registration: figures that a wrong one cannot reach."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.model import Array, Check, SpatialMap, SpatialTransform, SubjectMaps, Template, sample_linear
from bids_alps.numerics.tissue_contrast import csf_fraction, white_matter
from bids_alps.quality.checks import evaluate
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.registration.base import Registration

Centres = Mapping[str, tuple[float, float, float]]


def measure_registration(
    transform: SpatialTransform,
    subject: SubjectMaps,
    template: Template,
    centres: Centres,
    lesions: SpatialMap | None = None,
) -> dict[str, float]:
    """Return figures of how well an alignment fits what is known of anatomy.

    Parameters
    ----------
    transform
        Subject to template.
    subject, template
        What was aligned.
    centres
        ROI centres in the template, RAS+ mm, by name with side.
    lesions
        Fraction of each voxel of the scan in lesions: what is white matter is not asked there.

    Returns
    -------
    dict
        ``overlap`` (Dice), ``roi_white_matter``, ``ventricle_contrast``, ``hemisphere_distance`` (mm).
    """
    named = {name: transform.subject_from_template(np.array([centre])) for name, centre in centres.items()}
    fibres, fluid = white_matter(subject), csf_fraction(subject)
    spheres = [_outside(lesions, point + _sphere(2.5)) for point in named.values()]
    asked = [points for points in spheres if len(points)]
    at_rois = [float(sample_linear(fibres, points).mean()) for points in asked]
    figures = {
        "overlap": overlap(transform, subject.mask, template),
        "roi_white_matter": min(at_rois, default=float("nan")),
        "hemisphere_distance": _hemisphere_distance(transform, named),
    }
    inside = _ventricles(template)
    if len(inside):  # a template of FA alone does not tell where CSF is
        ventricles = sample_linear(fluid, transform.subject_from_template(inside))
        roi_fluid = [float(sample_linear(fluid, points).mean()) for points in asked] or [float("nan")]
        figures["ventricle_contrast"] = float(ventricles.mean() - np.mean(roi_fluid))
    return figures


def check_registration(
    registration: Registration,
    subject: SubjectMaps,
    template: Template,
    centres: Centres,
    lesions: SpatialMap | None = None,
) -> tuple[Check, ...]:
    """Return the checks of a registration; one that fails makes its index worthless.

    A lesion at the centre of a region is no sign of a wrong alignment: where `lesions`, the fraction of each voxel in
    them, are known, white matter is looked for beside them. Figures that the engine did not give (an engine that
    optimises nothing has no similarity) are left out.

    Raises
    ------
    CoverageError
        If no ROI centre lies inside the scan's brain mask.
    """
    require_coverage(registration.transform, subject.mask, centres)
    metrics = dict(registration.metrics)
    if "similarity_coarse" in metrics:
        metrics["similarity_margin"] = metrics["similarity_coarse"] - metrics["similarity_random"]
        metrics["orientation_margin"] = metrics["similarity_coarse"] - metrics["similarity_turned"]
        metrics["pose_se"] = registration.pose.se_degrees
    metrics |= measure_registration(registration.transform, subject, template, centres, lesions)
    named = {name: name.removeprefix("registration_") for name in THRESHOLDS if name.startswith("registration_")}
    return tuple(evaluate(name, metrics[figure]) for name, figure in named.items() if figure in metrics)


def require_coverage(transform: SpatialTransform, mask: SpatialMap, centres: Centres) -> None:
    """Raise CoverageError where not one ROI centre lies inside the mask."""
    points = transform.subject_from_template(np.array(list(centres.values())))
    inside = mask.contains(points)
    held = sample_linear(mask.like(mask.data.astype(np.float32)), points) > 0.25
    if not (inside & held).any():
        low, high = (float(edge) for edge in np.percentile(mask.world(np.argwhere(mask.data))[:, 2], [0, 100]))
        raise CoverageError(
            "registration",
            f"none of the {len(centres)} ROI centres (z {points[:, 2].min():.0f} to {points[:, 2].max():.0f} mm) lies "
            f"in the brain that the scan covers (z {low:.0f} to {high:.0f} mm)",
            "use a scan that covers the body of the lateral ventricles, or check the registration",
        )


def overlap(transform: SpatialTransform, mask: SpatialMap, template: Template, *, step_mm: int = 4) -> float:
    """Return the Dice coefficient of a subject's mask and the template's, where the scan's field of view reaches."""
    grid = np.stack(
        np.meshgrid(*(np.arange(0, size, step_mm) for size in template.mask.shape), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    points = transform.subject_from_template(template.mask.world(grid), iterations=8)
    seen = mask.contains(points)
    theirs = np.asarray(template.mask.data, dtype=bool)[tuple(grid[seen].T)]
    ours = sample_linear(mask.like(mask.data.astype(np.float32)), points[seen]) > 0.5
    total = int(theirs.sum() + ours.sum())
    return 2 * float((theirs & ours).sum()) / total if total else 0.0


def _hemisphere_distance(transform: SpatialTransform, named: Mapping[str, Array]) -> float:
    """Return the least distance along the head's x axis from a left ROI centre to its right twin, mm."""
    across = {name: float((transform.rotation @ point[0])[0]) for name, point in named.items()}
    pairs = [(name, name.removesuffix("left") + "right") for name in across if name.endswith("left")]
    return min((across[right] - across[left] for left, right in pairs if right in across), default=float("nan"))


def _ventricles(template: Template) -> Array:
    """Return points of the bodies of the lateral ventricles: certain CSF near the midline at the ROIs' height."""
    points = template.csf.world(np.argwhere(template.csf.data > 0.9))
    box = (np.abs(points[:, 0]) < 20) & (np.abs(points[:, 1] + 10) < 25) & (np.abs(points[:, 2] - 19) < 7)
    return points[box & (np.abs(points[:, 0]) > 3)]


def _outside(lesions: SpatialMap | None, points: Array) -> Array:
    """Return the points that no lesion touches, both of shape (n, 3)."""
    return points if lesions is None else points[sample_linear(lesions, points) == 0]


def _sphere(radius_mm: float) -> Array:
    steps = np.linspace(-radius_mm, radius_mm, 5)
    points = np.array(list(itertools.product(steps, steps, steps)))
    return points[(points**2).sum(axis=1) <= radius_mm**2]
