"""Tables: tab-separated values, ``n/a`` for missing values, and a JSON data dictionary."""

from __future__ import annotations

import csv
import io
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
_DIGITS = 7  # more than the precision of any value, fewer than differ between platforms


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
        Whether rows may lack it, such as a measure that needs two shells; it is then ``n/a``.
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
    """Return a value as text for a table: seven significant digits, ``n/a`` for missing values.

    Examples
    --------
    >>> [format_cell(value) for value in (1.5, 0.00062912345678, 64, float("nan"), None, "left", True)]
    ['1.5', '0.0006291235', '64', 'n/a', 'n/a', 'left', 'true']
    """
    if value is None:
        return MISSING
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}" if math.isfinite(value) else MISSING
    return " ".join(str(value).split()) or MISSING  # a tab or line break would add cells


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
    """Write a TSV file, and before it its data dictionary; both atomically.

    Parameters
    ----------
    path
        Path of the table, ending in ``.tsv``.
    rows
        One mapping per row, by column name.
    columns
        Columns to write, in order.
    about
        Entries of the data dictionary for the table as a whole.

    Raises
    ------
    ValueError
        If a row has a value without a column, or lacks a value that is not optional.
    """
    rows = list(rows)
    known = {column.name for column in columns}
    required = {column.name for column in columns if not column.optional}
    for row in rows:
        if unknown := sorted(row.keys() - known):
            raise ValueError(f"{path.name}: no column for {unknown}")
        if missing := sorted(required - row.keys()):
            raise ValueError(f"{path.name}: no value for {missing}")
    described = {column.name: column.described() for column in columns}
    write_json(path.with_suffix(".json"), {**described, **(about or {})})
    write_text(path, table_text(rows, [column.name for column in columns]))


def fill_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return rows with exactly the given columns; missing values are None.

    For tables gathered from many files, which may differ in their columns.
    """
    return [{column.name: row.get(column.name) for column in columns} for row in rows]


def read_table(path: Path, *, text: bool = False) -> pd.DataFrame:
    """Read a TSV file; ``n/a`` and empty cells become missing values, labels stay text.

    Columns of labels (``_id``, ``run``, ``session``, ``settings_hash`` ...) keep their leading zeros; with `text`, all
    columns do.

    Raises
    ------
    NoInputError
        If the file does not exist.
    MetadataError
        If it is empty or not a table.
    """
    import pandas as pd  # takes a third of a second, which --dry-run need not spend

    try:
        header = pd.read_csv(path, sep="\t", nrows=0, encoding="utf-8-sig").columns
        labels = {name: str for name in header if text or name.endswith("_id") or name in _LABELS}
        table: pd.DataFrame = pd.read_csv(
            path, sep="\t", na_values=[MISSING, ""], keep_default_na=False, dtype=labels, encoding="utf-8-sig"
        )
    except FileNotFoundError as error:
        raise NoInputError(str(path), "no such file", "check the path, or run `datalad get` on it") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise MetadataError(
            str(path), f"not a table ({error})", "write tab-separated values with a header line"
        ) from error
    return table
