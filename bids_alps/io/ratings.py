"""Manual ratings of runs, saved from the participant reports."""

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
    """Manual rating of a run.

    Parameters
    ----------
    rating
        ``keep``, ``doubtful`` or ``drop``.
    note
        Reason, free text; may be empty.
    """

    rating: str
    note: str = ""


def read_ratings(paths: Sequence[Path]) -> Mapping[str, Rating]:
    """Read tables with columns run, rating and optionally note; return the ratings by name of the run.

    If raters disagree, the more cautious rating is used, with the notes of both.

    Raises
    ------
    NoInputError
        If a table does not exist.
    MetadataError
        If a table lacks a column or has an unknown rating.
    """
    ratings: dict[str, Rating] = {}
    for path in paths:
        for run, rating in _read(path):
            ratings[run] = _more_cautious(ratings[run], rating) if run in ratings else rating
    return ratings


def _read(path: Path) -> list[tuple[str, Rating]]:
    if not path.is_file():
        raise NoInputError(f"--ratings {path}", "no such file", "save one from a participant report")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise MetadataError(str(path), f"no column {' and '.join(missing)}", "use tab-separated columns")
        rows = [(str(row["run"]).strip(), str(row["rating"]).strip(), str(row.get("note") or "")) for row in reader]
    for run, rating, _ in rows:
        if rating not in RATINGS:
            what = f"rating {rating!r} of {run}{did_you_mean(rating, RATINGS)}"
            raise MetadataError(str(path), what, f"choose one of {', '.join(RATINGS)}")
    return [(run, Rating(rating=rating, note="" if note == "n/a" else note.strip())) for run, rating, note in rows]


def _more_cautious(first: Rating, second: Rating) -> Rating:
    notes = dict.fromkeys(note for note in (first.note, second.note) if note)
    return Rating(rating=max(first.rating, second.rating, key=RATINGS.index), note="; ".join(notes))
