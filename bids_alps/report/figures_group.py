"""Charts of a cohort: distribution of the index, left vs. right, pose vs. index, status of the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame
from scipy.stats import gaussian_kde

from bids_alps.model import Array
from bids_alps.report.figures import SIDE_COLORS, new_figure, styled, svg_bytes
from bids_alps.report.page import LITERATURE, Reference

STATUS_COLORS: Mapping[str, str] = {"pass": "#2e7d4f", "warn": "#d98e04", "fail": "#b3261e"}
GROUP_COLORS = ("#2f6db5", "#c2552d", "#5a8f3c", "#8457a8", "#595f69")
GROUP_MARKERS = ("o", "^", "s", "D", "v")
DENSE = 3000
"""Number of points above which scatter plots are rasterized, to limit the size of the page."""
STATUS_MARKERS: Mapping[str, str] = {"pass": "o", "warn": "^", "fail": "X"}


@styled
def draw_index_distribution(
    indices: Mapping[str, Array], groups: Sequence[str] = (), reference: Reference = LITERATURE
) -> bytes:
    """Draw the index of all runs by hemisphere, and by group if there are groups.

    Parameters
    ----------
    indices
        ``{"left": ..., "right": ..., "bilateral": ...}``, n values each; NaN is omitted.
    groups
        Group of each run, n names, or none.
    reference
        Drawn as a band of mean ± one standard deviation.

    Returns
    -------
    bytes
        SVG.
    """
    names = list(dict.fromkeys(groups)) or [""]
    membership = np.array(groups) if len(groups) else np.array([""] * max(map(len, indices.values()), default=0))
    figure = new_figure(8, 0.9 + 0.55 * len(indices) * len(names))
    axes = figure.subplots()
    axes.axvspan(reference.mean - reference.sd, reference.mean + reference.sd, color="#dfe9f5")
    axes.axvline(reference.mean, color="#59616c", linestyle=":")
    labels, row = [], 0
    for side, values in indices.items():
        for name in names:
            in_group = np.asarray(values, dtype=float)[membership == name]
            _draw_row(axes, in_group[np.isfinite(in_group)], row, SIDE_COLORS.get(side, "#595f69"))
            labels.append(f"{side} {name}".strip())
            row += 1
    axes.set_yticks(range(row), labels)
    axes.set_ylim(row - 0.4, -0.6)
    axes.set_xlabel(f"ALPS index (band: mean ± SD of {reference.source})")
    return svg_bytes(figure)


def _draw_row(axes: Axes, values: Array, row: int, color: str) -> None:
    if not values.size:
        return
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    jitter = ((order * 7) % 11 - 5) / 5 * 0.16  # deterministic jitter, for reproducible files
    points = axes.scatter(
        values, row + jitter, s=16, color=color, edgecolor="white", linewidth=0.4, alpha=0.9, zorder=3
    )
    points.set_rasterized(values.size > DENSE)
    if values.size > 4 and np.ptp(values) > 0:
        span = np.linspace(values.min(), values.max(), 80)
        density = gaussian_kde(values)(span)
        axes.fill_between(
            span, row - 0.2, row - 0.2 - 0.25 * density / density.max(), color=color, alpha=0.3, linewidth=0
        )
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.plot([low, high], [row, row], color="#1c1f24", linewidth=3, alpha=0.55, zorder=4)
    axes.plot([middle, middle], [row - 0.2, row + 0.2], color="#1c1f24", linewidth=2, zorder=4)


@styled
def draw_left_right(left: Array, right: Array, statuses: Sequence[str]) -> bytes:
    """Draw the right vs. the left index with the line of identity, colored by status.

    Parameters
    ----------
    left, right
        n values each.
    statuses
        ``pass``, ``warn`` or ``fail`` of each run.
    """
    figure = new_figure(8, 4.4)
    axes = figure.subplots()
    _scatter(axes, np.asarray(left, dtype=float), np.asarray(right, dtype=float), statuses)
    both = np.concatenate([np.asarray(left, dtype=float), np.asarray(right, dtype=float)])
    both = both[np.isfinite(both)]
    if both.size:
        ends = [both.min() - 0.05, both.max() + 0.05]
        axes.plot(ends, ends, color="#59616c", linestyle=":", zorder=1)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("ALPS index, left")
    axes.set_ylabel("ALPS index, right")
    return svg_bytes(figure)


@styled
def draw_pose(pose: Mapping[str, Array], index: Array, statuses: Sequence[str]) -> bytes:
    """Draw the index vs. each angle of head pose.

    Parameters
    ----------
    pose
        ``{"pitch": ..., "roll": ..., "yaw": ...}``, degrees, n values each.
    index
        Bilateral index, n values.
    statuses
        ``pass``, ``warn`` or ``fail`` of each run.
    """
    figure = new_figure(8, 3)
    grid: Any = figure.subplots(1, len(pose), sharey=True, squeeze=False)
    index = np.asarray(index, dtype=float)
    for n, (axes, (name, angle)) in enumerate(zip(grid[0], pose.items(), strict=True)):
        angle = np.asarray(angle, dtype=float)
        _scatter(axes, angle, index, statuses, legend=n == 0)
        finite = np.isfinite(angle) & np.isfinite(index)
        correlation = ""
        if finite.sum() > 2 and np.ptp(angle[finite]) > 0 and np.ptp(index[finite]) > 0:
            correlation = f", r = {np.corrcoef(angle[finite], index[finite])[0, 1]:.2f}"
        axes.set_xlabel(f"{name}, degrees{correlation}")
    grid[0][0].set_ylabel("ALPS index, bilateral")
    return svg_bytes(figure)


@styled
def draw_checks(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw the number of runs that passed, were flagged by, or failed each check.

    Parameters
    ----------
    counts
        ``{title of a check: {"pass": n, "warn": n, "fail": n}}``.
    """
    figure = new_figure(8, 0.8 + 0.28 * max(len(counts), 1))
    axes = figure.subplots()
    start = np.zeros(len(counts))
    for status, color in STATUS_COLORS.items():
        numbers = np.array([count.get(status, 0) for count in counts.values()], dtype=float)
        bars = axes.barh(range(len(counts)), numbers, left=start, color=color, edgecolor="white", label=status)
        if status != "pass":
            axes.bar_label(bars, [f"{n:.0f}" if n else "" for n in numbers], label_type="center", color="white")
        start += numbers
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlabel("Runs")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg_bytes(figure)


