"""The full BIDS validator, where it is installed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bids_alps.errors import InvalidBidsError
from bids_alps.io.root import read_description

LOG = logging.getLogger(__name__)
_DESCRIPTION = "/dataset_description.json"
_SHOWN = 5
_TIMEOUT_SECONDS = 1800


def find_validator() -> str | None:
    """Return the path of ``bids-validator-deno``, beside this Python or on the path; None where there is none."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    return str(beside) if beside.is_file() else shutil.which("bids-validator-deno")


def validate_dataset(bids_dir: Path, participants: Sequence[str] = ()) -> str:
    """Run the full validator on a raw dataset; return in one sentence what came of it.

    Only an error in ``dataset_description.json`` is fatal. What else it finds is a warning in the log: files that are
    read are checked on their own, and files that are not must not cost a participant.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    participants
        Labels without ``sub-`` of those whose folders it is shown, beside the files at the root; all where empty.

    Raises
    ------
    InvalidBidsError
        If ``dataset_description.json`` is not valid.
    """
    validator = find_validator()
    if validator is None:
        return "The BIDS validator was not run: bids-validator-deno is not installed."
    if read_description(bids_dir).get("DatasetType") == "derivative":
        return "The BIDS validator was not run: it knows no derivatives of other programs."
    try:
        with _view(bids_dir.resolve(), participants) as shown:
            issues = _run(validator, shown)
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        return f"The BIDS validator could not be run ({error})."
    fatal = [told for place, told in issues if place == _DESCRIPTION]
    if fatal:
        raise InvalidBidsError(
            str(bids_dir),
            f"{len(fatal)} errors of the BIDS validator in dataset_description.json: {_shown(fatal)}",
            "repair it, or --skip-bids-validation",
        )
    for place, told in issues:
        LOG.info("BIDS validator: %s", told if place else f"{told} (dataset)")
    if issues:
        LOG.warning(
            "%s: %d errors of the BIDS validator, none of which stops: %s",
            bids_dir,
            len(issues),
            _shown([told for _, told in issues]),
        )
    seen = f"{len(participants)} participants" if participants else "all participants"
    return f"The BIDS validator was run on {seen}: {len(issues)} errors."


@contextmanager
def _view(bids_dir: Path, participants: Sequence[str]) -> Iterator[Path]:
    """Yield a folder that shows some participants of a dataset alone, by links; the dataset itself for all."""
    if not participants:
        yield bids_dir
        return
    with TemporaryDirectory(prefix="bids-alps-") as scratch:
        shown = Path(scratch)
        for name in (entry.name for entry in os.scandir(bids_dir) if entry.is_file()):
            (shown / name).symlink_to(bids_dir / name)
        for label in participants:
            for folder, _, files in os.walk(bids_dir / f"sub-{label}"):
                here = shown / Path(folder).relative_to(bids_dir)
                here.mkdir()
                for name in files:
                    (here / name).symlink_to(Path(folder) / name)
        yield shown


def _run(validator: str, dataset: Path) -> list[tuple[str, str]]:
    command = [validator, str(dataset), "--ignoreWarnings", "--format", "json"]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS)  # noqa: S603 -- no shell
    return _errors(json.loads(ran.stdout))


def _shown(issues: list[str]) -> str:
    return "; ".join(sorted(set(issues))[:_SHOWN])


def _errors(report: Any) -> list[tuple[str, str]]:
    """Return the place and the text of each error."""
    found = (issue for issue in report["issues"]["issues"] if issue.get("severity") == "error")
    return [(issue.get("location", ""), f"{issue['code']} {issue.get('location', '')}".strip()) for issue in found]
