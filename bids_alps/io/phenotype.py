"""Reads tables of participants and sessions, tolerating common deviations from BIDS, each reported with its lines."""

from __future__ import annotations

import csv
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import MetadataError, NoInputError

_KEYS = {
    "participant_id": ("participantid", "participant", "subjectid", "subject", "subid", "sub", "id"),
    "session_id": ("sessionid", "session", "sesid", "ses"),
    "filename": ("filename", "file"),
}
_PREFIX = {"participant_id": "sub-", "session_id": "ses-", "filename": ""}
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_NOTES = {"utf-16": "encoded as utf-16, not UTF-8"}
_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines also splits at characters such as U+0085
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PhenotypeTable:
    """A table of participants, sessions or scans.

    Parameters
    ----------
    table
        Cells as text, stripped; the key column has its prefix.
    notes
        Deviations from BIDS, with their lines.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_phenotype(path: Path, key: str = "participant_id") -> PhenotypeTable:
    """Read ``participants.tsv``, ``sub-*_sessions.tsv`` or ``sub-*_scans.tsv``.

    Parameters
    ----------
    path
        The table.
    key
        Its first column: ``participant_id``, ``session_id`` or ``filename``.

    Raises
    ------
    NoInputError
        If the file does not exist.
    MetadataError
        If it is empty, or lacks the key column.
    """
    try:
        text, notes = decode(path.read_bytes())
    except FileNotFoundError as error:
        raise NoInputError(str(path), "no such file", "check the path, or run `datalad get` on it") from error
    except OSError as error:
        raise MetadataError(str(path), f"cannot be read ({error.strerror})", "make it a readable file") from error
    lines = [(n, line) for n, line in enumerate(_LINE_END.split(text), 1) if line.strip()]
    if not lines:
        raise MetadataError(str(path), "empty", "write tab-separated values with a header line")
    separator = "\t" if "\t" in lines[0][1] else max("\t;,", key=lines[0][1].count)
    if separator != "\t":
        notes.append(f"separated by {separator!r}, not by tabs")
    cells = {}
    for n, line in lines:
        parts = line.split("\t") if separator == "\t" else next(csv.reader([line], delimiter=separator))
        texts = [part.strip() for part in parts]
        quoted = [len(text) > 1 and text[0] == text[-1] == '"' for text in texts]
        cells[n] = [text[1:-1].strip() if marks else text for text, marks in zip(texts, quoted, strict=True)]
    header = _name_columns(path, cells.pop(lines[0][0]), key, notes)
    rows = _fit_rows(cells, len(header), notes)
    table = pd.DataFrame(rows, columns=header, dtype=object)
    table = table[[name for name in dict.fromkeys(header) if name]]
    prefix = _PREFIX[key]
    bare = ~table[key].str.startswith(prefix) & (table[key] != "")
    if prefix and bare.any():
        notes.append(f"{int(bare.sum())} labels lack {prefix}, such as {table.loc[bare, key].iloc[0]!r}; it was added")
        table[key] = table[key].where(~bare, prefix + table[key])
    table = table[table[key] != ""].reset_index(drop=True)
    return PhenotypeTable(table=table, notes=tuple(f"{path.name}: {note}." for note in notes))


def decode(content: bytes) -> tuple[str, list[str]]:
    """Return the text of a table, and a note if it is not UTF-8: it is Windows-1252, or Latin-1 where that fails."""
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    for encoding, note in {marked: _NOTES.get(marked), "cp1252": "not UTF-8; read as Windows-1252"}.items():
        with suppress(UnicodeDecodeError):
            return content.decode(encoding), [note] if note else []
    return content.decode("latin-1"), ["not UTF-8; read as Latin-1"]


def _name_columns(path: Path, header: list[str], key: str, notes: list[str]) -> list[str]:
    """Return the names of the columns, with the key column renamed; repeated names are empty from the second on."""
    plain = ["".join(char for char in name.lower() if char.isalnum()) for name in header]
    known = next((plain.index(name) for name in _KEYS[key] if name in plain), None)
    if key in header:
        known = header.index(key)
    if known is None:
        prefix = _PREFIX[key]
        if prefix and header[0].startswith(prefix):
            raise MetadataError(
                str(path), f"line 1 is a row of values ({header[0]})", "add a header line with column names"
            )
        raise MetadataError(str(path), f"no column {key}", f"name its first column {key}")
    if header[known] != key:
        notes.append(f"column {header[known]!r} is used as {key}")
    named = [key if n == known else name for n, name in enumerate(header)]
    twice = sorted({name for name in named if name and named.count(name) > 1})
    if twice:
        notes.append(f"repeated columns, only the first is used: {', '.join(twice)}")
    return [name if named.index(name) == n else "" for n, name in enumerate(named)]


def _fit_rows(cells: dict[int, list[str]], width: int, notes: list[str]) -> list[list[str]]:
    rows, short, refused = [], list[int](), list[int]()
    for line, row in cells.items():
        if len(row) > width and any(row[width:]):
            refused.append(line)
            continue
        if len(row) < width:
            short.append(line)
        rows.append(row[:width] + [""] * (width - len(row)))
    if short:
        notes.append(f"fewer cells than columns, the others are missing values: {_lines(short)}")
    if refused:
        notes.append(f"more cells than columns ({width}), ignored: {_lines(refused)}")
    return rows


def _lines(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers[:_SHOWN]))}{more}"


def read_levels(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the data dictionary of a table; empty, with a note, if it cannot be read."""
    dictionary = path.with_suffix(".json")
    if not dictionary.exists():
        return {}, ()
    try:
        content = json.loads(dictionary.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return {}, (f"{dictionary.name}: cannot be read ({error}); types of variables are inferred.",)
    return (content, ()) if isinstance(content, dict) else ({}, (f"{dictionary.name}: not a JSON object, ignored.",))
