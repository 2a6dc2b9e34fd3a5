"""ROI presets that come with the package."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from bids_alps.errors import UsageError
from bids_alps.model import REGIONS, SIDES, RoiPreset


@cache
def _entries() -> dict[str, Any]:
    return tomllib.loads(files("bids_alps.resources").joinpath("rois.toml").read_text("utf-8"))


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_entries())


def read_preset(name: str, *, radius_mm: float | None = None) -> RoiPreset:
    """Return a preset, as spheres of another radius where one is asked for.

    Raises
    ------
    UsageError
        If there is no preset of that name, or the radius is not between 0 and 20 mm.
    """
    if name not in _entries():
        raise UsageError("--rois", f"no preset named {name!r}", f"choose one of {', '.join(_entries())}")
    if radius_mm is not None and not 0 < radius_mm <= 20:
        raise UsageError("--roi-radius", f"{radius_mm:g} mm", "give a radius above 0 and up to 20 mm")
    entry = _entries()[name]
    centres = {
        f"{region}_{side}": (float(sign * x), float(y), float(z))
        for side, sign in zip(SIDES, (-1, 1), strict=True)
        for region in REGIONS
        for x, y, z in [entry["centres"][region]]
    }
    x_mm, y_mm, z_mm = entry["semi_axes_mm"]
    fields = {key: entry[key] for key in ("version", "template", "citation", "doi")}
    preset = RoiPreset(name=name, centres=centres, semi_axes_mm=(x_mm, y_mm, z_mm), **fields)
    return preset if radius_mm is None else replace(preset, semi_axes_mm=(radius_mm,) * 3)
