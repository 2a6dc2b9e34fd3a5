"""Shared by all tests: hypothesis without deadlines, coverage of quick tests, figures that need no rendering."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bids_alps.io.validation import find_validator

settings.register_profile("bids-alps", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("bids-alps")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Leave slow tests out of the coverage: tracing slows them by half, and a line that they alone run is untested."""
    traced = getattr(item.config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    if traced is None or not item.get_closest_marker("slow"):
        return (yield)
    traced.pause()
    try:
        return (yield)
    finally:
        traced.resume()


@pytest.fixture(scope="module")
def unrendered() -> Iterator[None]:
    """Figures are drawn and not rendered, which takes half of their time: for tests that do not look at them."""
    kinds = ("atlas", "group", "preprocessing", "quality", "registration", "rois", "statistics")
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:
            patch.setattr(f"bids_alps.report.figures_{kind}.svg_bytes", lambda figure: b"<svg></svg>")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans, from ALPS_REAL_DATA."""
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        pytest.skip("ALPS_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def bids_errors() -> Callable[..., list[str]]:
    """Errors of the BIDS validator for a dataset, with options."""
    validator = find_validator()
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")

    def find(dataset: Path, *options: str) -> list[str]:
        command = [str(validator), str(dataset), "--ignoreWarnings", "--format", "json", *options]
        ran = subprocess.run(command, capture_output=True, check=False, timeout=300)
        report: dict[str, Any] = json.loads(ran.stdout)
        wrong = [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]
        return [f"{issue['code']} {issue.get('subCode', '')} {issue.get('location')}" for issue in wrong]

    return find
