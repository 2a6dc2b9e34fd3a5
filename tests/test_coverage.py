"""The page of tested options agrees with the parser and the tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from bids_alps.arguments import make_parser

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (.+?) \| (.+?) \|$", (ROOT / "docs/tests.md").read_text(), re.MULTILINE)
TESTS = sorted({name for _, tests in ROWS for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", tests)})


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


def test_every_option_has_a_row() -> None:
    documented = {option for row, _ in ROWS for option in re.findall(r"`([^`]+)`", row)}
    options = {
        next((text for text in action.option_strings if text.startswith("--")), action.dest): action.dest
        for action in make_parser()._actions
        if action.dest != "help"
    }
    del options["--mem-gb"]  # another spelling of --mem
    assert documented == set(options)


def test_every_row_names_a_test() -> None:
    assert [row for row, tests in ROWS if row not in ("option", "complaint", "---") and "::test_" not in tests] == []


@pytest.mark.parametrize("name", TESTS)
def test_every_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert function in functions(ROOT / path)
