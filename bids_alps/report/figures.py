"""Style shared by all figures, and their reproducible export to SVG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from bids_alps.model import Array
from bids_alps.report.slices import IN_PLANE, Plane

NIGHT = "#101216"  # background of brain images
SIDE_COLORS: Mapping[str, str] = {"left": "#e69f00", "right": "#56b4e9", "bilateral": "#595f69"}
REGION_COLORS: Mapping[str, str] = {"projection": "#ffffff", "association": "#ffd23f", "subcortical": "#ff8fd8"}
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
FONTS = "DejaVu Sans, Arial, Helvetica, sans-serif"
PLANE_NAMES = ("sagittal", "coronal", "axial")

_EMBEDDED = re.compile(rb"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
_STYLE: Any = {
    "svg.hashsalt": "bids-alps",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": FONTS.split(", "),
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")


def styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Return a drawing function that ignores the style files and rcParams of the user."""

    @wraps(draw)
    def drawing(*args: Given.args, **kwargs: Given.kwargs) -> Drawn:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawing


def new_figure(width: float, height: float, *, ground: str = "white") -> Figure:
    """Return an empty figure (size in inches) without using pyplot's global state."""
    return Figure(figsize=(width, height), facecolor=ground, layout="constrained", dpi=144)


def svg_bytes(figure: Figure) -> bytes:
    """Return a figure as reproducible SVG: no date, no random identifiers."""
    stream = io.BytesIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(stream, metadata={"Date": None, "Creator": "bids-alps"})
    return _EMBEDDED.sub(_smaller, stream.getvalue())


def _smaller(found: re.Match[bytes]) -> bytes:
    """Return an embedded image reduced to the channels and colors it uses, for a smaller file."""
    picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA")
    pixels = np.asarray(picture)
    opaque = bool((pixels[..., 3] == 255).all())
    gray = bool((pixels[..., :1] == pixels[..., 1:3]).all())
    if not opaque:  # lines of one color with antialiased edges
        picture = picture.quantize(colors=16, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    elif gray:
        picture = picture.convert("L").quantize(colors=64, dither=Image.Dither.NONE)
    else:
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return b"data:image/png;base64," + base64.b64encode(stream.getvalue())


def show_plane(axes: Axes, plane: Plane, picture: Array) -> None:
    """Draw an image of a plane with orientation labels.

    Parameters
    ----------
    axes
        Axes to draw on.
    plane
        The plane.
    picture
        Shape (rows, columns), gray from 0 to 1, or (rows, columns, 3), colors from 0 to 1.
    """
    steps = 63  # quantized gray levels halve the file size without visible difference
    picture = np.round(np.clip(np.nan_to_num(picture), 0, 1) * steps) / steps
    axes.imshow(picture, origin="lower", extent=plane.extent, interpolation="none", cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    axes.set(xticks=(), yticks=())  # invisible, but the layout would measure them
    across, up = IN_PLANE[plane.axis]
    places = ((0.01, 0.5), (0.99, 0.5), (0.5, 0.01), (0.5, 0.99))
    aligned = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for letter, place, (ha, va) in zip((*ENDS[across], *ENDS[up]), places, aligned, strict=True):
        axes.text(*place, letter, transform=axes.transAxes, ha=ha, va=va, color="white", fontsize=9, fontweight="bold")


def title_of(plane: Plane) -> str:
    """Return the name of a plane with its position, such as ``axial, z = 27 mm``."""
    return f"{PLANE_NAMES[plane.axis]}, {'xyz'[plane.axis]} = {round(plane.level)} mm"