@styled
def draw_age(age: Array, index: Array, groups: Sequence[str] = ()) -> bytes:
    """Draw the index vs. age with a regression line for each group.

    Parameters
    ----------
    age, index
        Years and bilateral index, n values each; NaN is omitted.
    groups
        Group of each run, n names, or none.
    """
    figure = new_figure(8, 3.6)
    axes = figure.subplots()
    membership = np.array(groups) if len(groups) else np.array([""] * len(age))
    for n, name in enumerate(dict.fromkeys(membership.tolist())):
        in_group = (membership == name) & np.isfinite(age) & np.isfinite(index)
        color, marker = GROUP_COLORS[n % len(GROUP_COLORS)], GROUP_MARKERS[n % len(GROUP_MARKERS)]
        points = axes.scatter(
            age[in_group], index[in_group], s=26, color=color, marker=marker, alpha=0.85, label=name or None
        )
        points.set_rasterized(len(age) > DENSE)
        if in_group.sum() > 2 and np.ptp(age[in_group]) > 0:
            ends = np.array([age[in_group].min(), age[in_group].max()])
            slope, start = np.polyfit(age[in_group], index[in_group], 1)
            axes.plot(ends, start + slope * ends, color=color)
    axes.set_xlabel("Age, years")
    axes.set_ylabel("ALPS index, bilateral")
    _draw_legend(axes, len(age))
    return svg_bytes(figure)


@styled
def draw_correlations(table: DataFrame, kind: str = "pearson") -> bytes:
    """Draw the correlation matrix of outcomes and variables.

    Parameters
    ----------
    table
        Rows ``outcome, variable, kind, r, p_fdr``.
    kind
        Kind of correlation to draw.
    """
    pearson = table[table["kind"] == kind]
    r = pearson.pivot_table("r", "outcome", "variable", sort=False, dropna=False)
    p = pearson.pivot_table("p_fdr", "outcome", "variable", sort=False, dropna=False).reindex_like(r)
    figure = new_figure(min(3.2 + 0.9 * r.shape[1], 12), 1.2 + 0.3 * max(len(r), 1))
    axes = figure.subplots()
    shown = axes.imshow(r.to_numpy(dtype=float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(r.to_numpy(dtype=float)):
        if np.isfinite(value):
            star = "*" if p.to_numpy(dtype=float)[row, column] < 0.05 else ""
            dark = "white" if abs(value) > 0.6 else "#1c1f24"
            axes.text(column, row, f"{value:.2f}{star}", ha="center", va="center", color=dark, fontsize=8)
    axes.set_yticks(range(len(r)), [str(name).replace("_", " ") for name in r.index])
    axes.set_xticks(range(r.shape[1]), [str(name).replace("_", " ") for name in r.columns], rotation=30, ha="right")
    figure.colorbar(shown, ax=axes, label="r", fraction=0.05)
    return svg_bytes(figure)


@styled
def draw_harmonization(values: Mapping[str, tuple[Array, Sequence[str]]]) -> bytes:
    """Draw the index by site before and after harmonization.

    Parameters
    ----------
    values
        ``{"before": (index, sites), "after": ...}``, n values each.
    """
    sites = sorted({site for _, names in values.values() for site in names})
    figure = new_figure(8, 1.2 + 0.5 * len(sites))
    grid: Any = figure.subplots(1, len(values), sharex=True, sharey=True, squeeze=False)
    for axes, (title, (index, names)) in zip(grid[0], values.items(), strict=True):
        membership = np.array(names)
        for row, site in enumerate(sites):
            _draw_row(
                axes, index[(membership == site) & np.isfinite(index)], row, GROUP_COLORS[row % len(GROUP_COLORS)]
            )
        axes.set_yticks(range(len(sites)), sites)
        axes.set_ylim(len(sites) - 0.4, -0.6)
        axes.set_title(title)
        axes.set_xlabel("ALPS index, bilateral")
    return svg_bytes(figure)


def _scatter(axes: Axes, x: Array, y: Array, statuses: Sequence[str], *, legend: bool = True) -> None:
    labels = np.array(statuses)
    for status, color in STATUS_COLORS.items():
        selected = (labels == status) & np.isfinite(x) & np.isfinite(y)
        if selected.any():
            marker = STATUS_MARKERS[status]
            points = axes.scatter(
                x[selected], y[selected], s=26, color=color, marker=marker, alpha=0.85, label=status, zorder=3
            )
            points.set_rasterized(len(x) > DENSE)
    if legend:
        _draw_legend(axes, len(x))


def _draw_legend(axes: Axes, points: int) -> None:
    """Draw a legend at the best location; in the upper right if there are many points, since the search is slow."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best" if points <= DENSE else "upper right")
