"""The documentation agrees with the code: its tables are generated, and its anchors and links exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bids_alps.arguments import make_parser
from bids_alps.io.derivative_kinds import DERIVATIVES
from bids_alps.quality.thresholds import THRESHOLDS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def load_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return str(load_hooks().on_page_markdown((ROOT / "docs" / name).read_text()))


def test_every_option_is_documented() -> None:
    actions = [action for action in make_parser()._actions if action.dest != "help"]
    spellings = {name for action in actions for name in action.option_strings if "_" not in name}
    assert not sorted(name for name in spellings if f"`{name}`" not in page("usage.md"))


@pytest.mark.parametrize("key", list(DERIVATIVES))
def test_every_file_is_documented(key: str) -> None:
    kind = DERIVATIVES[key]
    entities = "".join(f"{entity}-{label}_" for entity, label in kind.entities.items())
    name = f"<run>_{entities}{kind.suffix}{kind.extension}".replace("{", "<").replace("}", ">")
    assert f"{name}`" in page("outputs.md")


def test_every_check_is_documented() -> None:
    assert not [name for name in THRESHOLDS if f"| `{name}` |" not in page("quality.md")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_anchors_and_links_exist(path: Path) -> None:
    text = page(path.name)
    assert "<!-- generate" not in text
    for target in re.findall(r"\]\((?!http|images/)([^)#]+)", text):
        assert (path.parent / target).exists() or (ROOT / target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert not [path.name for path in PAGES if f": {path.name}" not in navigation]
