"""Console output, on a terminal or in the log of a batch system: stages, progress bar, results and messages."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from bids_alps.participant import Outcome

_PACKAGE = "bids_alps"
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_BAR = "|{bar:24}| {desc}"


class Console(logging.Handler):
    """Shows log records and results as lines, above the progress bar if the output is a terminal.

    Stages of runs are always shown; other messages of this program from level warning, from info with ``-v``, and from
    debug with ``-vv``. Only warnings and errors of other libraries are shown.

    Parameters
    ----------
    verbosity
        Number of ``-v`` options.
    error, output
        Streams for messages and for results; the current standard error and standard output where None.
    """

    def __init__(
        self,
        *,
        verbosity: int = 0,
        error: TextIO | None = None,
        output: TextIO | None = None,
    ) -> None:
        super().__init__()
        self._error, self._output = error or sys.stderr, output or sys.stdout
        self._level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
        self._n_unplanned, self._n_planned = 0, 0
        self._n_runs = self._n_finished = self._n_failed = self._n_processed = 0
        self._started: dict[str, float] = {}
        self._first_start: float | None = None
        self._bar: Any = None
        self._previous_levels: list[tuple[logging.Logger, int]] = []
        self.reprocessed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        root, package = logging.getLogger(), logging.getLogger(_PACKAGE)
        self._previous_levels = [(root, root.level), (package, package.level)]
        root.setLevel(logging.WARNING)
        package.setLevel(min(self._level, logging.INFO))
        root.addHandler(self)
        logging.captureWarnings(True)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self)
        for logger, level in self._previous_levels:
            logger.setLevel(level)
        self.close_bar()

    def open_bar(self, participants: int) -> None:
        """Show the progress bar for a number of participants."""
        self._n_unplanned = participants
        if self._error.isatty():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # without a monitoring thread
            self._bar = tqdm(total=1, file=self._error, leave=False, bar_format=_BAR, ncols=100)
            self._renew()

    def close_bar(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, if its level and origin allow."""
        stage = getattr(record, "stage", None)
        try:
            if stage is not None:
                self._show_stage(record, stage)
            elif not getattr(record, "outcome", False):  # outcomes are shown by `show_outcome`
                ours = record.name == _PACKAGE or record.name.startswith(f"{_PACKAGE}.")
                if record.levelno < (self._level if ours else logging.WARNING):
                    return
                self.write(f"{_clock(record.created)}  {record.levelname.lower()}: {record.getMessage()}", self._error)
        except Exception:  # noqa: BLE001 -- as in every logging handler
            self.handleError(record)

    def write(self, line: str, stream: TextIO | None = None) -> None:
        """Write a line above the bar, to standard output unless another stream is given."""
        stream = stream or self._output
        if self._bar is None:
            stream.write(line + "\n")
            stream.flush()
        else:
            self._bar.write(line, file=stream)

    def add_runs(self, participant: str, runs: Sequence[str]) -> None:
        """Add the runs of a participant to the total."""
        self._n_unplanned -= 1
        self._n_planned += 1
        self._n_runs += len(runs)
        count = f"{len(runs)} run{'' if len(runs) == 1 else 's'} found"
        self.write(f"{_clock(time.time())}  sub-{participant}: {count}", self._error)
        self._renew()

    def show_outcome(self, outcome: Outcome) -> None:
        """Show the outcome of a run."""
        self.write(f"{outcome.name}: {'failed. ' if outcome.exit_code else ''}{outcome.message}")
        if outcome.selected and not outcome.name.endswith("_longitudinal"):
            self._n_finished += 1
            self._n_failed += bool(outcome.exit_code)
            self._n_processed += not outcome.up_to_date
        self._renew()

    @property
    def progress(self) -> str:
        """Number of finished runs, and estimated time left.

        Examples
        --------
        >>> Console().progress
        '0 of 0 runs'
        """
        expected = self._expected()
        about = "about " if self._n_unplanned else ""
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        left = ""
        if self._n_processed and self._first_start is not None and expected > self._n_finished:
            seconds = (time.time() - self._first_start) / self._n_processed * (expected - self._n_finished)
            minutes = max(round(seconds / 60), 1)
            left = f", about {f'{minutes // 60} h {minutes % 60:02d} min' if minutes >= 60 else f'{minutes} min'} left"
        return f"{self._n_finished} of {about}{expected} runs{failed}{left}"

    def _expected(self) -> int:
        """Return the expected number of runs; unplanned participants count as the mean of the others."""
        runs_per_participant = self._n_runs / self._n_planned if self._n_planned else 1.0
        return self._n_runs + round(self._n_unplanned * runs_per_participant)

    def _renew(self) -> None:
        if self._bar is not None:
            self._bar.total, self._bar.n = max(self._expected(), 1), self._n_finished
            self._bar.set_description_str(self.progress)

    def _show_stage(self, record: logging.LogRecord, stage: str) -> None:
        run, detail = getattr(record, "run", ""), getattr(record, "detail", "")
        if stage == "started":
            self._first_start = self._first_start or record.created
            self._started[run] = record.created
        if stage == "reprocessing":
            self.reprocessed[detail] += 1
        elapsed = duration(record.created - self._started[run]) if stage != "started" and run in self._started else ""
        self.write(f"{_clock(record.created)}  {run}: {stage} {elapsed or detail}".rstrip(), self._error)
        self._renew()


def duration(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> duration(8.4), duration(125), duration(7320)
    ('8 s', '2 min 05 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))
