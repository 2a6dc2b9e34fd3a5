"""Selection of files, by labels on the command line and by a BIDS filter file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids.layout import Query

from bids_alps.errors import AlpsError, UsageError
from bids_alps.io.indexing import Index
from bids_alps.io.inheritance import read_json

Kind = Literal["dwi", "t1w", "fmap", "sbref"]

QUERIES: Mapping[Kind, Mapping[str, Any]] = {
    "dwi": {"datatype": "dwi", "suffix": "dwi", "part": [Query.NONE, "mag"]},
    "sbref": {"datatype": "dwi", "suffix": "sbref", "part": [Query.NONE, "mag"]},
    "t1w": {"datatype": "anat", "suffix": "T1w", "part": [Query.NONE, "mag"]},
    "fmap": {"datatype": "fmap", "part": [Query.NONE, "mag", "phase"]},
}
"""pybids queries for each kind of image; a filter file updates them as in fMRIPrep and QSIPrep."""

_COMPLEX_PARTS = ("phase", "real", "imag")
_ENUM = re.compile(r"<?Query\.(NONE|ANY|REQUIRED|OPTIONAL)(: \d+>)?")
_RESERVED = frozenset({"return_type", "target", "scope", "absolute_paths", "invalid_filters", "filters"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which files are selected; empty means all.

    Parameters
    ----------
    sessions
        Labels without ``ses-``.
    runs
        Run numbers.
    filters
        Filters that update `QUERIES`, for each kind of file.
    """

    sessions: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def find(self, index: Index, participant: str, kind: Kind) -> list[Path]:
        """Return the selected images of one kind, sorted by path; phase and complex images of series are excluded.

        Raises
        ------
        UsageError
            If pybids does not support a filter of the filter file.
        """
        query = {**QUERIES[kind], **self.filters.get(kind, {})}
        for name in [name for name in query if name[:1].isupper() and name not in index.layout.get_entities()]:
            if query.pop(name) is not Query.NONE:  # a metadata field that no sidecar of this participant has
                return []
        try:
            images = index.find(participant, **query)
        except (ValueError, TypeError) as error:
            raise UsageError(
                "--bids-filter-file", f"{kind}: {error}", "use pybids' names, such as acquisition or direction"
            ) from error
        if kind != "fmap":
            images = [path for path in images if not any(f"_part-{part}_" in path.name for part in _COMPLEX_PARTS)]
        if kind == "dwi" and (self.sessions or self.runs):
            # a query of its own: a filter file may ask for other sessions or runs, and both must hold
            labels = {"session": list(self.sessions), "run": list(self.runs)}
            selected = index.find(participant, **{name: values for name, values in labels.items() if values})
            images = [path for path in images if path in selected]
        return images


def read_filters(path: Path) -> dict[str, dict[str, Any]]:
    """Read a BIDS filter file; keys other than those of `QUERIES` are for other programs and ignored.

    ``null`` means absent and ``"*"`` any; the names of pybids' ``Query`` also work.

    Raises
    ------
    UsageError
        If it cannot be read, a filter is not an object, or has keys other than entities and ``regex_search``.
    """
    try:
        content = read_json(path)
    except AlpsError as error:
        raise UsageError("--bids-filter-file", f"{error.where}: {error.what}", error.remedy) from error
    filters: dict[str, dict[str, Any]] = {}
    for kind in QUERIES:
        query = content.get(kind, {})
        if not isinstance(query, dict):
            raise UsageError(str(path), f"{kind} is not an object", f'write {{"{kind}": {{"session": "1"}}}}')
        expressions = query.get("regex_search") is True
        invalid = sorted(
            name for name, value in query.items() if name in _RESERVED or not _is_value(value, expression=expressions)
        )
        if invalid:
            raise UsageError(
                str(path),
                f"{kind} has unsupported filters {', '.join(invalid)}",
                "give entities with values or lists of them",
            )
        filters[kind] = {name: _as_query(value) for name, value in query.items()}
    return {kind: query for kind, query in filters.items() if query}


def _is_value(value: Any, *, expression: bool) -> bool:
    """Whether pybids can search for a value, or for any value of a list."""
    values = value if isinstance(value, list) else [value]
    try:
        for item in values if expression else ():
            re.compile(str(item))
    except re.error:
        return False
    return all(isinstance(item, str | int | float | None) for item in values)


def _as_query(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_query(item) for item in value]
    if value is None or value == "*":
        return Query.NONE if value is None else Query.ANY
    named = _ENUM.fullmatch(value) if isinstance(value, str) else None
    return value if named is None else Query[named[1]]
