"""Quality checks of the registration."""

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

Centers = Mapping[str, tuple[float, float, float]]


def measure_registration(
    transform: SpatialTransform,
    subject: SubjectMaps,
    template: Template,
    centers: Centers,
    lesions: SpatialMap | None = None,
) -> dict[str, float]:
    """Return anatomical plausibility metrics of a registration.

    Parameters
    ----------
    transform
        Transform from subject to template.
    subject, template
        Registered subject and template.
    centers
        ROI centers in the template, RAS+ mm, by name with side.
    lesions
        Lesion fraction of each voxel of the scan; white matter is not evaluated there.

    Returns
    -------
    dict
        ``overlap`` (Dice), ``roi_white_matter``, ``ventricle_contrast``, ``hemisphere_distance`` (mm).
    """
    subject_centers = {name: transform.subject_from_template(np.array([center])) for name, center in centers.items()}
    fibers, fluid = white_matter(subject), csf_fraction(subject)
    spheres = [_outside(lesions, point + _sphere(2.5)) for point in subject_centers.values()]
    sampled = [points for points in spheres if len(points)]
    at_rois = [float(sample_linear(fibers, points).mean()) for points in sampled]
    metrics = {
        "overlap": overlap(transform, subject.mask, template),
        "roi_white_matter": min(at_rois, default=float("nan")),
        "hemisphere_distance": _hemisphere_distance(transform, subject_centers),
    }
    inside = _ventricles(template)
    if len(inside):  # FA-only templates have no CSF map
        ventricles = sample_linear(fluid, transform.subject_from_template(inside))
        roi_fluid = [float(sample_linear(fluid, points).mean()) for points in sampled] or [float("nan")]
        metrics["ventricle_contrast"] = float(ventricles.mean() - np.mean(roi_fluid))
    return metrics


def check_registration(
    registration: Registration,
    subject: SubjectMaps,
    template: Template,
    centers: Centers,
    lesions: SpatialMap | None = None,
) -> tuple[Check, ...]:
    """Return the quality checks of a registration; a failure invalidates the index.

    A lesion at an ROI center does not indicate misregistration: given `lesions` (lesion fraction of each voxel),
    lesion voxels are excluded from the white-matter metric. Metrics that the engine does not report (such as the
    similarity of engines without optimization) are skipped.

    Raises
    ------
    CoverageError
        If no ROI center lies inside the scan's brain mask.
    """
    require_coverage(registration.transform, subject.mask, centers)
    metrics = dict(registration.metrics)
    if "similarity_coarse" in metrics:
        metrics["similarity_margin"] = metrics["similarity_coarse"] - metrics["similarity_random"]
        metrics["orientation_margin"] = metrics["similarity_coarse"] - metrics["similarity_rotated"]
        metrics["pose_se"] = registration.pose.se_degrees
    metrics |= measure_registration(registration.transform, subject, template, centers, lesions)
    metric_names = {name: name.removeprefix("registration_") for name in THRESHOLDS if name.startswith("registration_")}
    return tuple(evaluate(name, metrics[metric]) for name, metric in metric_names.items() if metric in metrics)


def require_coverage(transform: SpatialTransform, mask: SpatialMap, centers: Centers) -> None:
    """Raise CoverageError if no ROI center lies inside the mask."""
    points = transform.subject_from_template(np.array(list(centers.values())))
    in_field = mask.contains(points)
    in_mask = sample_linear(mask.like(mask.data.astype(np.float32)), points) > 0.25
    if not (in_field & in_mask).any():
        heights = mask.outermost_points()[:, 2]
        low, high = float(heights.min()), float(heights.max())
        raise CoverageError(
            "registration",
            f"none of the {len(centers)} ROI centers (z {points[:, 2].min():.0f} to {points[:, 2].max():.0f} mm) lies "
            f"in the part of the brain covered by the scan (z {low:.0f} to {high:.0f} mm)",
            "use a scan that covers the body of the lateral ventricles, or check the registration",
        )


def overlap(transform: SpatialTransform, mask: SpatialMap, template: Template, *, step_mm: int = 4) -> float:
    """Return the Dice coefficient of the masks of subject and template within the field of view of the scan."""
    grid = np.stack(
        np.meshgrid(*(np.arange(0, size, step_mm) for size in template.mask.shape), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    # a Dice coefficient needs no exact inverse
    points = transform.subject_from_template(template.mask.world(grid), iterations=4)
    in_field = mask.contains(points)
    in_template = np.asarray(template.mask.data, dtype=bool)[tuple(grid[in_field].T)]
    in_subject = sample_linear(mask.like(mask.data.astype(np.float32)), points[in_field]) > 0.5
    total = int(in_template.sum() + in_subject.sum())
    return 2 * float((in_template & in_subject).sum()) / total if total else 0.0


def _hemisphere_distance(transform: SpatialTransform, named: Mapping[str, Array]) -> float:
    """Return the smallest distance along the x axis of the head between paired left and right ROI centers, mm."""
    across = {name: float((transform.rotation @ point[0])[0]) for name, point in named.items()}
    pairs = [(name, name.removesuffix("left") + "right") for name in across if name.endswith("left")]
    return min((across[right] - across[left] for left, right in pairs if right in across), default=float("nan"))


def _ventricles(template: Template) -> Array:
    """Return points in the lateral ventricles (CSF probability > 0.9) near the midline at the level of the ROIs."""
    points = template.csf.world(np.argwhere(template.csf.data > 0.9))
    # lateral ventricles at the height of the regions: |x| 3 to 20, y -35 to 15, z 12 to 26 mm
    box = (np.abs(points[:, 0]) < 20) & (np.abs(points[:, 1] + 10) < 25) & (np.abs(points[:, 2] - 19) < 7)
    return points[box & (np.abs(points[:, 0]) > 3)]


def _outside(lesions: SpatialMap | None, points: Array) -> Array:
    """Return the points outside lesions, both of shape (n, 3)."""
    return points if lesions is None else points[sample_linear(lesions, points) == 0]


def _sphere(radius_mm: float) -> Array:
    steps = np.linspace(-radius_mm, radius_mm, 5)
    points = np.array(list(itertools.product(steps, steps, steps)))
    return points[(points**2).sum(axis=1) <= radius_mm**2]
