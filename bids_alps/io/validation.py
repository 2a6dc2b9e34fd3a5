"""Runs the BIDS validator, if it is installed."""

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

from bids_alps.errors import InvalidBidsError
from bids_alps.io.root import read_description

LOG = logging.getLogger(__name__)
_DESCRIPTION = "/dataset_description.json"
_SHOWN = 5
_TIMEOUT_SECONDS = 1800


def find_validator() -> str | None:
    """Return the path of ``bids-validator-deno``, next to this Python or on the PATH; None if not installed."""
    local = Path(sys.executable).with_name("bids-validator-deno")
    return str(local) if local.is_file() else shutil.which("bids-validator-deno")


def validate_dataset(bids_dir: Path, participants: Sequence[str] = ()) -> str:
    """Run the BIDS validator on a raw dataset; return its result in one sentence.

    Only errors in ``dataset_description.json`` are fatal. Others are warnings in the log: files that are used are
    checked anyway, and files that are not used must not fail a participant.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    participants
        Labels without ``sub-`` of participants to validate, with the files at the root; all if empty.

    Raises
    ------
    InvalidBidsError
        If ``dataset_description.json`` is not valid.
    """
    validator = find_validator()
    if validator is None:
        return "The BIDS validator was not run: bids-validator-deno is not installed."
    if read_description(bids_dir).get("DatasetType") == "derivative":
        return "The BIDS validator was not run: it does not support derivatives of other programs."
    try:
        with _view(bids_dir.resolve(), participants) as view:
            issues = _run(validator, view)
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        return f"The BIDS validator could not be run ({error})."
    fatal = [text for location, text in issues if location == _DESCRIPTION]
    if fatal:
        raise InvalidBidsError(
            str(bids_dir),
            f"{len(fatal)} errors of the BIDS validator in dataset_description.json: {_summary(fatal)}",
            "repair it, or --skip-bids-validation",
        )
    for location, text in issues:
        LOG.info("BIDS validator: %s", text if location else f"{text} (dataset)")
    if issues:
        LOG.warning(
            "%s: %d errors of the BIDS validator (not fatal): %s",
            bids_dir,
            len(issues),
            _summary([text for _, text in issues]),
        )
    scope = f"{len(participants)} participants" if participants else "all participants"
    return f"The BIDS validator was run on {scope}: {len(issues)} errors."


@contextmanager
def _view(bids_dir: Path, participants: Sequence[str]) -> Iterator[Path]:
    """Yield a folder with links to some participants of a dataset; the dataset itself for all."""
    if not participants:
        yield bids_dir
        return
    with TemporaryDirectory(prefix="bids-alps-") as scratch:
        view = Path(scratch)
        for name in (entry.name for entry in os.scandir(bids_dir) if entry.is_file()):
            (view / name).symlink_to(bids_dir / name)
        for label in participants:
            for folder, _, files in os.walk(bids_dir / f"sub-{label}"):
                here = view / Path(folder).relative_to(bids_dir)
                here.mkdir()
                for name in files:
                    (here / name).symlink_to(Path(folder) / name)
        yield view


def _run(validator: str, dataset: Path) -> list[tuple[str, str]]:
    """Return location and text of each error."""
    command = [validator, str(dataset), "--ignoreWarnings", "--format", "json"]
    result = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS)  # noqa: S603 -- no shell
    issues = json.loads(result.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue.get("severity") == "error"]
    return [(issue.get("location", ""), f"{issue['code']} {issue.get('location', '')}".strip()) for issue in errors]


def _summary(issues: list[str]) -> str:
    return "; ".join(sorted(set(issues))[:_SHOWN])
