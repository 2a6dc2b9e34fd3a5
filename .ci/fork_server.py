"""Copies of the checkout in which pytest runs often, each time in a fork of a process that has its libraries."""

from __future__ import annotations

import compileall
import contextlib
import importlib
import json
import math
import os
import py_compile
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

LIBRARIES = [
    "bids",
    "dipy.align",
    "dipy.core.gradients",
    "dipy.denoise",
    "dipy.reconst.dti",
    "dipy.segment",
    "formulaic",
    "hypothesis",
    "hypothesis.extra.numpy",
    "zlib_ng.gzip_ng",
    "jinja2",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "nibabel",
    "numpy.testing",
    "pandas",
    "pingouin",
    "psutil",
    "scipy.interpolate",
    "scipy.linalg",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.spatial",
    "scipy.special",
    "scipy.stats",
    "SimpleITK",
    "statsmodels.formula.api",
    "statsmodels.stats.api",
    "skimage.restoration",
    "threadpoolctl",
    "tqdm",
    "xdist",
]
HANGS = 6
WARNING = "ignore::pytest.PytestAssertRewriteWarning"  # of the libraries that are there already
PYTEST = (
    "-q",
    "-n0",
    "--no-header",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:faulthandler",
    "-p",
    "no:randomly",
    "-W",
    WARNING,
)


def preload() -> None:
    """Import what tests import, but for the package itself and for what reads the environment."""
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)


class Outcomes:
    """A pytest plugin that keeps a selection of tests, in an order, and writes what failed."""

    def __init__(self, wanted: Sequence[str], result: Path) -> None:
        self.rank = {test: number for number, test in enumerate(wanted)}
        self.result = result
        self.ran = 0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep and order."""
        items[:] = sorted((item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count, and write the first failure."""
        self.ran += report.when == "call"
        if report.failed and not self.result.exists():
            self.result.write_text(json.dumps({"test": report.nodeid, "ran": self.ran}))


class Copy:
    """A copy of the checkout, whose files a mutant may change."""

    def __init__(self, source: Path, root: Path) -> None:
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        skipped = shutil.ignore_patterns(".*_cache", "__pycache__", ".git", ".venv*", ".mutants", "demo", "site")
        shutil.copytree(source, root, ignore=skipped, symlinks=True)
        # bytecode is told by a digest: a mutant may have the length and the second of the original
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(root / "bids_alps", quiet=2, invalidation_mode=mode)

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """Hold another text in a file."""
        target = self.root / path
        original = target.read_text()
        target.write_text(text)
        try:
            yield
        finally:
            target.write_text(original)

    def run(self, arguments: Sequence[str], plugins: Callable[[], list[object]], seconds: float) -> int | None:
        """Return pytest's exit code in a fork, None where it took more CPU seconds, or hangs."""
        child = os.fork()
        if not child:
            code = 3
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds) + 5))
                code = self._pytest(arguments, plugins)
            except BaseException:  # noqa: BLE001 - a fork may not go on as its parent
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + HANGS * seconds  # of a busy machine
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                stop_group(child)
                code = os.waitstatus_to_exitcode(status)
                return None if code == -signal.SIGXCPU else code
            time.sleep(0.01)
        stop_group(child)
        os.waitpid(child, 0)
        return None

    def _pytest(self, arguments: Sequence[str], plugins: Callable[[], list[object]]) -> int:
        os.setsid()
        os.chdir(self.root)
        log = os.open(self.root / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        sys.path.insert(0, str(self.root))
        os.environ["PYTHONPATH"] = str(self.root)
        return int(pytest.main([*PYTEST, *arguments], plugins=plugins()))


def stop_group(leader: int) -> None:
    """End whatever a test left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
