"""What a terminal, or the log of a batch system, shows of a study: stages, a bar that counts runs, results, the end."""

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
    """Shows log records and results as lines; on a terminal, a bar stays below them and is never broken by one.

    Stages of runs are shown always, other messages of this program from warnings on, from information with ``-v`` and
    everything with ``-vv``. Of other libraries, warnings are shown and nothing else.

    Parameters
    ----------
    verbosity
        How often ``-v`` was given.
    error, output
        Streams of messages and of results; standard error and standard output as they are now where None.
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
        self._unplanned, self._planned = 0, 0
        self._found = self._ended = self._failed = self._measured = 0
        self._began: dict[str, float] = {}
        self._first: float | None = None
        self._bar: Any = None
        self._left: list[tuple[logging.Logger, int]] = []
        self.redone: Counter[str] = Counter()

    def __enter__(self) -> Self:
        root, package = logging.getLogger(), logging.getLogger(_PACKAGE)
        self._left = [(root, root.level), (package, package.level)]
        root.setLevel(logging.WARNING)
        package.setLevel(min(self._level, logging.INFO))
        root.addHandler(self)
        logging.captureWarnings(True)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self)
        for logger, level in self._left:
            logger.setLevel(level)
        self.close_bar()

    def open_bar(self, participants: int) -> None:
        """Begin to count the runs of so many participants."""
        self._unplanned = participants
        if self._error.isatty():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread of its own
            self._bar = tqdm(total=1, file=self._error, leave=False, bar_format=_BAR, ncols=100)
            self._renew()

    def close_bar(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, if it is one to show."""
        stage = getattr(record, "stage", None)
        try:
            if stage is not None:
                self._show_stage(record, stage)
            elif self._is_shown(record):
                self.write(f"{_clock(record.created)}  {record.levelname.lower()}: {record.getMessage()}", self._error)
        except Exception:  # noqa: BLE001 -- as every handler does
            self.handleError(record)

    def write(self, line: str, stream: TextIO | None = None) -> None:
        """Write a line above the bar, to standard output unless another stream is given."""
        stream = stream or self._output
        if self._bar is None:
            stream.write(line + "\n")
            stream.flush()
        else:
            self._bar.write(line, file=stream)

    def found(self, participant: str, runs: Sequence[str]) -> None:
        """Count the runs of a participant."""
        self._unplanned -= 1
        self._planned += 1
        self._found += len(runs)
        told = f"{len(runs)} run{'' if len(runs) == 1 else 's'} found"
        self.write(f"{_clock(time.time())}  sub-{participant}: {told}", self._error)
        self._renew()

    def ended(self, outcome: Outcome) -> None:
        """Show what became of a run, once."""
        self.write(f"{outcome.name}: {'failed. ' if outcome.exit_code else ''}{outcome.message}")
        if outcome.selected and not outcome.name.endswith("_longitudinal"):
            self._ended += 1
            self._failed += bool(outcome.exit_code)
            self._measured += not outcome.up_to_date
        self._renew()

    @property
    def progress(self) -> str:
        """How many runs have ended, and how long the others may take.

        Examples
        --------
        >>> Console().progress
        '0 of 0 runs'
        """
        expected = self._expected()
        about = "about " if self._unplanned else ""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._ended} of {about}{expected} runs{failed}{self._time_left(expected)}"

    def _expected(self) -> int:
        """Return how many runs there are, those of participants that were not looked into by the mean of the others."""
        each = self._found / self._planned if self._planned else 1.0
        return self._found + round(self._unplanned * each)

    def _time_left(self, expected: int) -> str:
        if not self._measured or self._first is None or expected <= self._ended:
            return ""
        seconds = (time.time() - self._first) / self._measured * (expected - self._ended)
        minutes = max(round(seconds / 60), 1)
        return f", about {f'{minutes // 60} h {minutes % 60:02d} min' if minutes >= 60 else f'{minutes} min'} left"

    def _renew(self) -> None:
        if self._bar is not None:
            self._bar.total, self._bar.n = max(self._expected(), 1), self._ended
            self._bar.set_description_str(self.progress)

    def _show_stage(self, record: logging.LogRecord, stage: str) -> None:
        run, detail = getattr(record, "run", ""), getattr(record, "detail", "")
        if stage == "started":
            self._first = self._first or record.created
            self._began[run] = record.created
        if stage == "redone":
            self.redone[detail] += 1
        taken = duration(record.created - self._began[run]) if stage != "started" and run in self._began else ""
        self.write(f"{_clock(record.created)}  {run}: {stage} {taken or detail}".rstrip(), self._error)
        self._renew()

    def _is_shown(self, record: logging.LogRecord) -> bool:
        if getattr(record, "outcome", False):  # told by `ended`
            return False
        if record.name == _PACKAGE or record.name.startswith(f"{_PACKAGE}."):
            return record.levelno >= self._level
        return record.levelno >= logging.WARNING


def duration(seconds: float) -> str:
    """Return a duration in words.

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
