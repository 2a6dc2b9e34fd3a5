"""How far the work has come: one line that renews itself on a terminal, a line per run in a log."""

from __future__ import annotations

import logging
import time
from typing import Self, TextIO

LOG = logging.getLogger(__name__)
_WIDTH = 30


class Progress:
    """Counts pieces of work as they end.

    Parameters
    ----------
    total
        How many there are.
    stream
        Usually standard error. On anything but a terminal only the log is written to.

    Examples
    --------
    >>> import io
    >>> with Progress(total=2, stream=io.StringIO()) as progress:
    ...     progress.advance("sub-01")
    ...     progress.bar
    '[###############---------------] 1/2'
    """

    def __init__(self, *, total: int, stream: TextIO) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._stream, self._live = stream, stream.isatty()
        self._started, self._written = time.monotonic(), 0

    def __enter__(self) -> Self:
        self._show("")
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def advance(self, name: str, *, failed: bool = False) -> None:
        """Count one that ended, by name, with or without success."""
        self.done += 1
        self.failed += failed
        self.clear()  # the log may write to the same terminal
        LOG.info("%d of %d: %s%s", self.done, self.total, name, " failed" if failed else "")
        self._show(name)

    @property
    def bar(self) -> str:
        """The bar with its count."""
        share = self.done / self.total if self.total else 1.0
        full = round(share * _WIDTH)
        failed = f", {self.failed} failed" if self.failed else ""
        return f"[{'#' * full}{'-' * (_WIDTH - full)}] {self.done}/{self.total}{failed}"

    def clear(self) -> None:
        """Take the line off the terminal, so that something else can be written."""
        if self._written:
            self._stream.write("\r" + " " * self._written + "\r")
            self._stream.flush()
            self._written = 0

    def _show(self, name: str) -> None:
        if not self._live:
            return
        line = f"{self.bar} {_clock(self._remaining())} {name}".rstrip()[:79]
        self._stream.write("\r" + line)
        self._stream.flush()
        self._written = len(line)

    def _remaining(self) -> float | None:
        if not self.done:
            return None
        return (time.monotonic() - self._started) / self.done * (self.total - self.done)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"about {minutes // 60} h {minutes % 60:02d} min left" if minutes else "under a minute left"
