"""Charts of the statistics: groups with adjusted means, changes within participants, specification curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bids_alps.model import Array
from bids_alps.report.figures import new_figure, styled, svg_bytes
from bids_alps.report.figures_group import DENSE, GROUP_COLORS, GROUP_MARKERS

_TITLES = {"alps_left": "left", "alps_right": "right", "alps_bilateral": "bilateral"}
_INK = "#1c1f24"
_FAINT = "#8a919b"
_ROWS = (("statuses", "runs"), ("covariates", "adjusted for"), ("pose", "pose"), ("roi_preset", "preset"))


@styled
def draw_groups(values: Mapping[str, Mapping[str, Array]], adjusted: pd.DataFrame | None = None) -> bytes:
    """Draw the index of every participant by group, with boxes of the quartiles and the adjusted means.

    Parameters
    ----------
    values
        Values by group and outcome; NaN is omitted.
    adjusted
        Rows ``outcome, group, adjusted_mean, ci_low, ci_high``, or None.
    """
    names, outcomes = list(values), list(_TITLES)
    figure = new_figure(8, 3.8)
    grid: Any = figure.subplots(1, len(outcomes), sharey=True)
    for axes, outcome in zip(grid, outcomes, strict=True):
        for place, name in enumerate(names):
            group_values = np.asarray(values[name].get(outcome, np.empty(0)), dtype=float)
            _draw_column(axes, group_values[np.isfinite(group_values)], place)
        if adjusted is not None:
            _draw_means(axes, adjusted[adjusted["outcome"] == outcome], names)
        counts = [np.isfinite(np.asarray(values[name].get(outcome, np.empty(0)), dtype=float)).sum() for name in names]
        labels = [f"{_short(name)}\nn = {count}" for name, count in zip(names, counts, strict=True)]
        axes.set_xticks(range(len(names)), labels, rotation=30 if len(names) > 3 else 0)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_title(_TITLES[outcome])
    grid[0].set_ylabel("ALPS index")
    return svg_bytes(figure)


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def _draw_column(axes: Axes, values: Array, place: int) -> None:
    if not values.size:
        return
    color = GROUP_COLORS[place % len(GROUP_COLORS)]
    marker = GROUP_MARKERS[place % len(GROUP_MARKERS)]
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    jitter = ((order * 7) % 11 - 5) / 5 * 0.22  # deterministic jitter, for reproducible files
    points = axes.scatter(place + jitter, values, s=16, color=color, marker=marker, alpha=0.7, linewidth=0, zorder=2)
    points.set_rasterized(values.size > DENSE)
    if values.size > 3:
        low, middle, high = np.percentile(values, [25, 50, 75])
        axes.plot([place - 0.3, place + 0.3], [middle, middle], color=_INK, linewidth=1.5, zorder=3)
        axes.fill_between([place - 0.3, place + 0.3], low, high, color=color, alpha=0.18, linewidth=0, zorder=1)


def _draw_means(axes: Axes, means: pd.DataFrame, names: Sequence[str]) -> None:
    for row in means.to_dict("records"):
        place = list(names).index(str(row["group"])) + 0.42 if row["group"] in names else None
        if place is not None:
            axes.plot([place, place], [row["ci_low"], row["ci_high"]], color=_INK, linewidth=2, zorder=4)
            axes.plot([place], [row["adjusted_mean"]], color=_INK, marker="D", markersize=5, zorder=5)


@styled
def draw_changes(table: pd.DataFrame, levels: Sequence[str]) -> bytes:
    """Draw the index of every participant over the levels of a factor.

    Parameters
    ----------
    table
        One row per participant, one column per level, and ``group``; NaN if missing.
    levels
        Columns in order.
    """
    groups = list(dict.fromkeys(table["group"].astype(str)))
    figure = new_figure(max(5.2, min(8, 2.6 * len(groups))), 3.4)
    grid: Any = figure.subplots(1, len(groups), sharey=True, squeeze=False)
    for n, (axes, name) in enumerate(zip(grid[0], groups, strict=True)):
        part = table.loc[table["group"].astype(str) == name, list(levels)].to_numpy(dtype=float)
        color = GROUP_COLORS[n % len(GROUP_COLORS)]
        faint = max(0.08, min(0.5, 20 / max(len(part), 1)))
        lines = axes.plot(
            np.arange(len(levels)), part.T, color=color, alpha=faint, linewidth=0.8, marker=".", markersize=3
        )
        for line in lines:
            line.set_rasterized(len(part) > DENSE // 10)
        complete = part[np.isfinite(part).all(axis=1)]
        if len(complete):
            axes.plot(
                np.arange(len(levels)), complete.mean(axis=0), color=_INK, linewidth=2.5, marker="D", markersize=5
            )
        axes.set_xticks(range(len(levels)), [_short(level) for level in levels])
        axes.set_xlim(-0.3, len(levels) - 0.7)
        axes.set_title(f"{_short(name)}, {len(complete)} complete" if name else f"{len(complete)} complete")
    grid[0][0].set_ylabel("ALPS index, bilateral")
    return svg_bytes(figure)


@styled
def draw_specifications(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw a specification curve: the difference for each specification, above its analysis choices.

    Parameters
    ----------
    rows
        As `bids_alps.statistics.sensitivity.find_specifications` returns them, of one pair of groups.
    """
    ordered = sorted(rows, key=lambda row: float(row["difference"]))
    analysis_choices = [(key, label, list(dict.fromkeys(str(row[key]) for row in rows))) for key, label in _ROWS]
    choices = [choice for choice in analysis_choices if len(choice[2]) > 1]
    lines = sum(len(levels) for _, _, levels in choices)
    figure = new_figure(8, 2.6 + 0.2 * lines)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, max(0.2 * lines, 0.4)])
    for place, row in enumerate(ordered):
        strong = float(row["p"]) < 0.05
        color = GROUP_COLORS[0] if strong else _FAINT
        above.plot([place, place], [row["difference_ci_low"], row["difference_ci_high"]], color=color, linewidth=1)
        size, marker = (9, "D") if row["primary"] else (4, "o")
        above.plot(
            [place], [row["difference"]], color=_INK if row["primary"] else color, marker=marker, markersize=size
        )
    above.axhline(0, color=_FAINT, linestyle=":")
    above.set_ylabel("difference of the\nbilateral index")
    labels, line = list[str](), 0
    for key, label, levels in choices:
        for level in levels:
            places = [n for n, row in enumerate(ordered) if str(row[key]) == level]
            below.scatter(places, [line] * len(places), s=9, color=_INK, marker="s", linewidth=0)
            labels.append(f"{label}: {level}")
            line += 1
    below.set_yticks(range(line), labels)
    below.set_ylim(line - 0.5, -0.5)
    below.set_xlabel("specifications, sorted by the difference; blue: p < 0.05, uncorrected")
    below.set_xticks([])
    return svg_bytes(figure)
