"""ROI presets that come with the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from bids_alps.errors import UsageError
from bids_alps.io.templates import find_transform
from bids_alps.model import REGIONS, SIDES, Conventions, RoiPreset
from bids_alps.registration.precomputed import read_itk_transform

Centres = Mapping[str, tuple[float, float, float]]


@cache
def _entries() -> dict[str, Any]:
    return tomllib.loads(files("bids_alps.resources").joinpath("rois.toml").read_text("utf-8"))


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_entries())


def conventions_of(name: str) -> Conventions:
    """Return how the index of a preset is measured; ``anatomical`` for names that no preset has."""
    conventions: Conventions = _entries().get(name, {}).get("conventions", "anatomical")
    return conventions


def read_preset(name: str, *, template: str | None = None, radius_mm: float | None = None) -> RoiPreset:
    """Return a preset, as spheres of another radius where one is asked for.

    Parameters
    ----------
    name
        Its name.
    template
        Template that it is wanted in (its own where None): centres that the preset lists for it, else its own carried
        there by TemplateFlow's transform.
    radius_mm
        Radius of spheres about the same centres.

    Raises
    ------
    UsageError
        If there is no preset of that name, none of its centres can be carried to the template, or the radius is not
        between 0 and 20 mm.
    """
    if name not in _entries():
        raise UsageError("--rois", f"no preset named {name!r}", f"choose one of {', '.join(_entries())}")
    if radius_mm is not None and not 0 < radius_mm <= 20:
        raise UsageError("--roi-radius", f"{radius_mm:g} mm", "give a radius above 0 and up to 20 mm")
    entry = _entries()[name]
    template = template or entry["template"]
    x_mm, y_mm, z_mm = entry["semi_axes_mm"]
    preset = RoiPreset(
        name=name,
        template=template,
        centres=_centres_in(template, name, entry),
        semi_axes_mm=(x_mm, y_mm, z_mm),
        conventions=conventions_of(name),
        **{key: entry[key] for key in ("version", "citation", "doi")},
    )
    return preset if radius_mm is None else replace(preset, semi_axes_mm=(radius_mm,) * 3)


def _centres_in(template: str, name: str, entry: Mapping[str, Any]) -> Centres:
    """Return the centres of a preset in a template."""
    known = {entry["template"]: entry["centres"], **entry.get("carried", {})}
    if template in known:
        return _both_sides(known[template])
    for space, centres in known.items():
        path = find_transform(template=space, source=template)
        if path is not None:
            carry = read_itk_transform(path)  # resamples images of `template` onto `space`: maps points the other way
            return {
                roi: tuple(float(value) for value in carry(np.array([centre]))[0])  # type: ignore[misc]
                for roi, centre in _both_sides(centres).items()
            }
    raise UsageError(
        f"--rois {name}",
        f"its centres are known in {' and '.join(known)}, and TemplateFlow has no transform from there to {template}",
        f"choose --template {entry['template']}, or fetch the transform where there is a network",
    )


def _both_sides(centres: Mapping[str, Any]) -> Centres:
    """Return centres by region and side, of which the right ones are listed."""
    return {
        f"{region}_{side}": (float(sign * x), float(y), float(z))
        for side, sign in zip(SIDES, (-1, 1), strict=True)
        for region in REGIONS
        for x, y, z in [centres[region]]
    }
