"""A bar on a terminal, plain lines in a log."""

import io
import logging

from bids_alps.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_one_line_that_is_cleared_at_the_end():
    stream = Terminal()
    with Progress(total=2, stream=stream) as progress:
        progress.advance("sub-01")
        progress.advance("sub-02", failed=True)
        assert progress.bar == f"[{'#' * 30}] 2/2, 1 failed"
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith(" \r")


def test_a_file_sees_no_bar_and_the_log_has_a_line_each(caplog):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO), Progress(total=2, stream=stream) as progress:
        progress.advance("sub-01")
        progress.advance("sub-02", failed=True)
    assert stream.getvalue() == ""
    assert caplog.messages == ["1 of 2: sub-01", "2 of 2: sub-02 failed"]


def test_nothing_to_do_is_all_done():
    assert Progress(total=0, stream=io.StringIO()).bar.endswith("0/0")
