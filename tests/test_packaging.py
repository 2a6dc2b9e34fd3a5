"""One version and one code, wherever the program is installed from."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

import bids_alps
from bids_alps import identity

ROOT = Path(__file__).parents[1]


def test_the_version_is_defined_once_and_cited() -> None:
    assert version("bids-alps") == bids_alps.__version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == bids_alps.__version__


def test_the_code_digest_changes_with_the_code_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        identity.code_digest.cache_clear()
        return identity.code_digest()

    ours = digest()
    copy = tmp_path / "elsewhere/bids_alps"
    shutil.copytree(ROOT / "bids_alps", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with monkeypatch.context() as patched:
        patched.setattr(identity, "__file__", str(copy / "identity.py"))
        assert digest() == ours
        with (copy / "resources/rois.toml").open("a") as stream:
            stream.write("\n")
        assert digest() != ours
    assert digest() == ours
