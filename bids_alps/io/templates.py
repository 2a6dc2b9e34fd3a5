"""Templates: one that comes with nilearn, and every other through TemplateFlow."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bids_alps.errors import TemplateMissingError
from bids_alps.io.images import read_map
from bids_alps.model import Array, SpatialMap
from bids_alps.registration.base import Template

BUILT_IN = "MNI152NLin2009aSym"
"""Fonov 2011, doi 10.1016/j.neuroimage.2010.07.033; symmetric, so that it puts no bias into left against right."""


@cache
def read_template(name: str = BUILT_IN) -> Template:
    """Return a template by its TemplateFlow identifier.

    Raises
    ------
    TemplateMissingError
        If it is not built in, not in the cache, and cannot be fetched.
    """
    return _read_built_in() if name == BUILT_IN else _read_templateflow(name)


def _read_built_in() -> Template:
    spec = find_spec("nilearn")  # found, not imported: importing it takes seconds
    if spec is None or spec.origin is None:
        raise TemplateMissingError(BUILT_IN, "the package nilearn is not installed", "pip install nilearn")
    folder = Path(spec.origin).parent / "datasets" / "data"
    t1w, gm, wm = (
        read_map(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") for kind in ("t1", "gm", "wm")
    )
    return _template(BUILT_IN, t1w, gm.like(gm.data / 255), wm.like(wm.data / 255), t1w.data > 0)


def _template(name: str, t1w: SpatialMap, gm: SpatialMap, wm: SpatialMap, mask: Array) -> Template:
    csf = np.clip(1 - gm.data - wm.data, 0, 1) * np.asarray(mask)
    return Template(name=name, t1w=t1w, gm=gm, wm=wm, csf=t1w.like(csf.astype(np.float32)), mask=t1w.like(mask))


def _read_templateflow(name: str) -> Template:
    t1w = read_map(_fetch(name, suffix="T1w", desc=None))
    mask = read_map(_fetch(name, suffix="mask", desc="brain"))
    gm = read_map(_fetch(name, suffix="probseg", label="GM"))
    wm = read_map(_fetch(name, suffix="probseg", label="WM"))
    return _template(name, t1w, gm, wm, mask.data > 0.5)


def find_transform(*, template: str, source: str) -> Path | None:
    """Return TemplateFlow's file that resamples images of `source` onto `template`, if there is one to be had."""
    from templateflow import api

    try:
        found = api.get(template, suffix="xfm", mode="image", extension=".h5", **{"from": source})
    except Exception:  # noqa: BLE001 -- without a network it fails in ways that share no base class
        return None
    paths = [Path(path) for path in (found if isinstance(found, list) else [found])]
    return next((path for path in paths if path.exists() and path.stat().st_size), None)


def _fetch(name: str, **query: str | None) -> Path:
    """Return the 1 mm file of a template, from the cache or the network."""
    from templateflow import api  # reads its index when imported, which only other templates need

    wanted = ", ".join(f"{key} {value}" for key, value in query.items() if value)
    remedy = f"fetch it where there is a network: python -m templateflow get {name}; then set TEMPLATEFLOW_HOME"
    try:
        found = api.get(name, resolution=1, extension=".nii.gz", raise_empty=True, **query)
    except Exception as error:  # its ways to fail without a network share no base class
        raise TemplateMissingError(name, f"no {wanted} ({type(error).__name__}: {error})", remedy) from error
    path = Path(found[0] if isinstance(found, list) else found)
    if not path.exists() or path.stat().st_size == 0:
        raise TemplateMissingError(name, f"{wanted} is not in the cache", remedy)
    return path
