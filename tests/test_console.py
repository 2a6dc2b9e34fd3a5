"""What a terminal and a log file show of a study."""

import io
import logging
import re
import warnings
from pathlib import Path

import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.console import Console
from bids_alps.participant import Outcome
from bids_alps.progress import log_stage
from bids_alps.summary import read_checks, summarize


class Terminal(io.StringIO):
    def isatty(self):
        return True


def study(stream, *, verbosity=0, output=None):
    """Two participants with three runs, of which one fails and one was up to date."""
    with Console(verbosity=verbosity, error=stream, output=output or stream) as console:
        console.open_bar(2)
        console.add_runs("01", ["sub-01_run-1", "sub-01_run-2"])
        log_stage("sub-01_run-1", "started")
        log_stage("sub-01_run-1", "aligned")
        logging.getLogger("bids_alps.io").warning("no T1w")
        logging.getLogger("bids_alps.io").info("read a file")
        logging.getLogger("nibabel").info("chatter")
        console.show_outcome(Outcome(name="sub-01_run-1", message="alps 1.5"))
        half = console.progress
        logging.getLogger("bids_alps").error("sub-01_run-2: no bvec", extra={"outcome": True})
        console.show_outcome(Outcome(name="sub-01_run-2", message="no bvec", exit_code=66))
        console.add_runs("02", ["sub-02"])
        console.show_outcome(Outcome(name="sub-02", message="alps 1.4 [up to date]"))
        return half, console.progress


def test_a_log_file_has_plain_lines_and_each_result_once():
    stream = io.StringIO()
    half, whole = study(stream)
    text = stream.getvalue()
    assert "\r" not in text
    assert "|" not in text
    lines = [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in text.splitlines()]
    assert lines == [
        "sub-01: 2 runs found",
        "sub-01_run-1: started",
        "sub-01_run-1: aligned 0 s",
        "warning: no T1w",
        "sub-01_run-1: alps 1.5",
        "sub-01_run-2: failed. no bvec",
        "sub-02: 1 run found",
        "sub-02: alps 1.4 [up to date]",
    ]
    assert half.startswith("1 of about 4 runs, about ")
    assert whole == "3 of 3 runs, 1 failed"


def test_a_terminal_keeps_a_bar_of_runs_below_whole_lines():
    stream = Terminal()
    study(stream)
    shown = stream.getvalue()
    assert "0 of about 2 runs" in shown
    assert "1 of about 4 runs" in shown
    for line in ("sub-01_run-1: alps 1.5", "warning: no T1w"):
        assert re.search(rf"(^|[\r\n])(\d\d:\d\d:\d\d  )?{line}\n", shown)
    assert re.search(r"\r *\r?$", shown)  # the bar is gone at the end


@pytest.mark.parametrize(("verbosity", "seen"), [(0, False), (1, True), (2, True)])
def test_log_levels_affect_this_program_only(verbosity, seen):
    stream = io.StringIO()
    study(stream, verbosity=verbosity)
    assert ("read a file" in stream.getvalue()) == seen
    assert "chatter" not in stream.getvalue()


def test_logging_and_warnings_are_restored():
    root, package = logging.getLogger(), logging.getLogger("bids_alps")
    before = (root.level, package.level, list(root.handlers), warnings.showwarning)
    study(io.StringIO())
    assert (root.level, package.level, list(root.handlers), warnings.showwarning) == before


def write_checks(folder: Path, run: str, **statuses: str) -> None:
    path = folder / run.split("_")[0] / "dwi" / f"{run}_desc-quality_scalarstats.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{name}\t{status}\n" for name, status in statuses.items())
    path.write_text(f"name\tstatus\n{rows}")


def test_the_summary_counts_statuses_and_names_checks_reports_and_next_steps(tmp_path):
    settings = settings_of(parse([str(tmp_path / "in"), str(tmp_path), "participant", "--run-uuid", "here"]))
    write_checks(tmp_path, "sub-01", pitch="pass", snr="pass")
    write_checks(tmp_path, "sub-02", pitch="warn", snr="warn")
    write_checks(tmp_path, "sub-03", pitch="warn", snr="fail")
    for name in ("sub-01", "sub-02", "sub-03", "sub-04"):
        (tmp_path / f"{name}.html").write_text("")
    outcomes = [
        Outcome(name="sub-01", message="1.5 [up to date]"),
        Outcome(name="sub-02", message="1.5"),
        Outcome(name="sub-03", message="n/a"),
        Outcome(name="sub-04", message="no bvec", exit_code=66),
    ]
    assert summarize(outcomes, settings, {"roi_radius was n/a and is 5.0": 2}) == [
        "4 runs: 1 passed, 1 with warnings, 1 with failed checks, 1 without a result. 1 of them was up to date.",
        "Processed again: 2 runs, roi_radius was n/a and is 5.0.",
        "Checks that failed: snr (1).",
        "Checks that warned: pitch (2), snr (1).",
        f"1 of 4 runs failed: sub-04; see {tmp_path}/logs/summary-here.tsv and the crash files in {tmp_path}/logs.",
        f"Reports: {tmp_path}/sub-*.html (4)",
        "Next: check the reports of sub-02, sub-03; then fix the errors and run the command again: "
        "finished runs are kept; "
        f"then bids-alps {tmp_path / 'in'} {tmp_path} group",
    ]


def test_a_longitudinal_call_without_sessions_says_so(tmp_path):
    arguments = [str(tmp_path / "in"), str(tmp_path), "participant", "--longitudinal"]
    run, change = Outcome(name="sub-01", message="1.5"), Outcome(name="sub-01_longitudinal", message="+0.1")
    sentence = "--longitudinal compared nothing: no participant has runs that differ only in the session."
    settings = settings_of(parse(arguments))
    assert sentence in summarize([run], settings, {})
    assert sentence not in summarize([run, change], settings, {})


def test_the_worst_status_of_several_presets_is_shown(tmp_path):
    path = tmp_path / "sub-01" / "dwi" / "sub-01_desc-quality_scalarstats.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("name\tstatus\npitch\twarn\npitch\tpass\n")
    assert read_checks(tmp_path, "sub-01") == {"pitch": "warn"}
