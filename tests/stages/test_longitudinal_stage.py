"""Comparison of sessions: names of files, and presets that too few sessions share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bids_alps.errors import BadDataError
from bids_alps.io.presets import read_presets
from bids_alps.model import DwiRun
from bids_alps.settings import Method
from bids_alps.stages import longitudinal
from bids_alps.stages.outputs import RunOutputs

NOWHERE = Path("nowhere")
RUNS = [
    DwiRun(entities={"sub": "01", "ses": session}, image=NOWHERE, bval=NOWHERE, bvec=NOWHERE) for session in ("1", "2")
]
WHOLE = DwiRun(entities={"sub": "01"}, image=NOWHERE, bval=NOWHERE, bvec=NOWHERE)


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand for the stages; note the name of the template that each is given."""
    seen: list[str] = []

    def read(names: Any, *, template: str, radius_mm: float | None) -> Any:
        seen.append(template)
        return read_presets(names, template="MNI152NLin2009aSym", radius_mm=radius_mm)

    def scan(outputs: RunOutputs, *_: object) -> tuple[Any, ...]:
        seen.append(outputs.template)
        return (SimpleNamespace(outputs=outputs),)

    def align(outputs: RunOutputs, *_: object) -> None:
        seen.append(outputs.template)

    monkeypatch.setattr(longitudinal, "read_template", lambda _: SimpleNamespace(name="mine"))
    monkeypatch.setattr(longitudinal, "read_presets", read)
    monkeypatch.setattr(longitudinal, "read_scan", scan)
    monkeypatch.setattr(longitudinal, "align", align)
    monkeypatch.setattr(longitudinal, "measure_scan", lambda *_: SimpleNamespace(has_index=True))
    monkeypatch.setattr(longitudinal, "write_table", lambda *_: None)
    return seen


def test_files_of_an_own_template_are_named_by_its_label(
    templates: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longitudinal, "compare", lambda _: [{"change": 0.0}])
    assert longitudinal.run_longitudinal(RUNS, WHOLE, Method(template="/a/folder"), tmp_path) == [{"change": 0.0}]
    assert templates == ["mine"] * 4


@pytest.mark.usefixtures("templates")
def test_sessions_without_a_common_preset_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longitudinal, "compare", lambda _: [])
    with pytest.raises(BadDataError, match="no preset has an index with an interval in two sessions"):
        longitudinal.run_longitudinal(RUNS, WHOLE, Method(), tmp_path)
