"""Which files are wanted: labels on the command line, and the filter file that BIDS Apps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_alps.errors import AlpsError, UsageError
from bids_alps.io.inheritance import entities_of, read_json, suffix_of

Kind = Literal["dwi", "t1w", "fmap"]
KINDS: tuple[Kind, ...] = ("dwi", "t1w", "fmap")

_SHORT = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "proc": "proc",
    "modality": "mod",
    "inversion": "inv",
    "segmentation": "seg",
}
_NUMBERS = ("run", "echo", "flip", "inv", "chunk")
_ABSENT = (None, "Query.NONE", "<Query.NONE: 1>")
_ANY = ("*", "Query.ANY", "<Query.ANY: 2>")
_ALWAYS = ("Query.OPTIONAL", "<Query.OPTIONAL: 3>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which files are wanted; empty means all.

    Parameters
    ----------
    sessions
        Labels without ``ses-``.
    runs
        Run numbers, compared as integers.
    filters
        For each kind of file, what its entities (long or short names), ``suffix`` and ``datatype`` must be: a
        value, a list of values, None for absent, ``"*"`` for any.
    """

    sessions: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def takes(self, image: Path) -> bool:
        """Whether a diffusion image is wanted."""
        entities = entities_of(image.name)
        if self.sessions and entities.get("ses") not in self.sessions:
            return False
        if self.runs and not (_is_number(entities.get("run")) and int(entities["run"]) in self.runs):
            return False
        return self.passes(image, "dwi")

    def passes(self, image: Path, kind: Kind) -> bool:
        """Whether a file passes the filter of its kind."""
        has: dict[str, str] = {
            **entities_of(image.name),
            "suffix": suffix_of(image.name),
            "datatype": image.parent.name,
            "extension": "." + image.name.partition(".")[2],
        }
        return all(
            _fits(has.get(_SHORT.get(name, name)), wanted, number=_SHORT.get(name, name) in _NUMBERS)
            for name, wanted in self.filters.get(kind, {}).items()
        )


def _fits(label: str | None, wanted: Any, *, number: bool) -> bool:
    if isinstance(wanted, list):
        return any(_fits(label, one, number=number) for one in wanted)
    if wanted is None or wanted in _ABSENT:
        return label is None
    if wanted in _ALWAYS:
        return True
    if wanted in _ANY or label is None:
        return label is not None
    if number and _is_number(label) and _is_number(str(wanted)):
        return int(label) == int(wanted)
    return label == str(wanted).removeprefix("sub-").removeprefix("ses-")


def _is_number(label: str | None) -> bool:
    return label is not None and label.isascii() and label.isdigit()


def read_filters(path: Path) -> dict[str, dict[str, Any]]:
    """Read a BIDS filter file; keys other than ``dwi``, ``t1w`` and ``fmap`` are for other programs.

    Raises
    ------
    UsageError
        If it cannot be read, or a filter is no object.
    """
    try:
        content = read_json(path)
    except AlpsError as error:
        raise UsageError("--bids-filter-file", f"{error.where}: {error.what}", error.remedy) from error
    filters: dict[str, dict[str, Any]] = {kind: content[kind] for kind in KINDS if kind in content}
    for kind, wanted in filters.items():
        if not isinstance(wanted, dict):
            raise UsageError(str(path), f"{kind} holds no object", f'write {{"{kind}": {{"session": "1"}}}}')
    return filters
