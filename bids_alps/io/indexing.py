"""pybids index of participants of a dataset: their files, entities and sidecars.

Only the requested participants are indexed, so that a job for one does not read the whole dataset. This module and
`inheritance` deviate from pybids only where it fails; each case is documented and has a test.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    cached_names,
    find_inherited,
    merge_sidecars,
    pybids_can_keep,
    sidecars_of,
)

LOG = logging.getLogger(__name__)
DATATYPES = ("anat", "dwi", "fmap")
_NOT_READ = re.compile(rf"^/sub-[^/]+(/ses-[^/]+)?/(?!ses-|{'|'.join(f'{kind}(/|$)' for kind in DATATYPES)})[^/]*")
_NOT_DATA = re.compile("^/(code|models|sourcedata|stimuli)")
_ROOT_FILES = (".json", *TABLE_EXTENSIONS)
_DATABASE = "layout_index.sqlite"


class _InDataset:
    """An entity of pybids, matched only below the root of the dataset.

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
    """Indexes some participants, and the files at the root that may apply to them.

    pybids would visit the folders of all other participants only to skip them.
    """

    def __init__(self, participants: Sequence[str] | None, names: Names, **options: Any) -> None:
        super().__init__(validate=False, **options)
        self._participants, self._names = participants, names

    def _index_dir(self, path: Any, config: Any, force: Any = None) -> tuple[list[Any], list[Any]]:
        root = self._layout.root
        if self._participants is None or str(path) != root:
            return super()._index_dir(path, config, force=force)
        records, tags = [], []
        entities = {name: entity for part in config for name, entity in part.entities.items()}
        for name in sorted(self._names(Path(root))):
            if name.endswith(_ROOT_FILES):
                record, entity_tags = self._index_file(path / name, entities)
                records.append(record)
                tags += entity_tags
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
    participants
        Labels that are asked for together: a query of pybids takes milliseconds, whatever the number of its files.
    hidden
        Sidecars hidden from pybids, since they would make its indexing fail.
    has_metadata
        Whether the index has the content of sidecars.
    """

    root: Path
    layout: BIDSLayout
    names: Names
    participants: tuple[str, ...] = ()
    hidden: frozenset[Path] = frozenset()
    has_metadata: bool = True
    _found: dict[str, dict[str, list[Path]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def find(self, participant: str, **query: Any) -> list[Path]:
        """Return the images of a participant that match a pybids query, sorted by path."""
        together = self.participants if participant in self.participants else (participant,)
        key = f"{together} {sorted(query.items())}"
        if key not in self._found:
            asked = {"subject": list(together), "extension": list(IMAGE_EXTENSIONS), **query}
            names = self.layout.get(return_type="filename", **asked)
            by_folder = self._found[key] = {}
            for path in sorted(Path(name).relative_to(self.layout.root) for name in names):
                by_folder.setdefault(path.parts[0], []).append(self.root / path)
        return [*self._found[key].get(f"sub-{participant}", ())]

    def metadata(self, image: Path) -> Mapping[str, Any]:
        """Return the metadata of an image, merged by the inheritance principle.

        Merged by pybids, except where a sidecar of the image was hidden from it, or where two in one folder apply:
        pybids would merge both in the order of the directory listing.

        Raises
        ------
        AmbiguityError
            If two sidecars of one folder apply and neither has exactly the entities of the image.
        MetadataError
            If one of them is not a JSON object.
        """
        levels = sidecars_of(image, self.root, self.names)
        unique = all(len(level) <= 1 for level in levels)
        indexed = self.has_metadata and not self.hidden.intersection(path for level in levels for path in level)
        if unique and indexed:
            return dict(self.layout.get_metadata(str(image.absolute())))
        return merge_sidecars(image, levels)

    def table(self, image: Path, extension: str) -> Path:
        """Return the ``.bval`` or ``.bvec`` of an image; see `find_inherited`, also for the errors."""
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
        Whether file names may have the entities of derivatives.
    database
        Folder of a pybids database of the whole dataset, created if it does not exist; participants for which it is
        out of date are indexed from disk, with a warning.

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
    """Return the index of participants (None: all); sidecars that would make it fail are hidden."""
    names = cached_names(root)
    hidden: frozenset[Path] = frozenset()
    config = ["bids", "derivatives"] if derivative else ["bids"]
    # as it is; then with malformed sidecars hidden; then without metadata, which are merged here
    for has_metadata in (True, True, False):
        patterns = [re.compile(f"^{re.escape('/' + path.relative_to(root).as_posix())}$") for path in sorted(hidden)]
        ignored = [_NOT_READ if labels else _NOT_DATA, *patterns]
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
            return Index(
                root=root,
                layout=layout,
                names=names,
                participants=tuple(labels or ()),
                hidden=hidden,
                has_metadata=has_metadata,
            )
        except Exception as error:  # noqa: BLE001 -- pybids raises any kind of error for a malformed file
            hidden, last = frozenset(_find_unreadable(root, labels)), error
    raise InvalidBidsError(str(root), f"pybids cannot index it ({last})", "run the BIDS validator on it") from last


def _find_unreadable(root: Path, labels: Sequence[str] | None) -> Iterator[Path]:
    """Yield the sidecars to hide from pybids: its indexing fails at one that is malformed or missing."""
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
    """Return the index from a database; None if it is out of date for these participants."""
    path = folder / _DATABASE
    if not path.is_file():
        _make_database(root, folder, derivative=derivative)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layout = BIDSLayout(root.absolute(), validate=False, database_path=folder)
    except Exception as error:  # noqa: BLE001 -- not a database, or of another version of pybids
        LOG.warning("%s: cannot be opened as a pybids database (%s); indexing from disk instead.", folder, error)
        return None
    index = Index(root=root, layout=layout, names=cached_names(root), participants=tuple(labels))
    stale = _why_stale(index, path.stat().st_mtime, labels)
    if not stale:
        return index
    LOG.warning("%s: %s; indexing from disk instead. Remove the database to create it again.", folder, stale)
    _close(layout)
    return None


def _why_stale(index: Index, written: float, labels: Sequence[str]) -> str:
    """Return why a database cannot be used for some participants; empty if it can."""
    if Path(index.layout.root) != index.root.absolute():
        return f"the database is for {index.layout.root}"
    if not index.layout.get_entities(metadata=True):
        return "the database holds no metadata"
    for label in labels:
        folder = index.root / f"sub-{label}"
        below = (place / kind for place in (folder, *folder.glob("ses-*")) for kind in DATATYPES)
        files = sorted(path for place in below for path in place.glob("sub-*"))
        known = set(index.find(label, datatype=list(DATATYPES)))
        on_disk = {path for path in files if path.name.endswith(IMAGE_EXTENSIONS)}
        if known != on_disk:
            other = min(known ^ on_disk)
            return (
                f"the database is out of date: {other} is only {'on disk' if other in on_disk else 'in the database'}"
            )
        sidecars = [path for path in files if path.suffix == ".json" and path.exists()]
        newer = [path for path in sidecars if path.stat().st_mtime > written]
        if newer:
            return f"the database is out of date: {newer[0]} is newer"
    return ""


def _make_database(root: Path, folder: Path, *, derivative: bool) -> None:
    """Create a database of the whole dataset with metadata, as other BIDS Apps do; moved into place when complete."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
            _close(_index(root, None, derivative=derivative, database=Path(scratch)).layout)
            (Path(scratch) / _DATABASE).replace(folder / _DATABASE)
    except OSError as error:
        raise OutputError(
            str(folder),
            f"the pybids database cannot be written ({error.strerror})",
            "choose another --bids-database-dir",
        ) from error
