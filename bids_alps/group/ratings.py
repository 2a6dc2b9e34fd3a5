"""Visual ratings of the runs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bids_alps.io.ratings import Rating
from bids_alps.io.tables import Column
from bids_alps.report.explore import run_name

_SHOWN = 10
COLUMNS = (
    Column(
        name="rating",
        description="Visual rating from the report; runs rated drop are excluded from the statistics.",
        levels={"keep": "good", "doubtful": "to be reviewed", "drop": "excluded from all statistics"},
    ),
    Column(name="rating_note", description="Comment of the rater."),
)


def add_ratings(runs: pd.DataFrame, ratings: Mapping[str, Rating]) -> tuple[pd.DataFrame, list[Column], list[str]]:
    """Return the runs with their ratings, the new columns, and notes on ratings of unknown runs.

    Parameters
    ----------
    runs
        One row per run and preset.
    ratings
        Ratings by the name of the run; if empty, nothing is added.
    """
    if not ratings:
        return runs, [], []
    names = [run_name({str(name): value for name, value in row.items()}) for row in runs.to_dict("records")]
    rated = [ratings.get(name) for name in names]
    unknown = sorted(set(ratings) - set(names))
    notes = []
    if unknown:
        listed = ", ".join(unknown[:_SHOWN]) + (" ..." if len(unknown) > _SHOWN else "")
        notes.append(f"{len(unknown)} of {len(ratings)} ratings refer to runs without a result: {listed}.")
    added = runs.assign(
        rating=pd.Series([rating.rating if rating else None for rating in rated], index=runs.index, dtype=object),
        rating_note=pd.Series([rating.note if rating else None for rating in rated], index=runs.index, dtype=object),
    )
    return added, list(COLUMNS), notes
