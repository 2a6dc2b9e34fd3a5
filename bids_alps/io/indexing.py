"""What pybids knows of participants of a dataset: their files, entities and sidecars.

pybids is asked for some participants at a time, so that a job for one does not pay for the others. Where pybids goes
wrong, this module and `inheritance` say so, each case has a test, and nothing else is done by hand.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from bids.layout import BIDSLayout, BIDSLayoutIndexer

from bids_alps.errors import InvalidBidsError, OutputError
from bids_alps.io.inheritance import (
    IMAGE_EXTENSIONS,
    TABLE_EXTENSIONS,
    Names,
    find_inherited,
    merge_sidecars,
    pybids_can_keep,
    remember_names,
    sidecars_of,
)

LOG = logging.getLogger(__name__)
DATATYPES = ("anat", "dwi", "fmap")
_NOT_READ = re.compile(rf"^/sub-[^/]+(/ses-[^/]+)?/(?!ses-|{'|'.join(f'{kind}(/|$)' for kind in DATATYPES)})[^/]*")
_NOT_DATA = re.compile("^/(code|models|sourcedata|stimuli)")
_ROOT_FILES = (".json", *TABLE_EXTENSIONS)
_DATABASE = "layout_index.sqlite"


class _InDataset:
    """An entity of pybids, looked for below the root of the dataset alone.

    pybids matches the whole path: in ``/data/dwi/study`` every file has the datatype ``dwi``, in ``/home/run-2`` the
    run 2.
    """

    def __init__(self, entity: Any, root: str) -> None:
        self._entity, self._root = entity, root

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entity, name)

    def match_file(self, file: Any) -> Any:
        return self._entity.match_file(SimpleNamespace(path=file.path.removeprefix(self._root)))


class _Indexer(BIDSLayoutIndexer):  # type: ignore[misc]
    """Indexes some participants, and the files at the root that may hold for them.

    pybids would look at the folder of every other participant to pass it over.
    """

    def __init__(self, participants: Sequence[str] | None, names: Names, **options: Any) -> None:
        super().__init__(validate=False, **options)
        self._participants, self._names = participants, names

    def _index_dir(self, path: Any, config: Any, force: Any = None) -> tuple[list[Any], list[Any]]:
        root = self._layout.root
        if self._participants is None or str(path) != root:
            return super()._index_dir(path, config, force=force)
        records, tags = [], []
        entities = {name: entity for one in config for name, entity in one.entities.items()}
        for name in sorted(self._names(Path(root))):
            if name.endswith(_ROOT_FILES):
                record, found = self._index_file(path / name, entities)
                records.append(record)
                tags += found
        for label in self._participants:
            below = super()._index_dir(path / f"sub-{label}", config)
            records, tags = records + below[0], tags + below[1]
        return records, tags

    def _index_file(self, abs_fn: Any, entities: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        inside = {name: _InDataset(entity, self._layout.root) for name, entity in entities.items()}
        return super()._index_file(abs_fn, inside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Participants of a dataset as pybids indexed them.

    Parameters
    ----------
    root
        Root of the dataset.
    layout
        The index of pybids.
    withheld
        Sidecars that pybids was not shown, since they would have ended its index.
    has_metadata
        Whether the index holds the content of sidecars.
    """

    root: Path
    layout: BIDSLayout
    names: Names
    withheld: frozenset[Path] = frozenset()
    has_metadata: bool = True

    def find(self, participant: str, **query: Any) -> list[Path]:
        """Return the images of a participant that a query of pybids finds, sorted by path."""
        query = {"subject": participant, "extension": list(IMAGE_EXTENSIONS), **query}
        found = (Path(path).relative_to(self.layout.root) for path in self.layout.get(return_type="filename", **query))
        return sorted(self.root / path for path in found if path.parts[0] == f"sub-{participant}")

    def metadata(self, image: Path) -> Mapping[str, Any]:
        """Return the metadata of an image, merged by the inheritance principle.

        pybids merges them, but where a sidecar that holds for the image was withheld from it, or where one folder
        holds two of them: it would merge both in the order in which the folder lists them.

        Raises
        ------
        AmbiguityError
            If two sidecars of one folder apply and neither is named just like the image.
        MetadataError
            If one of them is no JSON object.
        """
        levels = sidecars_of(image, self.root, self.names)
        alone = all(len(level) <= 1 for level in levels)
        shown = self.has_metadata and not self.withheld.intersection(path for level in levels for path in level)
        if alone and shown:
            return dict(self.layout.get_metadata(str(image.absolute())))
        return merge_sidecars(image, levels)

    def table(self, image: Path, extension: str) -> Path:
        """Return the ``.bval`` or ``.bvec`` of an image; `find_inherited` says why not by pybids, and its errors."""
        return find_inherited(image, extension, self.root, self.names)


