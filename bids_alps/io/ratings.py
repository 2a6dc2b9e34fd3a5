"""Manual ratings of runs, saved from the participant reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import MetadataError, NoInputError, did_you_mean
from bids_alps.io.phenotype import decode

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


def read_ratings(paths: Sequence[Path]) -> Mapping[tuple[str, str], Rating]:
    """Read tables with columns run, rating and optionally dataset and note.

    Return the ratings by dataset (empty if not given) and name of the run.

    If raters disagree, the more cautious rating is used, with the notes of both.

    Raises
    ------
    NoInputError
        If a table does not exist.
    MetadataError
        If a table lacks a column or has an unknown rating.
    """
    ratings: dict[tuple[str, str], Rating] = {}
    for path in paths:
        for run, rating in _read(path):
            earlier = ratings.get(run, rating)
            notes = dict.fromkeys(note for note in (earlier.note, rating.note) if note)
            more_cautious = max(earlier.rating, rating.rating, key=RATINGS.index)
            ratings[run] = Rating(rating=more_cautious, note="; ".join(notes))
    return ratings


def _read(path: Path) -> list[tuple[tuple[str, str], Rating]]:
    if not path.is_file():
        raise NoInputError(f"--ratings {path}", "no such file", "save one from a participant report")
    text, _ = decode(path.read_bytes())
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise MetadataError(str(path), f"no column {' and '.join(missing)}", "use tab-separated columns")
    rows = [{name: str(row.get(name) or "").strip() for name in (*_NEEDED, "dataset", "note")} for row in reader]
    for row in rows:
        if row["rating"] not in RATINGS:
            what = f"rating {row['rating']!r} of {row['run']}{did_you_mean(row['rating'], RATINGS)}"
            raise MetadataError(str(path), what, f"choose one of {', '.join(RATINGS)}")
    known = [{name: "" if value == "n/a" else value for name, value in row.items()} for row in rows]
    return [((row["dataset"], row["run"]), Rating(rating=row["rating"], note=row["note"])) for row in known]
