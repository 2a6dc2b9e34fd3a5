"""What readers think of the runs, beside what was measured."""

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
        description="Rating by a reader of the page; statistics leave out runs that are to be dropped.",
        levels={"keep": "fine", "doubtful": "to be looked at again", "drop": "left out of all statistics"},
    ),
    Column(name="rating_note", description="What the reader said."),
)


def add_ratings(runs: pd.DataFrame, ratings: Mapping[str, Rating]) -> tuple[pd.DataFrame, list[Column], list[str]]:
    """Return the runs with their ratings, the columns that are new, and a note on ratings of runs that are not there.

    Parameters
    ----------
    runs
        One row a run and preset.
    ratings
        By the name of the run; nothing is added where there are none.
    """
    if not ratings:
        return runs, [], []
    names = [run_name({str(name): value for name, value in row.items()}) for row in runs.to_dict("records")]
    rated = [ratings.get(name) for name in names]
    unknown = sorted(set(ratings) - set(names))
    notes = []
    if unknown:
        listed = ", ".join(unknown[:_SHOWN]) + (" ..." if len(unknown) > _SHOWN else "")
        notes.append(f"{len(unknown)} of {len(ratings)} ratings are of runs without a result: {listed}.")
    added = runs.assign(
        rating=pd.Series([one.rating if one else None for one in rated], index=runs.index, dtype=object),
        rating_note=pd.Series([one.note if one else None for one in rated], index=runs.index, dtype=object),
    )
    return added, list(COLUMNS), notes