@contextmanager
def open_index(
    root: Path, participants: Iterable[str], *, derivative: bool = False, database: Path | None = None
) -> Iterator[Index]:
    """Open the index of some participants of a dataset.

    Parameters
    ----------
    root
        Root of the dataset.
    participants
        Labels without ``sub-``.
    derivative
        Whether names may have the entities of derivatives.
    database
        Folder of a pybids database of the whole dataset, which is made where there is none; participants whose files
        are not those that it knows are indexed from the disk, with a warning.

    Raises
    ------
    InvalidBidsError
        If pybids cannot index it.
    OutputError
        If the database cannot be written.
    """
    labels = tuple(participants)
    index = None if database is None else _open_database(root, database, labels, derivative=derivative)
    index = index or _index(root, labels, derivative=derivative)
    try:
        yield index
    finally:
        _close(index.layout)


def _index(root: Path, labels: Sequence[str] | None, *, derivative: bool, database: Path | None = None) -> Index:
    """Return the index of participants (None: of everything); a sidecar that would end it is withheld from it."""
    names = remember_names(root)
    withheld: frozenset[Path] = frozenset()
    config = ["bids", "derivatives"] if derivative else ["bids"]
    for has_metadata in (True, True, False):
        hidden = [re.compile(f"^{re.escape('/' + path.relative_to(root).as_posix())}$") for path in sorted(withheld)]
        ignored = [_NOT_READ if labels else _NOT_DATA, *hidden]
        indexer = _Indexer(labels, names, ignore=ignored, index_metadata=has_metadata)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                layout = BIDSLayout(
                    root.absolute(),
                    validate=False,
                    config=config,
                    indexer=indexer,
                    database_path=database,
                    reset_database=database is not None,
                )
            return Index(root=root, layout=layout, names=names, withheld=withheld, has_metadata=has_metadata)
        except Exception as error:  # noqa: BLE001 -- pybids raises whatever comes to it from one malformed file
            withheld, last = frozenset(_find_unfit(root, labels)), error
    raise InvalidBidsError(str(root), f"pybids cannot index it ({last})", "run the BIDS validator on it") from last


def _find_unfit(root: Path, labels: Sequence[str] | None) -> Iterator[Path]:
    """Yield the sidecars that pybids must not see: its index ends at one that is malformed, or not there."""
    folders = sorted(root.glob("sub-*")) if labels is None else [root / f"sub-{label}" for label in labels]
    for path in sorted([*root.glob("*.json"), *(path for folder in folders for path in folder.rglob("*.json"))]):
        try:
            content = json.loads(path.read_text("utf-8"))  # as pybids reads it: no byte-order mark
        except (OSError, ValueError, RecursionError):
            content = None
        if not (isinstance(content, dict) and pybids_can_keep(content)):
            yield path


def _close(layout: BIDSLayout) -> None:
    layout.session.close()
    layout.connection_manager.engine.dispose()


def _open_database(root: Path, folder: Path, labels: Sequence[str], *, derivative: bool) -> Index | None:
    """Return the index that a database holds; None where it does not hold these participants as they are."""
    path = folder / _DATABASE
    if not path.is_file():
        _make_database(root, folder, derivative=derivative)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layout = BIDSLayout(root.absolute(), validate=False, database_path=folder)
    except Exception as error:  # noqa: BLE001 -- a file that is no database, or of another version of pybids
        LOG.warning("%s: cannot be opened as a pybids database (%s); the disk is read instead.", folder, error)
        return None
    index = Index(root=root, layout=layout, names=remember_names(root))
    stale = _why_stale(index, path.stat().st_mtime, labels)
    if not stale:
        return index
    LOG.warning("%s: %s; the disk is read instead. Remove the database to have it made again.", folder, stale)
    _close(layout)
    return None


def _why_stale(index: Index, written: float, labels: Sequence[str]) -> str:
    """Return why a database is not to be believed for some participants; empty where it is."""
    if Path(index.layout.root) != index.root.absolute():
        return f"the database is that of {index.layout.root}"
    if not index.layout.get_entities(metadata=True):
        return "the database holds no metadata"
    for label in labels:
        known, there = set(index.find(label, datatype=list(DATATYPES))), set(_list_images(index.root, label))
        if known != there:
            other = min(known ^ there)
            return f"the database is out of date: {other} is {'on disk' if other in there else 'in the database'} alone"
        newer = [path for path in _list_sidecars(index.root, label) if path.stat().st_mtime > written]
        if newer:
            return f"the database is out of date: {newer[0]} was changed since"
    return ""


def _list_images(root: Path, label: str) -> list[Path]:
    return [path for path in _list_files(root, label) if path.name.endswith(IMAGE_EXTENSIONS)]


def _list_sidecars(root: Path, label: str) -> list[Path]:
    return [path for path in _list_files(root, label) if path.suffix == ".json" and path.exists()]


def _list_files(root: Path, label: str) -> list[Path]:
    folder = root / f"sub-{label}"
    return sorted(
        path for below in (folder, *folder.glob("ses-*")) for kind in DATATYPES for path in (below / kind).glob("sub-*")
    )


def _make_database(root: Path, folder: Path, *, derivative: bool) -> None:
    """Make a database as other BIDS Apps do: of everything, with metadata; it appears when it is whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
            _close(_index(root, None, derivative=derivative, database=Path(scratch)).layout)
            (Path(scratch) / _DATABASE).replace(folder / _DATABASE)
    except OSError as error:
        raise OutputError(
            str(folder), f"no pybids database can be written ({error.strerror})", "choose another --bids-database-dir"
        ) from error
