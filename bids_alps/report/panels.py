"""Images of planes side by side, with outlines: written as SVG at the size shown.

A figure of matplotlib with axes for each image takes four times as long, most of it for ticks that are not shown and
for the layout. Contours are those of contourpy, which matplotlib uses too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from contourpy import contour_generator
from PIL import Image

from bids_alps.model import Array
from bids_alps.report.figures import ENDS, FONTS, NIGHT, title_of
from bids_alps.report.slices import IN_PLANE, Plane

_WIDTH, _MARGIN, _GAP = 576.0, 5.0, 9.0  # points
_LINE = 13.0  # of text
_SCALE_WIDTH = 54.0
_MAX_HEIGHT = 330.0  # of an image
_STEPS = 63  # quantized gray levels halve the file size without visible difference
_UNITS = 10  # of the coordinates of lines in a point: whole numbers are short


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines in a plane.

    Parameters
    ----------
    lines
        Points of each, shape (n, 2), mm.
    color
        As in SVG.
    width
        In points.
    dotted
        Whether they are dotted.
    """

    lines: Sequence[Array]
    color: str
    width: float = 1.2
    dotted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """An image of a plane.

    Parameters
    ----------
    plane
        The plane.
    picture
        Shape (rows, columns), gray from 0 to 1, or (rows, columns, 3), colors from 0 to 1; rows upwards.
    title
        Lines of the title; the name of the plane with its position where empty.
    shapes
        Lines drawn on the image.
    """

    plane: Plane
    picture: Array
    title: tuple[str, ...] = ()
    shapes: tuple[Lines, ...] = ()

    @property
    def size(self) -> Array:
        """Width and height, mm."""
        left, right, bottom, top = self.plane.extent
        return np.array([right - left, top - bottom])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels side by side in one scale, and a gray bar from 0 to `top` on their right where there is a `label`."""

    panels: Sequence[Panel]
    label: str = ""
    top: float = 1.0


def contours(
    values: Array, plane: Plane, level: float, color: str, *, width: float = 1.2, dotted: bool = False
) -> Lines:
    """Return the lines where values in the pixels of a plane, shape (rows, columns), cross a level."""
    left, right, bottom, top = plane.extent
    rows, columns = values.shape
    x, y = (
        low + (np.arange(n) + 0.5) * (high - low) / n for low, high, n in ((left, right, columns), (bottom, top, rows))
    )
    lines: Any = contour_generator(x, y, values).lines(level)
    return Lines(lines=lines, color=color, width=width, dotted=dotted)


def draw_panels(rows: Iterable[Row], heading: Sequence[str]) -> bytes:
    """Return rows of images under a heading (lines of text) as reproducible SVG."""
    parts = [_text(line, _WIDTH / 2, _LINE * (n + 1) - 2) for n, line in enumerate(heading)]
    down = _LINE * len(heading) + 4
    for row in rows:
        drawn, down = _draw_row(row, down)
        parts += drawn
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH:g}pt" height="{down:.1f}pt" '
        f'viewBox="0 0 {_WIDTH:g} {down:.1f}" font-family="{escape(FONTS)}" font-size="9" fill="#ffffff">'
        f'<rect width="100%" height="100%" fill="{NIGHT}"/>{"".join(parts)}</svg>'
    ).encode()


def _draw_row(row: Row, down: float) -> tuple[list[str], float]:
    """Return the elements of a row that starts at a height, and the height at which it ends."""
    if not row.panels:
        return [], down
    sizes = np.array([panel.size for panel in row.panels])
    titles = [panel.title or (title_of(panel.plane),) for panel in row.panels]
    text = _LINE * max(map(len, titles))
    taken = 2 * _MARGIN + _GAP * (len(sizes) - 1) + (_SCALE_WIDTH if row.label else 0)
    scale = min((_WIDTH - taken) / sizes[:, 0].sum(), _MAX_HEIGHT / sizes[:, 1].max())
    widths, heights = (scale * sizes).T
    right, parts = _MARGIN + (_WIDTH - taken - widths.sum()) / 2, []
    for panel, title, width, height in zip(row.panels, titles, widths, heights, strict=True):
        above = down + text + (heights.max() - height) / 2
        for n, line in enumerate(reversed(title)):
            parts.append(_text(line, right + width / 2, above - 4 - _LINE * n))
        parts.append(_draw_panel(panel, (right, above, width, height)))
        right += width + _GAP
    if row.label:
        parts.append(_draw_scale(row, right, down + text, heights.max()))
    return parts, down + text + heights.max() + _GAP


def _draw_panel(panel: Panel, box: tuple[float, float, float, float]) -> str:
    """Return an image with its lines and the letters of its directions, in a box: left, top, width, height, points."""
    left, above, width, height = box
    origin = np.array([panel.plane.extent[0], panel.plane.extent[3]])
    per_mm = np.array([_UNITS, -_UNITS]) * width / panel.size[0]
    shapes = "".join(_path(shape, origin, per_mm) for shape in panel.shapes)
    across, up = IN_PLANE[panel.plane.axis]
    middle, center = left + width / 2, above + height / 2
    letters = (
        *((ENDS[across][0], left + 3, center + 3, "start"), (ENDS[across][1], left + width - 3, center + 3, "end")),
        *((ENDS[up][0], middle, above + height - 4, "middle"), (ENDS[up][1], middle, above + 10, "middle")),
    )
    return (
        f'<image x="{left:.1f}" y="{above:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:crisp-edges;image-rendering:pixelated" href="data:image/png;base64,'
        f'{base64.b64encode(_png(panel.picture)).decode()}"/>'
        f'<svg x="{left:.1f}" y="{above:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'viewBox="0 0 {width * _UNITS:.0f} {height * _UNITS:.0f}" preserveAspectRatio="none" fill="none" '
        f'stroke-linejoin="round">{shapes}</svg>'
    ) + "".join(_text(letter, x, y, anchor, ' font-weight="bold"') for letter, x, y, anchor in letters)


def _path(shape: Lines, origin: Array, per_mm: Array) -> str:
    """Return lines as a path in whole units from the upper left corner of their image."""
    parts = []
    for line in shape.lines:
        points = np.rint((line - origin) * per_mm).astype(int)
        steps = np.diff(points, axis=0).ravel().tolist()
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{' '.join(map(str, steps)).replace(' -', '-')}")
    if not parts:
        return ""
    dots = f' stroke-dasharray="{_UNITS * shape.width:g} {1.65 * _UNITS * shape.width:g}"' if shape.dotted else ""
    return f'<path d="{"".join(parts)}" stroke="{shape.color}" stroke-width="{_UNITS * shape.width:g}"{dots}/>'


def _png(picture: Array) -> bytes:
    """Return an image as PNG with as few levels and channels as it needs."""
    levels = np.round(np.clip(np.nan_to_num(picture[::-1]), 0, 1) * _STEPS)
    if picture.ndim == 2:
        image = Image.fromarray(levels.astype(np.uint8), mode="L").convert("P")
        image.putpalette(np.repeat(np.round(np.arange(_STEPS + 1) * 255 / _STEPS).astype(np.uint8), 3).tobytes())
    else:
        image = Image.fromarray(np.round(levels * 255 / _STEPS).astype(np.uint8), mode="RGB")
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _draw_scale(row: Row, left: float, above: float, height: float) -> str:
    """Return the gray bar of a row with its values and its label."""
    names = f"scale{above:.0f}"
    step = 10.0 ** np.floor(np.log10(row.top / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if row.top / (step * factor) <= 8)
    ticks = "".join(
        _text(f"{value:g}", left + 15, above + height * (1 - value / row.top) + 3, "start")
        for value in np.arange(0, row.top, step).round(9).tolist()
    )
    label = (
        f'<text transform="translate({left + 44:.1f} {above + height / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(row.label)}</text>'
    )
    return (
        f'<linearGradient id="{names}" x1="0" y1="1" x2="0" y2="0"><stop offset="0" stop-color="#000"/>'
        f'<stop offset="1" stop-color="#fff"/></linearGradient><rect x="{left:.1f}" y="{above:.1f}" width="10" '
        f'height="{height:.1f}" fill="url(#{names})" stroke="#fff" stroke-width="0.5"/>{ticks}{label}'
    )


def _text(text: str, x: float, y: float, anchor: str = "middle", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
