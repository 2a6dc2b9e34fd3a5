"""Visual ratings of the runs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bids_alps.errors import MetadataError
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


def add_ratings(
    runs: pd.DataFrame, ratings: Mapping[tuple[str, str], Rating]
) -> tuple[pd.DataFrame, list[Column], list[str]]:
    """Return the runs with their ratings, the new columns, and notes on ratings of unknown runs.

    Parameters
    ----------
    runs
        One row per run and preset.
    ratings
        Ratings by dataset and name of the run; if empty, nothing is added. Ratings without a dataset are of the only
        dataset with a run of that name.

    Raises
    ------
    MetadataError
        If several datasets have a run of that name.
    """
    if not ratings:
        return runs, [], []
    records = [{str(name): value for name, value in row.items()} for row in runs.to_dict("records")]
    keys = [(str(row.pop("dataset", "")), run_name(row)) for row in records]
    datasets: dict[str, set[str]] = {}
    for dataset, run in keys:
        datasets.setdefault(run, set()).add(dataset)
    for dataset, run in ratings:
        if not dataset and len(datasets.get(run, ())) > 1:
            what = f"the rating of {run} does not name its dataset ({', '.join(sorted(datasets[run]))})"
            raise MetadataError("--ratings", what, "add a column dataset to the table")
    rated = [ratings.get(key, ratings.get(("", key[1]))) for key in keys]
    known = {*keys, *(("", run) for run in datasets)}
    unknown = sorted(run for dataset, run in ratings if (dataset, run) not in known)
    notes = []
    if unknown:
        listed = ", ".join(unknown[:_SHOWN]) + (" ..." if len(unknown) > _SHOWN else "")
        notes.append(f"{len(unknown)} of {len(ratings)} ratings refer to runs without a result: {listed}.")
    added = runs.assign(
        rating=pd.Series([rating.rating if rating else None for rating in rated], index=runs.index, dtype=object),
        rating_note=pd.Series([rating.note if rating else None for rating in rated], index=runs.index, dtype=object),
    )
    return added, list(COLUMNS), notes
