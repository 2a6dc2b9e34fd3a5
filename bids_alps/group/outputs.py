"""Outputs of the group level: outdated files are removed, and a receipt lists all files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.io.tables import Column, write_table
from bids_alps.io.writing import write_json, write_text

_PAGE, _SCRIPT = "group_alps.html", "group_alps-sh.csv"
_TABLE = re.compile(
    "group_(?:alps|rois|change|flow|exclusions|description|participants|comparison|omnibus|power|adjusted|means"
    "|sensitivity|equivalence|discrimination|correlations|within|within_omnibus|interaction|models|model_tests|checks"
    r"|reliability|precision|norms|harmonized|seg-[a-zA-Z0-9+]+)\.tsv"
)
"""Names of the tables that the group level writes."""


def receipt_path(output_dir: Path) -> Path:
    """Return the path of the receipt of the group level."""
    return output_dir / "logs" / "group" / "receipt.json"


def read_settings(output_dir: Path) -> dict[str, Any]:
    """Return the options of the last group level from its receipt; empty if there is none."""
    with suppress(OSError, ValueError, AttributeError):
        return dict(json.loads(receipt_path(output_dir).read_text(encoding="utf-8")).get("settings") or {})
    return {}


@dataclass(slots=True)
class GroupOutputs:
    """Files written by one run of the group level.

    Parameters
    ----------
    folder
        Root of the derivatives.
    written
        Names of the files written so far.
    """

    folder: Path
    written: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[str]:
        """Names of the tables written so far, sorted."""
        return sorted(name for name in self.written if name.endswith((".tsv", ".csv")))

    def begin(self) -> list[str]:
        """Remove the previous receipt, so that an interrupted run leaves none; return the files it lists."""
        path = receipt_path(self.folder)
        previous = _listed(path)
        path.unlink(missing_ok=True)
        if previous is not None:
            return previous
        # an output without a receipt: the names that the group level writes
        tables = [path for path in sorted(self.folder.glob("group_*.tsv")) if _TABLE.fullmatch(path.name)]
        tables = [path for path in tables if path.with_suffix(".json").exists()]
        names = [name for path in tables for name in (path.name, path.with_suffix(".json").name)]
        return [*names, *(name for name in (_PAGE, _SCRIPT) if (self.folder / name).exists())]

    def write_table(
        self, name: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, flow: str = ""
    ) -> None:
        """Write ``group_<name>.tsv`` with its data dictionary, which includes the flow of participants."""
        path = self.folder / f"group_{name}.tsv"
        write_table(path, rows, columns, about={"Flow": flow} if flow else {})
        self.written += [path.name, path.with_suffix(".json").name]

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file; return its path."""
        path = self.folder / name
        write_text(path, text)
        self.written.append(name)
        return path

    def end(self, previous: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Remove files of the previous run that this one did not write, and write the receipt."""
        for name in previous:
            if name not in self.written:
                (self.folder / name).unlink(missing_ok=True)
        hashes = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in sorted(self.written)}
        write_json(receipt_path(self.folder), {"version": __version__, "settings": settings, "outputs": hashes})


def _listed(path: Path) -> list[str] | None:
    """Return the files listed in a receipt; None if it cannot be read."""
    with suppress(OSError, ValueError, AttributeError):
        names = list(json.loads(path.read_text(encoding="utf-8"))["outputs"])
        return [name for name in names if Path(name).name == name and name.startswith("group_")]
    return None
