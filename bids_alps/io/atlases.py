"""Atlases: a label image or probability maps, with a table of region names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_alps.errors import AmbiguityError, ImageError, MetadataError, NoInputError, TemplateMissingError, UsageError
from bids_alps.io.images import read_volumes
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, stem_of
from bids_alps.io.tables import read_table
from bids_alps.io.templates import template_cache
from bids_alps.model import SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Regions in template space.

    Parameters
    ----------
    label
        Label in file names, letters and digits.
    image
        Labels, shape (i, j, k), 0 for background; or probabilities 0 to 1, shape (i, j, k, n), of regions 1 to n.
    names
        Names of regions by index.
    """

    label: str
    image: SpatialMap
    names: Mapping[int, str]

    @property
    def is_probabilistic(self) -> bool:
        """Whether it has a volume of probabilities for each region."""
        return self.image.data.ndim == 4


def atlas_label(name: str) -> str:
    """Return the label of an atlas in file names: its ``atlas`` or ``seg`` entity, else its letters and digits.

    Examples
    --------
    >>> [atlas_label(name) for name in ("HOSPA:th25", "my/basal_ganglia.nii.gz", "tpl-X_atlas-HOSPA_dseg.nii.gz")]
    ['HOSPAth25', 'basalganglia', 'HOSPA']
    """
    stem = stem_of(Path(name).name)
    entity = re.search(r"(?:^|_)(?:atlas|seg)-([a-zA-Z0-9]+)", stem)
    desc = re.search(r"_desc-([a-zA-Z0-9]+)", stem)
    return entity[1] + (desc[1] if desc else "") if entity else re.sub(r"[^a-zA-Z0-9]", "", stem)


def find_atlases(
    names: tuple[str, ...], *, template: str, threshold: float, reserved: tuple[str, ...] = ()
) -> list[tuple[Path, Path]]:
    """Return the image and the table of each atlas (see `find_atlas`), with distinct labels.

    Parameters
    ----------
    names, template
        See `find_atlas`.
    threshold
        Minimum fraction of a voxel in a region, or minimum probability.
    reserved
        Labels that other files already use.

    Raises
    ------
    UsageError
        If two of them have the same label, or the threshold is not a fraction.
    """
    if not 0 < threshold <= 1:
        raise UsageError("--atlas-threshold", f"{threshold:g}", "give a fraction above 0, up to 1")
    labels = [atlas_label(name) for name in names]
    for name, label in zip(names, labels, strict=True):
        if not label or label in ("alps", *reserved) or labels.count(label) > 1:
            raise UsageError(f"--atlas {name}", f"its files would be named seg-{label}", "rename the atlas")
    return [find_atlas(name, template=template) for name in names]


def find_atlas(name: str, *, template: str) -> tuple[Path, Path]:
    """Return the image and the table of an atlas.

    Parameters
    ----------
    name
        A file with a table of the same name (``.tsv``), or the TemplateFlow name of an atlas, with its ``desc`` after a
        colon if there are several, such as ``HOSPA:th25``.
    template
        Space of a TemplateFlow atlas.

    Raises
    ------
    NoInputError
        If the file or its table does not exist.
    TemplateMissingError
        If it is not in the TemplateFlow cache.
    AmbiguityError
        If the cache has several of that name.
    """
    path = Path(name)
    if not name.endswith(IMAGE_EXTENSIONS):
        return _find_cached(name, template)
    if not path.is_file():
        raise NoInputError(f"--atlas {name}", "no such file", "give an image, or the TemplateFlow name of an atlas")
    table = path.with_name(f"{stem_of(path.name)}.tsv")
    if not table.is_file():
        raise NoInputError(
            f"--atlas {name}", f"no table {table.name} next to it", "write one with the columns index and name"
        )
    return path, table


def _find_cached(name: str, template: str) -> tuple[Path, Path]:
    """Find an atlas in the TemplateFlow cache; it is not downloaded, so that no run waits for the network."""
    atlas, _, desc = name.partition(":")
    home = template_cache()
    folder = home / f"tpl-{template}"
    pattern = re.compile(rf"_(?:atlas|seg)-{re.escape(atlas)}_")
    files = [path for path in sorted(folder.glob("*_dseg.*")) if pattern.search(path.name) and path.stat().st_size]
    images = [path for path in files if path.name.endswith(".nii.gz") and (not desc or f"_desc-{desc}_" in path.name)]
    # TemplateFlow has atlases at several resolutions: the finest
    finest = [path for path in images if "_res-01_" in path.name or "_res-1_" in path.name] or images
    tables = [path for path in files if path.suffix == ".tsv"]
    # one table may serve all variants of an atlas
    tables = [path for path in tables if desc and f"_desc-{desc}_" in path.name] or tables
    for kind, matches in (("image", finest), ("table", tables)):
        if not matches:
            raise TemplateMissingError(
                f"--atlas {name}",
                f"no {kind} of it for {template} in {home}",
                "choose the --template of the atlas, or download it: "
                f'python -c \'from templateflow.api import get; get("{template}", atlas="{atlas}")\'',
            )
        if len(matches) > 1:
            raise AmbiguityError(
                f"--atlas {name}",
                f"{len(matches)} {kind}s: {', '.join(path.name for path in matches)}",
                "give NAME:DESC",
            )
    return finest[0], tables[0]


def read_atlas(name: str, *, template: str) -> Atlas:
    """Read an atlas; raises the errors of `find_atlas`, and the following.

    Raises
    ------
    ImageError
        If labels are not integers, or probabilities not between 0 and 1.
    MetadataError
        If the table lacks a column or a label, or has a label twice.
    """
    path, table = find_atlas(name, template=template)
    image, names = read_volumes(path), _read_names(table)
    data = image.data
    if data.shape[3] > 1:
        if not (np.isfinite(data).all() and data.min() >= 0 and data.max() <= 1):
            raise ImageError(str(path), "values outside 0 to 1", "give one probability map per region")
        # a volume without a name, or a name without a volume
        lacking = set(range(1, data.shape[3] + 1)) ^ set(names)
    else:
        if not (np.isfinite(data).all() and data.min() >= 0 and (data == np.rint(data)).all()):
            raise ImageError(str(path), "labels that are not integers >= 0", "give a label image")
        image = image.like(data[..., 0].astype(np.int32))
        lacking = {int(label) for label in np.unique(image.data)} - {0} - set(names)
    if lacking:
        raise MetadataError(
            str(table),
            f"does not fit the image in {len(lacking)} regions (first: {min(lacking)})",
            "name each label, or each volume by its number from 1",
        )
    return Atlas(label=atlas_label(name), image=image, names=names)


def _read_names(table: Path) -> dict[int, str]:
    content = read_table(table)
    if not {"index", "name"} <= set(content.columns):
        raise MetadataError(str(table), f"columns {', '.join(content.columns)}", "give the columns index and name")
    try:
        pairs = [(int(index), str(label)) for index, label in zip(content["index"], content["name"], strict=True)]
    except ValueError as error:
        raise MetadataError(str(table), f"an index that is not an integer ({error})", "number the regions") from error
    names = {index: label for index, label in pairs if index != 0}
    if len(dict(pairs)) < len(pairs):
        raise MetadataError(str(table), "an index appears twice", "list each region once")
    return names
