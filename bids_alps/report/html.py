"""Report pages as self-contained HTML, with all text from datasets escaped."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bids_alps import __version__
from bids_alps.model import Check
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.report.page import CAVEAT, GroupPage, IndexValue, MethodsText, ParticipantPage, Reference

STATUS_WORDS = {"pass": "Passed", "warn": "Look closer", "fail": "Do not trust"}
_STYLES = ("report.css", "layout.css")
_WIDTH = 640  # of the index axis, SVG user units
_UNITS = {"": "", "degrees": "°", "s/mm^2": " s/mm²", "mm^2/s": " mm²/s"}
_NAMES = {
    "lambda2_lambda3": "λ2/λ3",
    "b_value": "b-value",
    "n_voxels": "Voxels",
    "snr_b0": "SNR (b=0)",
    "off_tract_fraction": "Off-tract fraction",
    "alps_bilateral_ci_low": "ALPS bilateral, 95 % CI low",
    "alps_bilateral_ci_high": "high",
}


def render_participant(page: ParticipantPage) -> str:
    """Return the page of a participant."""
    return _render("participant.html", page)


def render_group(page: GroupPage) -> str:
    """Return the page of a cohort."""
    return _render("group.html", page)


def render_methods(methods: MethodsText, version: str = __version__) -> str:
    """Return a page with the methods text alone."""
    return _render("methods.html", MethodsPage(methods=methods, version=version))


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodsPage:
    """A page with the methods text alone."""

    methods: MethodsText
    version: str


def _render(template: str, page: ParticipantPage | GroupPage | MethodsPage) -> str:
    explored = getattr(page, "explorer", None) is not None
    css = "".join(map(asset, (*_STYLES, *(("explore.css",) if explored else ()))))
    js = asset("report.js") + (library() + asset("explore.js") if explored else "")
    return (
        _environment()
        .get_template(template)
        .render(
            page=page,
            css=Markup(css),  # noqa: S704 - package resource, no text from datasets
            js=Markup(js),  # noqa: S704
            policy=content_policy(css, js),
            caveat=CAVEAT,
        )
    )


def asset(name: str) -> str:
    """Return a file of the template folder."""
    return files("bids_alps").joinpath("resources", "templates", name).read_text(encoding="utf-8")


@cache
def library() -> str:
    """Return the strict basic bundle of Plotly.js, which needs no ``unsafe-eval``; MIT license, included."""
    return files("bids_alps").joinpath("resources", "vendor", "plotly-basic.min.js").read_text(encoding="utf-8") + "\n"


def content_policy(css: str, js: str) -> str:
    """Return a content security policy that allows only this style, this script and embedded images.

    An empty style sheet is allowed too: Plotly.js creates one and inserts its rules by script.
    """
    style, empty, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, "", js))
    return (
        f"default-src 'none'; img-src data: blob:; style-src 'sha256-{style}' 'sha256-{empty}'; "
        f"script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bids_alps", "resources/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, words=words, unit=unit, limit=limit)
    environment.globals.update(status_words=STATUS_WORDS, scale_of=IndexScale)
    return environment


def number(value: float, digits: int = 3) -> str:
    """Return a number formatted for display.

    Examples
    --------
    >>> number(1.60132), number(float("nan")), number(0.00061), number(12.0)
    ('1.60', 'n/a', '0.00061', '12')
    """
    value = float(value)
    if not math.isfinite(value):
        return "n/a"
    if value and abs(value) < 10 ** (1 - digits):
        return f"{value:.2g}"
    text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return f"{value:.{digits - 1}f}" if 1 <= abs(value) < 10 and value != int(value) else text


def words(name: str) -> str:
    """Return a name in snake case as words: ``v1_angle`` becomes ``V1 angle``.

    Examples
    --------
    >>> words("off_tract_fraction"), words("fa_projection_left")
    ('Off-tract fraction', 'FA projection left')
    """
    if name in _NAMES:
        return _NAMES[name]
    known = {"fa", "md", "ad", "rd", "v1", "snr", "alps", "roi", "fd", "b0", "se"}
    spelled = [word.upper() if word.lower() in known else word for word in name.replace("_", " ").split()]
    text = " ".join(spelled)
    return text[:1].upper() + text[1:]


def unit(name: str) -> str:
    """Return a unit with the space that separates it from a number."""
    return _UNITS.get(name, f" {name}")


def limit(check: Check, threshold: float) -> str:
    """Return a threshold in words, such as ``above 25``, ``outside 0.9 to 2``; a dash if there is none."""
    if not math.isfinite(threshold):
        return "–"
    if check.direction != "outside":
        return f"{check.direction} {threshold:g}"
    middle = THRESHOLDS[check.name].middle if check.name in THRESHOLDS else 0.0
    return f"outside {middle - threshold:.4g} to {middle + threshold:.4g}"


class IndexScale:
    """Axis of the index that covers the reference range and all values.

    Parameters
    ----------
    values
        Values to show.
    reference
        Reference range, if there is one.

    Examples
    --------
    >>> scale = IndexScale((), Reference(mean=1.5, sd=0.25, source="nobody"))
    >>> scale.ticks
    (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2)
    """

    width = _WIDTH

    def __init__(self, values: tuple[IndexValue, ...], reference: Reference | None) -> None:
        shown: list[Any] = [0.8, 2.2]
        if reference is not None:
            shown += [reference.mean - 2 * reference.sd, reference.mean + 2 * reference.sd]
        for value in values:
            shown += [value.alps, value.low, value.high]
        finite = [float(value) for value in shown if math.isfinite(value)]
        self.low = math.floor(max(min(finite), -5) * 5) / 5
        self.high = math.ceil(min(max(finite), 10) * 5) / 5
        step = 0.2 if self.high - self.low <= 3 else 1.0
        count = round((self.high - self.low) / step)
        self.ticks = tuple(round(self.low + n * step, 1) for n in range(count + 1))

    def at(self, value: float) -> float:
        """Return the position of a value, from 0 to `width`, clipped at the ends."""
        share = (value - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0) * self.width, 1)
