"""Templates: the built-in one, those of TemplateFlow, and the user's own files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_fill_holes

from bids_alps.errors import ImageError, NoInputError, TemplateMissingError, UsageError
from bids_alps.io.images import read_map
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, stem_of
from bids_alps.model import Array, SpatialMap, SubjectMaps, Template
from bids_alps.numerics.tissue_contrast import csf_fraction, white_matter

BUILT_IN = "MNI152NLin2009aSym"
"""Fonov 2011, doi 10.1016/j.neuroimage.2010.07.033; symmetric, so that it does not bias left-right differences."""

_RESOLUTIONS = ("_res-01", "_res-1", "", "_res-02", "_res-2")
_ENDINGS = {
    "t1w": "_T1w",
    "t2w": "_T2w",
    "mask": "_desc-brain_mask",
    "gm": "_label-GM_probseg",
    "wm": "_label-WM_probseg",
    "csf": "_label-CSF_probseg",
    "fa": "_FA",
    "md": "_MD",
}
_NEEDED = {"mask": {"suffix": "mask", "desc": "brain"}} | {
    label.lower(): {"suffix": "probseg", "label": label} for label in ("GM", "WM")
}
_TISSUE_MD = 0.8e-3  # mm^2/s, if a template has no MD map


def template_label(template: str) -> str:
    """Return the name of a template in files and tables.

    Parameters
    ----------
    template
        TemplateFlow name, or a path with a slash: a folder, or an FA map.

    Raises
    ------
    NoInputError
        If the path does not exist.
    UsageError
        If the files of the folder do not have a common ``tpl-`` label.

    Examples
    --------
    >>> template_label("MNIInfant+1"), template_label("MNI152NLin6Asym")
    ('MNIInfant+1', 'MNI152NLin6Asym')
    """
    if not _is_path(template):
        return template
    path = Path(template)
    if path.is_file():
        named = entities_of(path.name)
        stem = stem_of(path.name)
        return named.get("tpl", named.get("space", re.sub(r"[^a-zA-Z0-9]", "", stem)))
    if not path.is_dir():
        raise NoInputError(f"--template {template}", "no such file or folder", "give a name, a folder or an FA map")
    labels = sorted({entities_of(image.name).get("tpl", "") for image in path.glob("tpl-*.nii*")})
    if len(labels) != 1:
        found = f"files of {' and '.join(labels)}" if labels else "no image named tpl-<label>_..."
        raise UsageError(f"--template {template}", found, "name the files of one template as TemplateFlow does")
    return labels[0]


def _is_path(template: str) -> bool:
    return os.sep in template or template.endswith(IMAGE_EXTENSIONS)


def find_template(template: str) -> dict[str, Path]:
    """Return the files of a template by kind; empty for the built-in one.

    TemplateFlow files are read from its cache (``TEMPLATEFLOW_HOME``), and downloaded if needed. A cohort is given
    after a plus sign, as in ``MNIInfant+1``.

    Raises
    ------
    TemplateMissingError
        If a required file is not in the cache and cannot be downloaded.
    NoInputError
        If the user's own template lacks a required file.
    """
    if template == BUILT_IN:
        return {}
    if template.endswith(IMAGE_EXTENSIONS):
        template_label(template)
        return {"fa": Path(template)}
    name, _, cohort = template_label(template).partition("+")
    prefix = f"tpl-{name}" + (f"_cohort-{cohort}" if cohort else "")
    folder = (
        Path(template)
        if _is_path(template)
        else template_cache() / f"tpl-{name}" / (f"cohort-{cohort}" if cohort else "")
    )
    found = {}
    for kind, ending in _ENDINGS.items():
        # highest resolution first; empty files are placeholders of the TemplateFlow cache
        named = (folder / f"{prefix}{res}{ending}{extension}" for res in _RESOLUTIONS for extension in IMAGE_EXTENSIONS)
        if (path := next((path for path in named if path.is_file() and path.stat().st_size), None)) is not None:
            found[kind] = path
    missing = [] if "fa" in found else [kind for kind in _NEEDED if kind not in found]
    if missing and _is_path(template):
        names = ", ".join(f"{prefix}{_ENDINGS[kind]}.nii.gz" for kind in missing)
        raise NoInputError(f"--template {template}", f"no {names}", f"give these, or an FA map {prefix}_FA.nii.gz")
    return found | {kind: _download(template, name, cohort, _NEEDED[kind]) for kind in missing}


def template_cache() -> Path:
    """Return TemplateFlow's cache."""
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow")


