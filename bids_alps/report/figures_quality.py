"""Figures of data quality: head motion, residuals of the tensor fit by slice and by voxel, movie of the series."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from bids_alps.model import Array, SpatialMap
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.report.figures import NIGHT, new_figure, styled, svg_bytes
from bids_alps.report.panels import Panel, Row, draw_panels
from bids_alps.report.slices import Display, sample_plane

_AXIS_COLORS = (("x", "#c0392b", "-"), ("y", "#1e8449", "--"), ("z", "#2460a7", ":"))
_SHELL_COLORS = ("#595f69", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_CARPET_PERCENT = 10.0
_FRAMES = 96
_FRAME_PIXELS = 112


@styled
def draw_motion(
    translations_mm: Array,
    rotations_degrees: Array,
    displacement_mm: Array,
    outlier_fraction: Sequence[float] = (),
    bvals: Sequence[float] = (),
) -> bytes:
    """Draw head motion per volume.

    Parameters
    ----------
    translations_mm, rotations_degrees
        Along and about x, y, z, shape (n, 3).
    displacement_mm
        Framewise displacement, shape (n,); NaN if undefined, as in the first volume.
    outlier_fraction
        Fraction of outlier slices in each volume, n values or none.
    bvals
        b-values of the volumes, s/mm^2, n values or none.

    Returns
    -------
    bytes
        SVG.
    """
    lost = len(outlier_fraction) > 0 and max(outlier_fraction) > 0
    figure = new_figure(8, 1.7 * (3 + lost) + 0.4)
    grid = figure.subplots(3 + lost, 1, sharex=True)
    volumes = np.arange(len(displacement_mm))
    for axes, values, label in (
        (grid[0], translations_mm, "Translation, mm"),
        (grid[1], rotations_degrees, "Rotation, °"),
    ):
        for n, (name, color, style) in enumerate(_AXIS_COLORS):
            axes.plot(volumes, np.asarray(values)[:, n], color=color, linestyle=style, label=name)
        axes.set_ylabel(label)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _draw_displacement(grid[2], volumes, displacement_mm, bvals)
    if lost:
        grid[3].bar(volumes, np.asarray(outlier_fraction) * 100, color="#a04000")
        grid[3].set_ylabel("Outlier slices, %")
        grid[3].set_ylim(0, max(5.0, 105 * max(outlier_fraction)))
    elif len(outlier_fraction):
        grid[-1].set_title("No outlier slices.", fontsize=9, loc="left", y=-0.52)
    grid[-1].set_xlabel("Volume")
    return svg_bytes(figure)


def _draw_displacement(axes: Axes, volumes: Array, displacement_mm: Array, bvals: Sequence[float]) -> None:
    """Draw framewise displacement with its mean, the threshold of the mean, and the b-value of each volume."""
    axes.plot(volumes, displacement_mm, color="#8a8f98", linewidth=0.8, zorder=1)
    for label, color, selected in shells_of(bvals, len(volumes)):
        axes.scatter(volumes[selected], np.asarray(displacement_mm)[selected], s=12, color=color, label=label, zorder=2)
    threshold, mean = THRESHOLDS["framewise_displacement"].warn, float(np.nanmean(displacement_mm))
    axes.axhline(mean, color="#333333", linewidth=1, label=f"mean {mean:.2f} mm")
    axes.axhline(
        threshold, color="#b00020", linewidth=1, linestyle="--", label=f"threshold for the mean, {threshold:g} mm"
    )
    axes.set_ylabel("FD, mm")
    axes.set_ylim(0, 1.1 * max(float(np.nanmax(displacement_mm)), threshold))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def shells_of(bvals: Sequence[float], count: int) -> list[tuple[str, str, Array]]:
    """Return label, color and volumes (bool, shape (count,)) of each b-value, rounded to hundreds."""
    if len(bvals) != count:
        return [("all volumes", _SHELL_COLORS[0], np.ones(count, dtype=bool))]
    rounded = np.round(np.asarray(bvals, dtype=np.float64), -2)
    return [
        (f"b = {b:.0f}", _SHELL_COLORS[n % len(_SHELL_COLORS)], rounded == b) for n, b in enumerate(np.unique(rounded))
    ]


@styled
def draw_carpet(by_slice: Array, bvals: Sequence[float], lost: Array | None = None) -> bytes:
    """Draw the residuals of the tensor fit, one column per volume and one row per slice.

    Parameters
    ----------
    by_slice
        Signal minus prediction, % of the prediction, shape (slices, volumes); NaN outside the brain.
    bvals
        b-values of the volumes, s/mm^2.
    lost
        Slices with signal dropout that were replaced, bool, shape (slices, volumes).

    Returns
    -------
    bytes
        SVG.
    """
    filled = np.flatnonzero(np.isfinite(by_slice).any(1))
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, by_slice.shape[0] - 1)
    figure = new_figure(8, 3.4)
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(12, 1))
    shown = by_slice[first : last + 1]
    picture = axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-_CARPET_PERCENT,
        vmax=_CARPET_PERCENT,
        interpolation="none",
        extent=(-0.5, shown.shape[1] - 0.5, first - 0.5, last + 0.5),
    )
    if lost is not None and lost.any():
        rows, columns = np.nonzero(lost)
        axes.scatter(columns, rows, marker="x", s=14, linewidths=0.8, color="black", label="replaced outlier")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    axes.set_ylabel("Slice")
    figure.colorbar(picture, ax=axes, label="Residual, %", extend="both")
    for label, color, selected in shells_of(bvals, by_slice.shape[1]):
        strip.bar(np.flatnonzero(selected), 1, width=1, color=color, label=label)
    strip.set_yticks([])
    strip.set_xlabel("Volume of the fit")
    strip.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return svg_bytes(figure)


def draw_noise(snr: SpatialMap, relative: SpatialMap, display: Display) -> bytes:
    """Draw maps of the signal-to-noise ratio and of the residuals of the tensor fit in three planes.

    Parameters
    ----------
    snr
        Signal-to-noise ratio at b=0, shape (i, j, k).
    relative
        Standard deviation of the residuals, % of the b=0 signal, same shape.
    display
        Axes and limits of the images.

    Returns
    -------
    bytes
        SVG.
    """
    middle = (display.low + display.high) / 2
    planes = [display.plane(axis, float(middle[axis])) for axis in (2, 1, 0)]
    rows = []
    for image, label in ((snr, "SNR (b=0)"), (relative, "Residual, %")):
        pictures = [sample_plane(image, plane) for plane in planes]
        inside = np.concatenate([picture[(picture > 0) & np.isfinite(picture)] for picture in pictures])
        top = float(np.percentile(inside, 98)) if inside.size else 1.0
        panels = [Panel(plane=plane, picture=picture / top) for plane, picture in zip(planes, pictures, strict=True)]
        rows.append(Row(panels=panels, label=label, top=top))
    return draw_panels(rows, ("Left of the image = left of the head.",))


def draw_movie(series: SpatialMap, bvals: Sequence[float], display: Display) -> bytes:
    """Draw a series as a movie: an axial and a sagittal slice of each volume, six volumes per second.

    There is one gray scale per b-value; long series are subsampled evenly.

    Parameters
    ----------
    series
        Shape (i, j, k, n).
    bvals
        b-values of the volumes, s/mm^2.
    display
        Axes and limits of the images.

    Returns
    -------
    bytes
        SVG with all frames side by side, shown one at a time; static for readers who prefer reduced
        motion.
    """
    count = series.data.shape[3]
    selected = np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).round().astype(int))
    middle = (display.low + display.high) / 2
    size = float(max(display.high - display.low))
    planes = [display.plane(axis, float(middle[axis]), step_mm=size / _FRAME_PIXELS) for axis in (2, 0)]
    shots = [sample_plane(series, plane, selected.tolist()) for plane in planes]
    frames = [_join([shot[::-1, :, n] for shot in shots]) for n in range(selected.size)]
    for _, _, volumes in shells_of(bvals, count):
        those = np.flatnonzero(volumes[selected])
        top = max((float(np.percentile(frames[n], 99)) for n in those), default=1.0) or 1.0
        for n in those:
            frames[n] = np.clip(frames[n] / top, 0, 1)
    strip = Image.fromarray((np.concatenate(frames, axis=1) * 255).astype(np.uint8), mode="L")
    stream = io.BytesIO()
    strip.save(stream, format="JPEG", quality=55, optimize=True)
    return _animated(stream.getvalue(), frames[0].shape, [f"volume {n}, {_label(bvals, n, count)}" for n in selected])


def _label(bvals: Sequence[float], n: int, count: int) -> str:
    return f"b = {bvals[n]:.0f}" if len(bvals) == count else ""


def _join(pictures: Sequence[Array]) -> Array:
    """Return images side by side, padded to the same height."""
    height = max(picture.shape[0] for picture in pictures)
    return np.concatenate([np.pad(picture, ((height - picture.shape[0], 0), (0, 0))) for picture in pictures], axis=1)


def _animated(strip: bytes, shape: tuple[int, ...], labels: Sequence[str]) -> bytes:
    """Return an animated SVG of a strip of frames with their labels."""
    height, width = shape
    count, seconds = len(labels), len(labels) / 6
    steps = "".join(
        f'<text class="t" x="4" y="{height + 12}" style="animation-delay:{n / 6:.3f}s">{label}</text>'
        for n, label in enumerate(labels)
    )
    style = (
        f".s{{animation:s {seconds:.3f}s steps({count}) infinite}}"
        f"@keyframes s{{to{{transform:translateX(-{count * width}px)}}}}"
        f".t{{font:9px sans-serif;fill:#fff;opacity:0;animation:t {seconds:.3f}s steps(1) infinite}}"
        f"@keyframes t{{0%{{opacity:1}}{100 / count:.4f}%{{opacity:0}}}}"
        "@media (prefers-reduced-motion:reduce){.s,.t{animation:none}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * width}" height="{2 * (height + 16)}" '
        f'viewBox="0 0 {width} {height + 16}"><style>{style}</style><rect width="100%" height="100%" fill="{NIGHT}"/>'
        f'<image class="s" width="{count * width}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{base64.b64encode(strip).decode()}"/>{steps}</svg>'
    ).encode()
