"""The full BIDS validator, where it is installed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bids_alps.errors import InvalidBidsError
from bids_alps.io.root import read_description

LOG = logging.getLogger(__name__)
_SHOWN = 5
_TIMEOUT_SECONDS = 1800


def find_validator() -> str | None:
    """Return the path of ``bids-validator-deno``, beside this Python or on the path; None where there is none."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    return str(beside) if beside.is_file() else shutil.which("bids-validator-deno")


def validate_dataset(bids_dir: Path) -> None:
    """Run the full validator on a raw dataset; tell where it cannot be run.

    An error in a participant's folder is a warning here: it must not cost the other participants, and what is read
    is checked on its own.

    Raises
    ------
    InvalidBidsError
        If it finds errors of the dataset as a whole.
    """
    validator = find_validator()
    if validator is None or read_description(bids_dir).get("DatasetType") == "derivative":
        return
    command = [validator, str(bids_dir.resolve()), "--ignoreWarnings", "--format", "json"]
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS)  # noqa: S603 -- no shell
        issues = _errors(json.loads(ran.stdout))
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        LOG.warning("The full BIDS validator could not be run (%s); what is read is checked all the same.", error)
        return
    whole = [told for place, told in issues if not place.startswith("/sub-")]
    if whole:
        raise InvalidBidsError(
            str(bids_dir),
            f"{len(whole)} errors of the BIDS validator: {_shown(whole)}",
            "repair it, or --skip-bids-validation",
        )
    if issues:
        told = _shown([told for _, told in issues])
        LOG.warning("%s: %d errors of the BIDS validator in participants' folders: %s", bids_dir, len(issues), told)


def _shown(issues: list[str]) -> str:
    return "; ".join(sorted(set(issues))[:_SHOWN])


def _errors(report: Any) -> list[tuple[str, str]]:
    """Return the place and the text of each error."""
    found = (issue for issue in report["issues"]["issues"] if issue.get("severity") == "error")
    return [(issue.get("location", ""), f"{issue['code']} {issue.get('location', '')}".strip()) for issue in found]
