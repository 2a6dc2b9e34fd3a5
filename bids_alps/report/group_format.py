"""Formatting of numbers and names on the group page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bids_alps.report.html import words
from bids_alps.statistics.plan import DIFFUSIVITIES

Row = Mapping[str, Any]
_SIDES = {"alps_left": "left index", "alps_right": "right index", "alps_bilateral": "bilateral index"}
UNIT = "10⁻³ mm²/s"
_SCALE = 1e3


def outcome_label(name: str) -> str:
    """Return the label of an outcome.

    Examples
    --------
    >>> outcome_label("alps_bilateral"), outcome_label("dyy_projection"), outcome_label("putamen_left_fa")
    ('bilateral index', 'Dyy projection', 'Putamen left FA')
    """
    if name in _SIDES:
        return _SIDES[name]
    if name in DIFFUSIVITIES:
        element, _, region = name.partition("_")
        return f"{element.capitalize()} {region}"
    return words(name)


def is_diffusivity(name: str) -> bool:
    """Return whether an outcome is in mm^2/s."""
    return name in DIFFUSIVITIES or name.endswith(("_md", "_ad", "_rd"))


def format_value(value: Any, outcome: str = "", *, sign: bool = False) -> str:
    """Return a value of an outcome with three decimals, diffusivities in 10^-3 mm^2/s.

    Examples
    --------
    >>> format_value(-0.1234, sign=True), format_value(0.00042234, "dyy_projection"), format_value(float("nan"))
    ('−0.123', '0.422', 'n/a')
    """
    if not _finite(value):
        return "n/a"
    scaled = float(value) * (_SCALE if is_diffusivity(outcome) else 1.0)
    digits = 3 if abs(scaled) < 10 else 2 if abs(scaled) < 100 else 1
    if round(scaled, digits) == 0:
        return f"{0:.{digits}f}"
    text = f"{scaled:+.{digits}f}" if sign else f"{scaled:.{digits}f}"
    return text.replace("-", "−")


def format_interval(row: Row, name: str, outcome: str = "", *, sign: bool = True) -> str:
    """Return an estimate with its 95 % interval, from ``<name>``, ``<name>_ci_low`` and ``<name>_ci_high``."""
    low, high = row.get(f"{name}_ci_low"), row.get(f"{name}_ci_high")
    value = format_value(row.get(name), outcome, sign=sign)
    if not (_finite(low) and _finite(high)):
        return value
    return f"{value} ({format_value(low, outcome, sign=sign)} to {format_value(high, outcome, sign=sign)})"


def format_p(value: Any) -> str:
    """Return a p-value with three decimals.

    Examples
    --------
    >>> format_p(0.00042), format_p(0.0081), format_p(1.0), format_p(None)
    ('<0.001', '0.008', '1.000', 'n/a')
    """
    if not _finite(value):
        return "n/a"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def describe_p(value: Any) -> str:
    """Return a p-value with its relation sign, for a sentence."""
    text = format_p(value)
    return f"p {text[0]} {text[1:]}" if text.startswith("<") else f"p = {text}"


def number_or_dash(value: Any, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals; a dash if it is missing."""
    return f"{float(value):.{digits}f}".replace("-", "−") if _finite(value) else "–"


def join_names(names: Any) -> str:
    """Return names joined by commas and "and".

    Examples
    --------
    >>> join_names(["age"]), join_names(["age", "sex", "site"])
    ('age', 'age, sex and site')
    """
    texts = [str(name) for name in names]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else "nothing"


def capitalize(text: str) -> str:
    """Return a text with its first letter capitalized."""
    return text[:1].upper() + text[1:]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
