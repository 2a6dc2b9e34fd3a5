"""Figures for publication: sizes in mm, color-blind safe colors, embedded fonts."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bids_alps.model import Array, Roi, SpatialMap
from bids_alps.report.figures import REGION_COLORS, show_plane
from bids_alps.report.slices import Display, roi_center, roi_map, sample_plane

SINGLE_COLUMN_MM, DOUBLE_COLUMN_MM = 88.0, 180.0
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Color-blind safe palette (Okabe and Ito 2008)."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MM_PER_INCH = 25.4
_STYLE: Any = {
    "svg.hashsalt": "bids-alps",
    "svg.fonttype": "path",  # text as paths: same rendering everywhere
    "pdf.fonttype": 42,  # TrueType, embedded
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
}
_Z95 = 1.96
Given = ParamSpec("Given")


def for_paper(draw: Callable[Given, Figure]) -> Callable[Given, dict[str, bytes]]:
    """Return a drawing function that returns its figure as ``{"svg": ..., "pdf": ...}``, reproducibly."""

    @wraps(draw)
    def drawing(*args: Given.args, **kwargs: Given.kwargs) -> dict[str, bytes]:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            figure = draw(*args, **kwargs)
            svg, pdf = io.BytesIO(), io.BytesIO()
            to_svg: Any = FigureCanvasSVG(figure)
            to_svg.print_svg(svg, metadata={"Date": None, "Creator": "bids-alps"})
            to_pdf: Any = FigureCanvasPdf(figure)
            to_pdf.print_pdf(pdf, metadata={"CreationDate": None, "Creator": "bids-alps", "Producer": None})
            return {"svg": svg.getvalue(), "pdf": pdf.getvalue()}

    return drawing


def _new(width_mm: float, height_mm: float, **how: Any) -> Figure:
    size = (width_mm / _MM_PER_INCH, height_mm / _MM_PER_INCH)
    return Figure(figsize=size, layout="constrained", dpi=300, **how)


@for_paper
def draw_mean_regions(colors: SpatialMap, rois: Sequence[Roi], display: Display, participants: int) -> Figure:
    """Draw the regions on the mean color FA of a cohort in template space, axial and coronal, 180 mm wide.

    Parameters
    ----------
    colors
        Mean of |principal direction| times FA, red x, green y, blue z, shape (i, j, k, 3), 0 to 1.
    rois
        Regions on the same grid.
    display
        Limits of the images, in template axes.
    participants
        Number of participants in the mean.
    """
    centers = np.array([display.place(roi_center(roi, colors)) for roi in rois])
    middle = centers.mean(axis=0)
    planes = [display.plane(axis, float(middle[axis]), step_mm=1.0) for axis in (2, 1)]
    figure = _new(DOUBLE_COLUMN_MM, 100)
    for axes, plane, name in zip(figure.subplots(1, 2), planes, ("axial, z", "coronal, y"), strict=True):
        show_plane(axes, plane, sample_plane(colors, plane))
        axes.set_title(f"{name} = {plane.level:.0f} mm", color="black", fontsize=7)
        for roi in rois:
            weights = sample_plane(roi_map(roi, colors), plane)
            if weights.max() > 0:
                color = REGION_COLORS.get(roi.region, "white")
                half = [roi.weights.max() / 2]
                axes.contour(weights, half, extent=plane.extent, origin="lower", colors=[color], linewidths=0.8)
    figure.suptitle(f"Mean of {participants} participant{'' if participants == 1 else 's'}", fontsize=7)
    return figure


@for_paper
def draw_distribution(values: Mapping[str, Array], groups: Sequence[str]) -> Figure:
    """Draw the index by hemisphere and group: individual values, median and quartiles, 88 mm wide.

    Parameters
    ----------
    values
        Index by hemisphere, each of shape (participants,); NaN if missing.
    groups
        Group of each participant, or none.
    """
    names = sorted(set(groups)) or [""]
    figure = _new(SINGLE_COLUMN_MM, 65)
    axes = figure.subplots()
    width = 0.8 / len(names)
    for g, name in enumerate(names):
        color, marker = OKABE_ITO[g % len(OKABE_ITO)], _MARKERS[g % len(_MARKERS)]
        inside = np.array([group == name for group in groups]) if groups else slice(None)
        for n, each in enumerate(values.values()):
            finite = np.asarray(each)[inside]
            finite = finite[np.isfinite(finite)]
            at = n - 0.4 + width * (g + 0.5)
            spread = (np.arange(finite.size) * 0.618) % 1 - 0.5  # deterministic jitter, for reproducible files
            label = f"{name} (n = {finite.size})" if name and n == 0 else None
            axes.scatter(at + 0.6 * width * spread, finite, s=6, color=color, marker=marker, linewidths=0, alpha=0.7)
            if finite.size:
                low, median, high = np.percentile(finite, (25, 50, 75))
                axes.plot([at, at], [low, high], color=color, linewidth=2.5, label=label)
                axes.plot([at - width / 3, at + width / 3], [median, median], color="black", linewidth=1.2)
    axes.set_xticks(range(len(values)), list(values))
    axes.set_ylabel("DTI-ALPS index")
    if groups:
        _legend(axes)
    return figure


@for_paper
def draw_sessions(series: Mapping[str, Mapping[str, float]], sessions: Sequence[str]) -> Figure:
    """Draw the index over sessions: one line per participant, and the mean with its 95 % interval, 88 mm wide.

    Parameters
    ----------
    series
        Index by participant and session.
    sessions
        Session labels, in order.
    """
    figure = _new(SINGLE_COLUMN_MM, 65)
    axes = figure.subplots()
    table = np.array([[each.get(session, np.nan) for session in sessions] for each in series.values()])
    for row in table:
        axes.plot(range(len(sessions)), row, color="#999999", linewidth=0.5, marker="o", markersize=1.8)
    complete = table[np.isfinite(table).all(axis=1)]
    if len(complete) > 1:
        mean, se = complete.mean(axis=0), complete.std(axis=0, ddof=1) / np.sqrt(len(complete))
        label = f"mean and 95 % interval of {len(complete)} with all sessions"
        axes.errorbar(range(len(sessions)), mean, _Z95 * se, color=OKABE_ITO[0], capsize=2, marker="s", label=label)
        _legend(axes)
    axes.set_xticks(range(len(sessions)), list(sessions))
    axes.set_xlabel("Session")
    axes.set_ylabel("DTI-ALPS index, bilateral")
    return figure


@for_paper
def draw_age_curve(age: Array, index: Array, groups: Sequence[str] = ()) -> Figure:
    """Draw the index vs. age with least-squares lines and their 95 % bands, 88 mm wide.

    Parameters
    ----------
    age, index
        Shape (participants,), years and bilateral index.
    groups
        Group of each participant, or none.
    """
    figure = _new(SINGLE_COLUMN_MM, 65)
    axes = figure.subplots()
    for g, name in enumerate(sorted(set(groups)) or [""]):
        inside = np.isfinite(age) & np.isfinite(index)
        if groups:
            inside &= np.array([group == name for group in groups])
        color = OKABE_ITO[g % len(OKABE_ITO)]
        label = f"{name} (n = {int(inside.sum())})" if name else None
        axes.scatter(
            age[inside], index[inside], s=7, color=color, marker=_MARKERS[g % len(_MARKERS)], linewidths=0, label=label
        )
        if inside.sum() > 3 and np.ptp(age[inside]) > 0:
            _draw_line(axes, age[inside], index[inside], color)
    axes.set_xlabel("Age, years")
    axes.set_ylabel("DTI-ALPS index, bilateral")
    if groups:
        _legend(axes)
    return figure


def _legend(axes: Axes) -> None:
    """Draw the legend above the axes."""
    axes.legend(frameon=False, fontsize=6, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _draw_line(axes: Axes, x: Array, y: Array, color: str) -> None:
    """Draw a least-squares line with its 95 % confidence band."""
    design = np.c_[np.ones(x.size), x]
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual) / (x.size - 2)
    at = np.linspace(x.min(), x.max(), 60)
    points = np.c_[np.ones(at.size), at]
    line, se = points @ coefficients, np.sqrt(np.einsum("ni,ij,nj->n", points, covariance, points))
    axes.plot(at, line, color=color)
    axes.fill_between(at, line - _Z95 * se, line + _Z95 * se, color=color, alpha=0.18, linewidth=0)


@for_paper
def draw_agreement(first: Array, second: Array, names: tuple[str, str]) -> Figure:
    """Draw a Bland-Altman plot of two presets: difference vs. mean with the limits of agreement, 88 mm wide.

    Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8.

    Parameters
    ----------
    first, second
        Bilateral index of the same participants, shape (participants,).
    names
        Names of the presets.
    """
    both = np.isfinite(first) & np.isfinite(second)
    mean, difference = (first[both] + second[both]) / 2, second[both] - first[both]
    figure = _new(SINGLE_COLUMN_MM, 65)
    axes = figure.subplots()
    axes.scatter(mean, difference, s=7, color=OKABE_ITO[0], linewidths=0)
    center, spread = float(difference.mean()), float(difference.std(ddof=1)) if difference.size > 1 else 0.0
    for value, style in ((center, "-"), (center - _Z95 * spread, "--"), (center + _Z95 * spread, "--")):
        axes.axhline(value, color=OKABE_ITO[1], linewidth=0.8, linestyle=style)
        axes.annotate(
            f"{value:+.3f}", (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=6
        )
    axes.set_xlabel(f"Mean of {names[0]} and {names[1]}")
    axes.set_ylabel(f"{names[1]} minus {names[0]}")
    axes.set_title(f"Mean difference and 95 % limits of agreement, n = {difference.size}", fontsize=6, loc="left")
    return figure
