"""Tables on disk: tab-separated values, ``n/a`` where there is none, and a JSON dictionary of the columns."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.writing import write_json, write_text

LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pandas as pd

MISSING = "n/a"
_LABELS = ("run", "session", "participant", "settings_hash", "version")
_DIGITS = 7  # more than any measurement here deserves, fewer than platforms may differ in


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table, as its data dictionary describes it.

    Parameters
    ----------
    name, description, unit
        Name, one sentence, and unit of its values.
    levels
        Meaning of each value, for categories.
    optional
        Whether rows may lack it, such as a measure that needs two shells; it is ``n/a`` there.
    """

    name: str
    description: str
    unit: str = ""
    levels: Mapping[str, str] | None = None
    optional: bool = False

    def described(self) -> dict[str, Any]:
        """Return the entry of the data dictionary."""
        entry: dict[str, Any] = {"Description": self.description}
        if self.unit:
            entry["Units"] = self.unit
        if self.levels:
            entry["Levels"] = dict(self.levels)
        return entry


def format_cell(value: Any) -> str:
    """Return a value as it stands in a table: seven significant digits, ``n/a`` for what is not there.

    Examples
    --------
    >>> [format_cell(value) for value in (1.5, 0.00062912345678, 64, float("nan"), None, "left", True)]
    ['1.5', '0.0006291235', '64', 'n/a', 'n/a', 'left', 'true']
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}" if math.isfinite(value) else MISSING
    return " ".join(str(value).split()) or MISSING  # a tab or a line break would make other cells of it


def table_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as tab-separated values with a header line; a missing key is ``n/a``."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(columns)
    writer.writerows([format_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def write_table(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a TSV file and, first, its data dictionary; each whole or not at all.

    Parameters
    ----------
    path
        Ends in ``.tsv``.
    rows
        One mapping a row, by column name.
    columns
        What to write, in order, with the description of each.
    about
        What the dictionary says of the table as a whole, by key.

    Raises
    ------
    ValueError
        If a row has a value that no column takes, or lacks one that is not optional: neither is lost in silence.
    """
    rows = list(rows)
    _check_rows(path, rows, columns)
    described = {column.name: column.described() for column in columns}
    write_json(path.with_suffix(".json"), {**described, **(about or {})})
    write_text(path, table_text(rows, [column.name for column in columns]))


def _check_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    known = {column.name for column in columns}
    required = {column.name for column in columns if not column.optional}
    for row in rows:
        unknown, missing = sorted(row.keys() - known), sorted(required - row.keys())
        if unknown or missing:
            raise ValueError(
                f"{path.name}: no column for {unknown}" if unknown else f"{path.name}: no value for {missing}"
            )


def fill_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return rows with exactly the given columns: None for what one lacks, nothing else.

    For tables gathered from many files, which differ in what they hold.
    """
    return [{column.name: row.get(column.name) for column in columns} for row in rows]


def read_table(path: Path) -> pd.DataFrame:
    """Read a TSV file; ``n/a`` or an empty cell becomes missing, numbers numbers, labels stay as written.

    Columns of labels (``_id``, ``run``, ``session``, ``settings_hash`` ...) keep their leading zeros.

    Raises
    ------
    NoInputError
        If there is no such file.
    MetadataError
        If it is empty or no table.
    """
    import pandas as pd  # costs a third of a second, which a plan does not need

    try:
        header = pd.read_csv(path, sep="\t", nrows=0, encoding="utf-8-sig").columns
        labels = {name: str for name in header if name.endswith("_id") or name in _LABELS}
        table: pd.DataFrame = pd.read_csv(
            path, sep="\t", na_values=[MISSING, ""], keep_default_na=False, dtype=labels, encoding="utf-8-sig"
        )
    except FileNotFoundError as error:
        raise NoInputError(str(path), "no such file", "check the path, or run `datalad get` on it") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise MetadataError(
            str(path), f"no table ({error})", "write tab-separated values with a header line"
        ) from error
    return table


def read_dictionary(path: Path) -> dict[str, Any]:
    """Read the data dictionary beside a table; empty, with a warning, where it cannot be read: a table needs none."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        LOG.warning("%s: cannot be read as JSON (%s), so its columns have no descriptions.", beside, error)
        return {}
    if not isinstance(content, dict):
        LOG.warning(
            "%s: holds a %s, not an object, so its columns have no descriptions.", beside, type(content).__name__
        )
        return {}
    return {name: entry for name, entry in content.items() if isinstance(entry, dict)}
