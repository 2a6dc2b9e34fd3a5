"""Results of the analysis of one preset, with notes and banners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.selection import Flow


@dataclass(slots=True)
class Findings:
    """Results of the analysis of one preset.

    Parameters
    ----------
    tables
        Tables of results by name.
    flow
        Participants and runs analyzed, and exclusions with reasons.
    facts
        Details for the methods text: covariates, reference, order of sessions and so on.
    banners
        Warnings that affect the interpretation of the results.
    notes
        Further remarks.
    people
        One row per compared participant, harmonized if requested.
    before
        Runs before harmonization, None if not harmonized.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    facts: dict[str, Any] = field(default_factory=dict)
    banners: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    people: pd.DataFrame = field(default_factory=pd.DataFrame)
    before: pd.DataFrame | None = None

    def attempt(self, what: str, work: Callable[[], Mapping[str, pd.DataFrame] | None]) -> None:
        """Add the tables that an analysis returns, if any; if it fails, add a note, so that others continue."""
        try:
            results = work() or {}
        except AlpsError as error:
            self.notes.append(str(error))
        except Exception as error:  # noqa: BLE001 - a failing analysis must not stop the others
            self.notes.append(f"{what} could not be computed ({type(error).__name__}: {error}).")
        else:
            self.tables |= {name: table for name, table in results.items() if len(table)}