def _download(template: str, name: str, cohort: str, query: dict[str, str]) -> Path:
    """Download a file of a template from TemplateFlow."""
    description = ", ".join(f"{key} {value}" for key, value in query.items())
    command = f"templateflow get {name} --res 1" + (f" --cohort {cohort}" if cohort else "")
    remedy = f"download it on a machine with network: {command}; then set TEMPLATEFLOW_HOME"
    try:
        from templateflow import api  # imported here, since importing it reads its index

        filters = {**query, **({"cohort": cohort} if cohort else {})}
        found = api.get(name, resolution=1, extension=".nii.gz", raise_empty=True, **filters)
    except Exception as error:  # network errors have no common base class
        raise TemplateMissingError(
            f"--template {template}",
            f"not in the cache, and cannot be downloaded: {description} ({type(error).__name__}: {error})",
            remedy,
        ) from error
    path = Path(found[0] if isinstance(found, list) else found)
    if not path.exists() or path.stat().st_size == 0:
        raise TemplateMissingError(f"--template {template}", f"not in the cache: {description}", remedy)
    return path


@cache
def read_template(template: str = BUILT_IN) -> Template:
    """Read a template by its TemplateFlow identifier or from own files; also raises the errors of `find_template`.

    Raises
    ------
    ImageError
        If an FA map has values outside 0 to 1, or the images of a template have different grids.
    """
    files, name = find_template(template), template_label(template)
    if not files:
        folder, kinds = Path(__file__).parents[1] / "resources" / "brain", ("t1w", "gm", "wm")
        t1w, gm, wm = (read_map(folder / f"tpl-{BUILT_IN}_res-1{_ENDINGS[kind]}.nii.gz") for kind in kinds)
        # tissue probabilities are stored as integers 0 to 255
        return _template(BUILT_IN, t1w, gm.like(gm.data / 255), wm.like(wm.data / 255), t1w.data > 0)
    maps = {kind: read_map(path) for kind, path in files.items()}
    grid = maps.get("wm", maps.get("fa"))
    for kind, image in maps.items():
        if grid is None or not image.same_grid(grid):
            raise ImageError(str(files[kind]), "a grid different from the other images", "resample them to one grid")
    if "wm" not in maps:
        return _from_diffusion(name, maps, files["fa"])
    mask = maps["mask"].data > 0.5
    anatomy = maps.get("t1w", maps.get("t2w", maps["wm"]))
    result = _template(name, anatomy, maps["gm"], maps["wm"], mask)
    return replace(result, csf=maps["csf"]) if "csf" in maps else result


def _from_diffusion(name: str, maps: dict[str, SpatialMap], path: Path) -> Template:
    """Return a template from an FA map, and an MD map (mm^2/s) if there is one, which identifies CSF."""
    fa = maps["fa"]
    if not (np.isfinite(fa.data).all() and fa.data.min() >= 0 and fa.data.max() <= 1):
        raise ImageError(str(path), f"FA from {fa.data.min():g} to {fa.data.max():g}", "give FA from 0 to 1")
    mask = maps["mask"].data > 0.5 if "mask" in maps else binary_fill_holes(fa.data > 0)
    md = maps.get("md", fa.like(np.where(mask, np.float32(_TISSUE_MD), np.float32(0))))
    subject = SubjectMaps(fa=fa, md=md, b0=fa, mask=fa.like(mask))
    wm, csf = white_matter(subject), csf_fraction(subject)
    gm = np.clip(mask - wm.data - csf.data, 0, 1).astype(np.float32)
    return Template(name=name, t1w=fa, gm=fa.like(gm), wm=wm, csf=csf, mask=fa.like(mask))


def _template(name: str, t1w: SpatialMap, gm: SpatialMap, wm: SpatialMap, mask: Array) -> Template:
    csf = np.clip(1 - gm.data - wm.data, 0, 1) * np.asarray(mask)
    return Template(name=name, t1w=t1w, gm=gm, wm=wm, csf=t1w.like(csf.astype(np.float32)), mask=t1w.like(mask))


def find_transform(*, template: str, source: str) -> Path | None:
    """Return TemplateFlow's file that resamples images of `source` onto `template`, if there is one."""
    cached = template_cache() / f"tpl-{template}" / f"tpl-{template}_from-{source}_mode-image_xfm.h5"
    if cached.is_file() and cached.stat().st_size:
        return cached
    try:
        from templateflow import api

        found = api.get(template, suffix="xfm", mode="image", extension=".h5", **{"from": source})
    except Exception:  # noqa: BLE001 -- network errors have no common base class
        return None
    paths = [Path(path) for path in (found if isinstance(found, list) else [found])]
    return next((path for path in paths if path.exists() and path.stat().st_size), None)
