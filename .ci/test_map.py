"""Which lines each test runs and how long it takes, measured once and kept until a file that matters changes.

What a fixture of a module or session runs is counted for every test that uses it, not for the first one alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import coverage
import pytest
from fork_server import Copy

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("tests/conftest.py", "tests/helpers.py")
IMPORT = "import"
LONGEST = 600.0  # seconds that a file of quick tests may take


@cache
def digest(path: str) -> str:
    """Return a digest of a file of the checkout."""
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()[:12] if (ROOT / path).exists() else ""


class Recorder:
    """A pytest plugin that measures lines and seconds of tests and of the fixtures that tests share."""

    def __init__(self, root: Path, result: Path) -> None:
        self.root, self.result = root, result
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source=[str(root / "bids_alps")])
        self.stack = [IMPORT]
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = cpu_seconds()
        self.tests: dict[str, list[str]] = {}
        self.outcomes: dict[str, set[str]] = defaultdict(set)
        self.coverage.start()

    def switch(self, context: str) -> None:
        """Count what follows for another context."""
        now = cpu_seconds()
        self.seconds[self.stack[-1]] += now - self.since
        self.since = now
        self.coverage.switch_context(context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Count a test, and note the fixtures that it shares with others."""
        self.tests[item.nodeid] = sorted(
            {
                name_of(definition, getattr(item, "callspec", None))
                for definitions in getattr(item, "_fixtureinfo", _NONE).name2fixturedefs.values()
                for definition in definitions
                if definition.scope != "function"
            }
        )
        return (yield from self._inside(item.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """Count a fixture that tests share."""
        if fixturedef.scope == "function":
            return (yield)
        return (yield from self._inside(name_of(fixturedef, getattr(request._pyfuncitem, "callspec", None))))

    def _inside(self, context: str) -> Iterator[Any]:
        self.switch(context)
        self.stack.append(context)
        try:
            return (yield)
        finally:
            self.switch(self.stack[-2])
            self.stack.pop()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what does not pass."""
        self.outcomes[report.nodeid].add(report.outcome)

    def pytest_sessionfinish(self) -> None:
        """Write the map of this file."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = defaultdict(dict)
        for file in sorted(data.measured_files()):
            path = str(Path(file).relative_to(self.root))
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    lines[context].setdefault(path, []).append(line)
        tests = {test: fixtures for test, fixtures in self.tests.items() if self.outcomes[test] == {"passed"}}
        failed = [test for test in self.tests if "failed" in self.outcomes[test]]
        entry = {"tests": tests, "failed": failed, "seconds": self.seconds, "lines": lines}
        self.result.write_text(json.dumps(entry))


class _NONE:
    name2fixturedefs: dict[str, Any] = {}  # noqa: RUF012 - a doctest has no fixtures


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def name_of(definition: Any, callspec: Any) -> str:
    """Return the name of one instance of a shared fixture."""
    index = getattr(callspec, "indices", {}).get(definition.argname, "")
    return f"fixture {definition.baseid}::{definition.argname}{index}"


def test_files() -> list[str]:
    """Return the files that hold tests, doctests too."""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    modules = [path for path in sorted((ROOT / "bids_alps").rglob("*.py")) if ">>> " in path.read_text()]
    return [str(path.relative_to(ROOT)) for path in tests + modules if "browser" not in path.parts]


def kept(file: str, folder: Path) -> dict[str, Any] | None:
    """Return the map of a test file, where nothing that it depends on has changed."""
    path = folder / (file.replace("/", "_") + ".json")
    if not path.exists():
        return None
    entry = json.loads(path.read_text())
    return entry if all(digest(name) == known for name, known in entry["digests"].items()) else None


def measure(file: str, copy: Copy, folder: Path, selection: str) -> dict[str, Any]:
    """Run a test file and keep its map."""
    path = folder / (file.replace("/", "_") + ".json")
    path.unlink(missing_ok=True)
    code = copy.run([file, "-m", selection], lambda: [Recorder(copy.root, path)], LONGEST)
    entry = json.loads(path.read_text()) if path.exists() else {"tests": {}, "failed": [], "seconds": {}, "lines": {}}
    touched = {name for context, files in entry["lines"].items() if context not in ("", IMPORT) for name in files}
    entry |= {"code": code, "digests": {name: digest(name) for name in sorted({file, *SHARED, *touched})}}
    path.write_text(json.dumps(entry))
    return entry


class TestMap:
    """Tests by the lines that they run."""

    def __init__(self, entries: dict[str, dict[str, Any]]) -> None:
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}
        self.file_of: dict[str, str] = {}
        self.at: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.size: dict[str, int] = defaultdict(int)
        for file, entry in entries.items():
            self._add(file, entry)

    def _add(self, file: str, entry: dict[str, Any]) -> None:
        for context, seconds in entry["seconds"].items():
            self.seconds[f"{file} {context}" if context.startswith("fixture") else context] = seconds
        for test, fixtures in entry["tests"].items():
            self.file_of[test] = file
            self.fixtures[test] = [f"{file} {fixture}" for fixture in fixtures]
            for context in (test, *fixtures):
                for path, lines in entry["lines"].get(context, {}).items():
                    self.size[test] += len(lines)
                    for line in lines:
                        self.at[path, line].add(test)

    def tests_at(self, path: str, lines: set[int]) -> set[str]:
        """Return the tests that run any of some lines."""
        return set().union(*(self.at.get((path, line), set()) for line in lines))

    def tests_of(self, path: str) -> set[str]:
        """Return the tests that run any line of a file."""
        return set().union(*(tests for (where, _), tests in self.at.items() if where == path))

    def cost(self, test: str, ready: set[str]) -> float:
        """Return the seconds of a test, with those of its fixtures that are not there yet."""
        waiting = (fixture for fixture in self.fixtures[test] if fixture not in ready)
        return self.seconds.get(test, 0.0) + sum(self.seconds.get(fixture, 0.0) for fixture in waiting)
