"""ROI presets: those of the package, and label images."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.errors import ImageError, MetadataError, UsageError, did_you_mean
from bids_alps.io.atlases import atlas_label
from bids_alps.io.images import read_map
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of
from bids_alps.io.tables import read_table
from bids_alps.io.templates import find_transform
from bids_alps.io.transforms import read_itk_transform
from bids_alps.model import REGIONS, SIDES, Array, Conventions, Ellipsoid, RoiPreset, SpatialMap, same_shape

Centers = Mapping[str, tuple[float, float, float]]
_ROIS = tuple(f"{region}_{side}" for region in REGIONS for side in SIDES)


@cache
def _entries() -> dict[str, Any]:
    return tomllib.loads(files("bids_alps.resources").joinpath("rois.toml").read_text("utf-8"))


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_entries())


def conventions_of(name: str) -> Conventions:
    """Return the conventions of a preset; ``anatomical`` for other names."""
    return _entries().get(name, {}).get("conventions", "anatomical")


def read_presets(
    names: tuple[str, ...], *, template: str | None = None, radius_mm: float | None = None
) -> tuple[RoiPreset, ...]:
    """Return several presets (see `read_preset`), with distinct labels.

    Raises
    ------
    UsageError
        If two of them have the same label.
    """
    labels = preset_labels(names)
    for name, label in zip(names, labels, strict=True):
        if not label or labels.count(label) > 1:
            raise UsageError(
                f"--rois {name}", f"its files would be called seg-{label}", "give each once, with different names"
            )
    return tuple(read_preset(name, template=template, radius_mm=radius_mm) for name in names)


def preset_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels of presets in file names.

    Examples
    --------
    >>> preset_labels(("alps", "alps.sh", "mine/tpl-X_seg-drawn_dseg.nii.gz"))
    ('alps', 'alpssh', 'drawn')
    """
    return tuple(map(atlas_label, names))


def read_preset(name: str, *, template: str | None = None, radius_mm: float | None = None) -> RoiPreset:
    """Return a preset or a label image, or spheres of another radius at its centers.

    Parameters
    ----------
    name
        Name of a preset, or path of a label image in template space, with a table (see `definition_files`).
    template
        Template (the preset's own if None): with centers listed in the preset, or transformed by a TemplateFlow
        transform.
    radius_mm
        Radius of spheres around the same centers.

    Raises
    ------
    UsageError
        If the preset does not exist, its centers cannot be transformed to the template, or the radius is not between 0
        and 20 mm.
    NoInputError
        If the label image or its table does not exist.
    BadDataError
        If they cannot be used.
    """
    if radius_mm is not None and not 0 < radius_mm <= 20:
        raise UsageError("--roi-radius", f"{radius_mm:g} mm", "give a radius above 0 and up to 20 mm")
    if name.endswith(IMAGE_EXTENSIONS):
        manual = _read_label_image(Path(name), template)
        return manual if radius_mm is None else manual.with_radius(radius_mm)
    if name not in _entries():
        hint = f"choose one of {', '.join(preset_names())}, or give a label image (.nii.gz)"
        raise UsageError("--rois", f"no preset named {name!r}{did_you_mean(name, preset_names())}", hint)
    entry = _entries()[name]
    template = template or entry["template"]
    preset = RoiPreset(
        name=name,
        template=template,
        centers=_centers_in(template, name, entry),
        shapes=_shapes_of(entry),
        conventions=conventions_of(name),
        **{key: entry[key] for key in ("version", "citation", "doi")},
    )
    return preset if radius_mm is None else preset.with_radius(radius_mm)


def _shapes_of(entry: Mapping[str, Any]) -> dict[str, Ellipsoid]:
    """Return the shape of each region: a radius for spheres, or three semi-axes and a tilt for each."""
    if "radius_mm" in entry:
        return same_shape((float(entry["radius_mm"]),) * 3)
    shapes: dict[str, Ellipsoid] = {}
    for region in REGIONS:
        x_mm, y_mm, z_mm = entry["semi_axes_mm"][region]
        shapes[region] = Ellipsoid(semi_axes_mm=(x_mm, y_mm, z_mm), lean=entry.get("lean", {}).get(region, 0.0))
    return shapes


def definition_files(name: str) -> tuple[Path, ...]:
    """Return the files that define a ROI set: a label image and its table; empty for a preset of the package.

    Examples
    --------
    >>> [path.name for path in definition_files("mine_dseg.nii.gz")]
    ['mine_dseg.nii.gz', 'mine_dseg.tsv']
    """
    suffix = next((suffix for suffix in IMAGE_EXTENSIONS if name.endswith(suffix)), None)
    return () if suffix is None else (Path(name), Path(name.removesuffix(suffix) + ".tsv"))


