"""Ratings of runs by readers, as the pages of participants save them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import MetadataError, NoInputError, did_you_mean

RATINGS = ("keep", "doubtful", "drop")
_NEEDED = ("run", "rating")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a reader thinks of a run.

    Parameters
    ----------
    rating
        ``keep``, ``doubtful`` or ``drop``.
    note
        Why, in the reader's words; may be empty.
    """

    rating: str
    note: str = ""


def read_ratings(paths: Sequence[Path]) -> Mapping[str, Rating]:
    """Read tables with columns run, rating and (if there is one) note; return the ratings by the name of the run.

    Two readers who differ give the more cautious rating, with the notes of both.

    Raises
    ------
    NoInputError
        If a table is not there.
    MetadataError
        If a table lacks a column, or says a rating that there is not.
    """
    found: dict[str, Rating] = {}
    for path in paths:
        for run, rating in _read(path):
            found[run] = _more_cautious(found[run], rating) if run in found else rating
    return found


def _read(path: Path) -> list[tuple[str, Rating]]:
    if not path.is_file():
        raise NoInputError(f"--ratings {path}", "no such file", "save one on a participant's page")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        lacking = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if lacking:
            raise MetadataError(str(path), f"no column {' and '.join(lacking)}", "separate columns by tabs")
        rows = [(str(row["run"]).strip(), str(row["rating"]).strip(), str(row.get("note") or "")) for row in reader]
    for run, rating, _ in rows:
        if rating not in RATINGS:
            what = f"rating {rating!r} of {run}{did_you_mean(rating, RATINGS)}"
            raise MetadataError(str(path), what, f"choose of {', '.join(RATINGS)}")
    return [(run, Rating(rating=rating, note="" if note == "n/a" else note.strip())) for run, rating, note in rows]


def _more_cautious(one: Rating, other: Rating) -> Rating:
    notes = dict.fromkeys(note for note in (one.note, other.note) if note)
    return Rating(rating=max(one.rating, other.rating, key=RATINGS.index), note="; ".join(notes))
