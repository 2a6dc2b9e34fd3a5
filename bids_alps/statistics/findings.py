"""What was found in the runs of one preset, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.selection import Flow


@dataclass(slots=True)
class Findings:
    """What was found in the runs of one preset.

    Parameters
    ----------
    tables
        Tables of results by name.
    flow
        Who was analysed, and who was left out of what and why.
    facts
        What was done, for the methods text: covariates, reference, order of sessions and so on.
    banners
        What changes how the results must be read.
    notes
        What else the reader should know.
    people
        One row a participant as they were compared, harmonised where that was asked for.
    before
        Runs before they were harmonised, None where nothing was.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    facts: dict[str, Any] = field(default_factory=dict)
    banners: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    people: pd.DataFrame = field(default_factory=pd.DataFrame)
    before: pd.DataFrame | None = None

    def attempt(self, what: str, work: Callable[[], Mapping[str, pd.DataFrame]]) -> None:
        """Add the tables that a piece of work returns; if it fails, a note says so, and the others go on."""
        try:
            found = work()
        except AlpsError as error:
            self.notes.append(str(error))
        except Exception as error:  # noqa: BLE001 - one analysis must not take the others along
            self.notes.append(f"{what} could not be computed ({type(error).__name__}: {error}).")
        else:
            self.tables |= {name: table for name, table in found.items() if len(table)}
