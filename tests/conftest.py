"""Shared by all tests: hypothesis without deadlines, tests outside of the coverage, figures that need no rendering."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from matplotlib.backends.backend_svg import FigureCanvasSVG

from bids_alps.io.validation import find_validator

settings.register_profile("bids-alps", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("bids-alps")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Do not trace the lines of tests marked so: it slows them by half, and other tests run the same lines."""
    traced = getattr(item.config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    if traced is None or not item.get_closest_marker("untraced"):
        return (yield)
    traced.pause()
    try:
        return (yield)
    finally:
        traced.resume()


@pytest.fixture(scope="module")
def unrendered() -> Iterator[None]:
    """Figures are drawn and not rendered, which takes half of their time: for tests that do not look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasSVG, "print_svg", lambda _, stream, **__: stream.write(b"<svg></svg>"))
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
