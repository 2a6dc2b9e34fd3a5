"""Regions of interest on the color FA, and principal directions within them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_alps.model import Array, Roi, SpatialMap
from bids_alps.report.figures import REGION_COLORS, title_of
from bids_alps.report.panels import Lines, Panel, Row, contours, draw_panels
from bids_alps.report.slices import IN_PLANE, Display, Plane, color_fa, roi_center, roi_map, sample_plane

LESION_COLOR = "#00e5ff"
_HALF = 0.5
_AXES_OF_INDEX = ("projection", "association")


def draw_rois(
    fa: SpatialMap, v1: SpatialMap, rois: Sequence[Roi], display: Display, lesions: SpatialMap | None = None
) -> bytes:
    """Draw regions of interest on the color FA in axial, coronal and sagittal planes through their centers.

    Parameters
    ----------
    fa
        Fractional anisotropy, shape (i, j, k).
    v1
        Principal eigenvectors in RAS+ world axes, shape (i, j, k, 3).
    rois
        Regions of both sides on the same grid.
    display
        Axes and limits of the image.
    lesions
        Lesion fraction of each voxel, on the same grid.

    Returns
    -------
    bytes
        SVG. Outlines are solid where the plane cuts the region, dotted where the region lies in front or behind.
    """
    colors = color_fa(fa, v1, display.rotation)
    centers = {roi.name: display.place(roi_center(roi, fa)) for roi in rois}
    main = [center for name, center in centers.items() if name.startswith(_AXES_OF_INDEX)] or list(centers.values())
    middle = np.mean(main, axis=0) if main else (display.low + display.high) / 2
    planes = [display.plane(axis, middle[axis]) for axis in (2, 1)]
    sagittal = [name for name in _sagittal_order() if name in centers]
    planes += [display.plane(0, centers[name][0]) for name in sagittal]
    titles = [(), (), *((name.replace("_", ", "), f"x = {round(centers[name][0])} mm") for name in sagittal)]
    panels = [
        Panel(
            plane=plane,
            picture=sample_plane(colors, plane),
            title=title,
            shapes=(*_outlines(plane, rois, colors, display), *_outline_lesions(plane, lesions)),
        )
        for plane, title in zip(planes, titles, strict=True)
    ]
    return draw_panels([Row(panels=panels[:2]), Row(panels=panels[2:])], _explanation(lesions is not None))


def _sagittal_order() -> tuple[str, ...]:
    return "association_left", "projection_left", "projection_right", "association_right"


def _outline_lesions(plane: Plane, lesions: SpatialMap | None) -> tuple[Lines, ...]:
    """Return the outlines of voxels with a lesion fraction above one half."""
    return () if lesions is None else (contours(sample_plane(lesions, plane), plane, _HALF, LESION_COLOR),)


def _explanation(lesions: bool) -> tuple[str, str]:
    return (
        "Left of the image = left of the head.  Direction: red left-right, green anterior-posterior, blue "
        "inferior-superior.",
        "Outlines: white projection, yellow association, pink subcortical" + (", cyan lesions." if lesions else "."),
    )


def _outlines(plane: Plane, rois: Sequence[Roi], grid: SpatialMap, display: Display) -> list[Lines]:
    """Return the outlines of the regions that a plane cuts, or that lie close to it."""
    return [outline for roi in rois for outline in _outline(plane, roi, grid, display)]


def _outline(plane: Plane, roi: Roi, grid: SpatialMap, display: Display) -> tuple[Lines, ...]:
    """Return the outline of weights at half maximum; if the plane misses the region, its projection is dotted."""
    center = display.place(roi_center(roi, grid))
    reach = 8.0
    corners = np.array([center - reach, center + reach])
    depth = center[plane.axis] - plane.level
    if abs(depth) > reach:
        return ()
    weights = roi_map(roi, grid)
    cut = display.plane(plane.axis, plane.level, step_mm=0.5, corners=corners)
    values, half = sample_plane(weights, cut), roi.weights.max() / 2
    missed = bool(values.max() <= half)
    if missed:
        levels = np.arange(center[plane.axis] - reach, center[plane.axis] + reach, 1.0)
        shadow = [sample_plane(weights, display.plane(plane.axis, z, step_mm=0.5, corners=corners)) for z in levels]
        values = np.max(shadow, axis=0)
    return (contours(values, cut, half, REGION_COLORS.get(roi.region, "white"), dotted=missed),)


def draw_sticks(fa: SpatialMap, v1: SpatialMap, rois: Sequence[Roi], display: Display) -> bytes:
    """Draw principal directions as sticks around the regions of each side, axial and coronal.

    Parameters
    ----------
    fa, v1, rois, display
        As in `draw_rois`.

    Returns
    -------
    bytes
        SVG. One stick per voxel: the in-plane component of its direction, without interpolation.
    """
    by_side = [[roi for roi in rois if roi.side == side] for side in ("left", "right")]
    rows = [
        Row(panels=[_draw_side(fa, v1, of_side, (display, axis)) for of_side in by_side if of_side]) for axis in (2, 1)
    ]
    return draw_panels(
        rows,
        ("Sticks: principal direction of each voxel in the plane.  Left of the image = left of the head.",),
    )


def _draw_side(fa: SpatialMap, v1: SpatialMap, rois: Sequence[Roi], view: tuple[Display, int]) -> Panel:
    display, axis = view
    centers = np.array([display.place(roi_center(roi, fa)) for roi in rois])
    middle = (centers.min(axis=0) + centers.max(axis=0)) / 2
    corners = np.array([middle - 18, middle + 18])
    plane = display.plane(axis, float(centers[: len(_AXES_OF_INDEX), axis].mean()), step_mm=0.5, corners=corners)
    return Panel(
        plane=plane,
        picture=sample_plane(fa, plane),
        title=(f"{rois[0].side}, {title_of(plane)}",),
        shapes=(*_outlines(plane, rois, fa, display), *_sticks(plane, fa, v1, display)),
    )


def _sticks(plane: Plane, fa: SpatialMap, v1: SpatialMap, display: Display) -> list[Lines]:
    voxels = np.unique(np.round(fa.voxels(plane.points)).astype(int).reshape(-1, 3), axis=0)
    voxels = voxels[((voxels >= 0) & (voxels < fa.shape)).all(axis=1)]
    voxels = voxels[fa.data[tuple(voxels.T)] > 0.15]
    across, up = IN_PLANE[plane.axis]
    centers = display.place(fa.world(voxels))[:, (across, up)]
    directions = np.nan_to_num(v1.data[tuple(voxels.T)]) @ display.rotation.T
    half = directions[:, (across, up)] * 0.45 * float(fa.voxel_size.min())
    sticks = np.stack([centers - half, centers + half], axis=1)
    colors = np.round(255 * np.clip(np.abs(directions), 0, 1)).astype(int).tolist()
    return [
        Lines(lines=(stick,), color="#{:02x}{:02x}{:02x}".format(*color), width=1.4)
        for stick, color in zip(sticks, colors, strict=True)
    ]


def planes_through(display: Display, centers: Array) -> list[Plane]:
    """Return planes for a mosaic: axial, coronal and sagittal ones around the centers of the regions.

    Parameters
    ----------
    display
        Axes and limits.
    centers
        Centers of the regions in display axes, shape (n, 3), mm.
    """
    middle = centers.mean(axis=0) if len(centers) else (display.low + display.high) / 2
    levels = {2: (middle[2] - 24, middle[2], middle[2] + 16), 1: (middle[1] - 30, middle[1], middle[1] + 30)}
    levels[0] = (middle[0] - 32, middle[0], middle[0] + 32)
    return [display.plane(axis, float(level), step_mm=1.25) for axis in (2, 1, 0) for level in levels[axis]]
