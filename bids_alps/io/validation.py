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

    Raises
    ------
    InvalidBidsError
        If it finds errors.
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
    if issues:
        told = "; ".join(sorted(set(issues))[:_SHOWN])
        raise InvalidBidsError(
            str(bids_dir), f"{len(issues)} errors of the BIDS validator: {told}", "repair it, or --skip-bids-validation"
        )


def _errors(report: Any) -> list[str]:
    return [
        f"{issue['code']} {issue.get('location', '')}".strip()
        for issue in report["issues"]["issues"]
        if issue.get("severity") == "error"
    ]
