"""Errors of runs without a result, from the crash files in the logs."""

from __future__ import annotations

from pathlib import Path

from bids_alps.report.page import Failure


def find_failures(output_dir: Path, participant: str) -> list[Failure]:
    """Return the last unresolved error of each run, from the crash files in the logs."""
    last: dict[str, Path] = {}
    for path in sorted((output_dir / "logs" / f"sub-{participant}").glob("**/crash-*.txt")):
        name = path.stem.removeprefix("crash-")
        if not name.endswith("_page"):  # crash while writing this page
            last[name] = path
    failures = []
    for run, path in sorted(last.items()):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        lines = [line for line in text.splitlines() if line.strip()] or ["no message"]
        failures.append(Failure(run=run, message=lines[0], details="\n".join(lines[1:])))
    return failures


def find_all_failures(output_dir: Path) -> list[Failure]:
    """Return the last unresolved error of each run of all participants."""
    labels = sorted(path.name.removeprefix("sub-") for path in (output_dir / "logs").glob("sub-*"))
    return [failure for label in labels for failure in find_failures(output_dir, label)]
