"""Regions of interest on the color FA, and principal directions within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from bids_alps.model import Array, Roi, SpatialMap
from bids_alps.report.figures import NIGHT, REGION_COLORS, new_figure, show_plane, styled, svg_bytes, title_of
from bids_alps.report.slices import IN_PLANE, Display, Plane, color_fa, roi_center, roi_map, sample_plane

LESION_COLOR = "#00e5ff"
_HALF = 0.5
_AXES_OF_INDEX = ("projection", "association")


@styled
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
    figure = new_figure(8, 7.2, ground=NIGHT)
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, 1], facecolor=NIGHT)
    above, below = parts
    panels = list(zip(above.subplots(1, 2), [display.plane(axis, middle[axis]) for axis in (2, 1)], strict=True))
    sagittal = [name for name in _sagittal_order() if name in centers]
    for n, name in enumerate(sagittal):
        axes = below.add_subplot(1, len(sagittal), n + 1)
        panels.append((axes, display.plane(0, centers[name][0])))
    for axes, plane in panels:
        _draw_plane(axes, plane, colors, rois, display)
        _outline_lesions(axes, plane, lesions)
    for name, (axes, _) in zip(sagittal, panels[2:], strict=True):
        axes.set_title(f"{name.replace('_', ', ')}\nx = {round(centers[name][0])} mm", color="white", fontsize=9)
    _explain(above, lesions is not None)
    return svg_bytes(figure)


def _sagittal_order() -> tuple[str, ...]:
    return "association_left", "projection_left", "projection_right", "association_right"


def _outline_lesions(axes: Axes, plane: Plane, lesions: SpatialMap | None) -> None:
    """Outline voxels with a lesion fraction above one half."""
    cut = np.zeros(1) if lesions is None else sample_plane(lesions, plane)
    if cut.max() > _HALF:
        axes.contour(cut, [_HALF], extent=plane.extent, origin="lower", colors=[LESION_COLOR], linewidths=1.2)


def _explain(figure: Any, lesions: bool) -> None:
    legend = (
        "Left of the image = left of the head.  Direction: red left-right, green anterior-posterior, blue "
        "inferior-superior.\n"
    )
    legend += "Outlines: white projection, yellow association, pink subcortical"
    legend += ", cyan lesions." if lesions else "."
    figure.suptitle(legend, color="white", fontsize=9)


def _draw_plane(axes: Axes, plane: Plane, colors: SpatialMap, rois: Sequence[Roi], display: Display) -> None:
    show_plane(axes, plane, sample_plane(colors, plane), title=title_of(plane))
    for roi in rois:
        _outline(axes, plane, roi, roi_map(roi, colors), display)


def _outline(axes: Axes, plane: Plane, roi: Roi, weights: SpatialMap, display: Display) -> None:
    """Outline weights at half maximum; if the plane misses the region, its projection is dotted."""
    center = display.place(roi_center(roi, weights))
    reach = 8.0
    corners = np.array([center - reach, center + reach])
    depth = center[plane.axis] - plane.level
    if abs(depth) > reach:
        return
    cut, style = display.plane(plane.axis, plane.level, step_mm=0.5, corners=corners), "solid"
    values, half = sample_plane(weights, cut), roi.weights.max() / 2
    if values.max() <= half:
        levels = np.arange(center[plane.axis] - reach, center[plane.axis] + reach, 1.0)
        shadow = [sample_plane(weights, display.plane(plane.axis, z, step_mm=0.5, corners=corners)) for z in levels]
        values, style = np.max(shadow, axis=0), "dotted"
    if values.max() > half:
        color = REGION_COLORS.get(roi.region, "white")
        axes.contour(
            values, [half], extent=cut.extent, origin="lower", colors=[color], linewidths=1.2, linestyles=style
        )


@styled
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
    figure = new_figure(8, 7.4, ground=NIGHT)
    grid = figure.subplots(2, 2, squeeze=False)
    for column, side in enumerate(("left", "right")):
        of_side = [roi for roi in rois if roi.side == side]
        for row, axis in enumerate((2, 1)):
            _draw_side(grid[row][column], fa, v1, of_side, (display, axis))
    figure.suptitle(
        "Sticks: principal direction of each voxel in the plane.  Left of the image = left of the head.",
        color="white",
        fontsize=9,
    )
    return svg_bytes(figure)


def _draw_side(axes: Axes, fa: SpatialMap, v1: SpatialMap, rois: Sequence[Roi], view: tuple[Display, int]) -> None:
    display, axis = view
    if not rois:
        axes.set_axis_off()
        return
    centers = np.array([display.place(roi_center(roi, fa)) for roi in rois])
    middle = (centers.min(axis=0) + centers.max(axis=0)) / 2
    corners = np.array([middle - 18, middle + 18])
    plane = display.plane(axis, float(centers[: len(_AXES_OF_INDEX), axis].mean()), step_mm=0.5, corners=corners)
    show_plane(axes, plane, np.clip(sample_plane(fa, plane), 0, 1), title=f"{rois[0].side}, {title_of(plane)}")
    for roi in rois:
        _outline(axes, plane, roi, roi_map(roi, fa), display)
    _stick(axes, plane, fa, v1, display)


def _stick(axes: Axes, plane: Plane, fa: SpatialMap, v1: SpatialMap, display: Display) -> None:
    voxels = np.unique(np.round(fa.voxels(plane.points)).astype(int).reshape(-1, 3), axis=0)
    voxels = voxels[((voxels >= 0) & (voxels < fa.shape)).all(axis=1)]
    voxels = voxels[fa.data[tuple(voxels.T)] > 0.15]
    across, up = IN_PLANE[plane.axis]
    centers = display.place(fa.world(voxels))[:, (across, up)]
    directions = np.nan_to_num(v1.data[tuple(voxels.T)]) @ display.rotation.T
    half = directions[:, (across, up)] * 0.45 * float(fa.voxel_size.min())
    sticks = np.stack([centers - half, centers + half], axis=1)
    axes.add_collection(LineCollection(list(sticks), colors=np.clip(np.abs(directions), 0, 1), linewidths=1.4))
    axes.set_xlim(plane.extent[:2])
    axes.set_ylim(plane.extent[2:])


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