def _read_label_image(path: Path, template: str | None) -> RoiPreset:
    """Return the regions of a label image and its table."""
    named = entities_of(path.name)
    space = named.get("space", named.get("tpl", template))
    if template is not None and space != template:
        raise UsageError(f"--rois {path}", f"in {space} by its name", f"choose --template {space}")
    labels, centers, extent_mm = _read_regions(path, definition_files(str(path))[1])
    for roi, (x, _, _) in centers.items():
        if (x < 0) != roi.endswith("_left"):
            raise ImageError(str(path), f"{roi} is at x = {x:.1f} mm", "left is x < 0 in the template")
    return RoiPreset(
        name=path.name,
        version="",
        citation="",
        doi="",
        template=template or space or "",
        centers=centers,
        shapes=same_shape(extent_mm),
        label_image=labels,
    )


def with_manual_rois(preset: RoiPreset, files: tuple[Path, Path], mask: SpatialMap, rotation: Array) -> RoiPreset:
    """Return a preset with manual ROIs, drawn in a scan.

    Parameters
    ----------
    preset
        Preset whose name and conventions are kept.
    files
        Label image and its table.
    mask
        Any image on the grid of the scan.
    rotation
        Rotation from world axes of the scan to template axes, shape (3, 3).

    Raises
    ------
    BadDataError
        If the image has another grid, lacks a region, or has left and right swapped.
    """
    path, table = files
    labels, centers, extent_mm = _read_regions(path, table)
    if not labels.same_grid(mask):
        raise ImageError(
            str(path),
            f"shape {labels.shape}, or another position than the scan of {mask.shape}",
            "draw the regions on the grid of the scan",
        )
    for region in REGIONS:
        # from left to right is +x of the template, however the head is rotated in the scan
        across = np.subtract(centers[f"{region}_right"], centers[f"{region}_left"])
        if (rotation @ across)[0] <= 0:
            raise ImageError(str(path), f"{region}_left is to the right of {region}_right", "swap their labels")
    return replace(preset, centers=centers, shapes=same_shape(extent_mm), label_image=labels, native=True)


def _read_regions(path: Path, table: Path) -> tuple[SpatialMap, Centers, tuple[float, float, float]]:
    """Return a label image with values as in `RoiPreset.label_image`, the centers and the extent of the regions, mm."""
    image, indices = read_map(path), _read_indices(table)
    values = np.zeros(image.shape, dtype=np.uint8)
    centers, extent = {}, np.zeros(3)
    for value, roi in enumerate(_ROIS, start=1):
        voxels = np.argwhere(image.data == indices[roi])
        if not len(voxels):
            raise ImageError(str(path), f"no voxel of {roi} ({indices[roi]})", "compare the image with its table")
        values[tuple(voxels.T)] = value
        points = image.world(voxels)
        x, y, z = points.mean(axis=0)
        centers[roi] = (float(x), float(y), float(z))
        extent = np.maximum(extent, np.abs(points - points.mean(axis=0)).max(axis=0))
    x, y, z = (
        float(length) for length in extent + np.abs(image.affine[:3, :3]).sum(axis=1) / 2
    )  # half a voxel more, to the edges
    return image.like(values), centers, (x, y, z)


def _read_indices(path: Path) -> dict[str, int]:
    """Return the labels of the regions from a table with the columns ``index`` and ``name``."""
    table = read_table(path)
    if not {"index", "name"} <= set(table.columns):
        raise MetadataError(str(path), "no columns index and name", "write them as in a BIDS _dseg.tsv")
    labels = dict(zip(table["name"].astype(str), table["index"].tolist(), strict=True))
    missing = [roi for roi in _ROIS if roi not in labels]
    if missing:
        raise MetadataError(str(path), f"no region named {', '.join(missing)}", "name all six regions")
    indices = {roi: labels[roi] for roi in _ROIS}
    valid = all(isinstance(index, int) and index > 0 for index in indices.values())
    if not valid or len(set(indices.values())) < len(_ROIS):
        raise MetadataError(str(path), f"indices {list(indices.values())}", "give each region a different integer > 0")
    return indices


def _centers_in(template: str, name: str, entry: Mapping[str, Any]) -> Centers:
    """Return the centers of a preset in a template."""
    known = {entry["template"]: entry["centers"], **entry.get("carried", {})}
    if template in known:
        return _both_sides(known[template])
    for space, centers in known.items():
        path = find_transform(template=space, source=template)
        if path is not None:
            transform_points = read_itk_transform(
                path
            )  # resamples images from `template` to `space`, so it maps points from `space` to `template`
            return {
                roi: tuple(float(value) for value in transform_points(np.array([center]))[0])  # type: ignore[misc]
                for roi, center in _both_sides(centers).items()
            }
    raise UsageError(
        f"--rois {name}",
        f"its centers are defined in {' and '.join(known)}, and TemplateFlow has no transform to {template}",
        f"choose --template {entry['template']}, or download the transform",
    )


def _both_sides(centers: Mapping[str, Any]) -> Centers:
    """Return centers by region and side; those of the right side are given, left ones mirrored."""
    return {
        f"{region}_{side}": (float(sign * x), float(y), float(z))
        for side, sign in zip(SIDES, (-1, 1), strict=True)
        for region in REGIONS
        for x, y, z in [centers[region]]
    }
