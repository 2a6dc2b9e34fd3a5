"""Tables of the finished runs of derivative datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bids_alps.group.phenotype import OUTPUT
from bids_alps.provenance import listed_in, read_receipts

_TABLE = "_scalarstats.tsv"
_INDEX = f"_desc-alps{_TABLE}"


@dataclass(frozen=True, kw_only=True)
class DerivativeDataset:
    """A derivative dataset, of which only the tables of finished runs are used: those that a receipt lists.

    A run without a receipt was interrupted, has failed or is being processed.

    Parameters
    ----------
    name
        Its name; empty for the output of the group level.
    folder
        Its root.
    """

    name: str
    folder: Path

    @property
    def label(self) -> str:
        """Its name in the column ``dataset``."""
        return self.name or OUTPUT

    @cached_property
    def has_receipts(self) -> bool:
        """Whether receipts tell which runs are finished: not in a dataset that was copied without its logs."""
        return next((self.folder / "logs").glob("sub-*"), None) is not None

    @cached_property
    def _listed(self) -> frozenset[str]:
        receipts = read_receipts(self.folder).values()
        return frozenset(
            path for receipt in receipts for path in listed_in(receipt, "outputs") if path.endswith(_TABLE)
        )

    def find(self, entity: str) -> list[Path]:
        """Return the tables of finished runs with an entity in their names, such as ``desc-alps``, sorted."""
        return [path for path in self._find_all(entity) if self.is_finished(path)]

    def is_finished(self, table: Path) -> bool:
        """Whether a table is of a finished run, or there is no way to know."""
        return not self.has_receipts or table.relative_to(self.folder).as_posix() in self._listed

    def _find_all(self, entity: str) -> list[Path]:
        return sorted(self.folder.glob(f"sub-*/**/*_{entity}{_TABLE}"))

    @cached_property
    def runs(self) -> Mapping[str, bool]:
        """Names of the runs with an index table, and whether each is finished."""
        return {path.name.removesuffix(_INDEX): self.is_finished(path) for path in self._find_all("desc-alps")}

    def notes(self) -> Iterator[str]:
        """Yield notes on runs that are not finished, or of which this is not known."""
        unfinished = [run for run, finished in self.runs.items() if not finished]
        if unfinished:
            yield f"Unfinished runs, which are not used: {len(unfinished)} ({', '.join(unfinished[:5])})."
        if not self.has_receipts:
            yield f"{self.folder} has no logs: all its tables are used, also those of runs that may not be finished."


def open_datasets(folders: Mapping[str, Path]) -> tuple[DerivativeDataset, ...]:
    """Return derivative datasets from their folders by name."""
    return tuple(DerivativeDataset(name=name, folder=folder) for name, folder in folders.items())
