"""Where the tables of people are looked for, and what is merged from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bids_alps.group.phenotype import find_roots, join_phenotype


def put(folder: Path, people: bool, **description: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps(description))
    if people:
        (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    return folder


@pytest.mark.parametrize(
    ("own", "linked", "around", "taken"),
    [
        (True, True, True, "study/derivatives/other"),
        (False, True, True, "the raw data"),
        (False, False, True, "study"),
        (False, False, False, None),
    ],
)
def test_people_are_those_of_the_dataset_itself_then_of_its_source_then_of_the_folder_around(
    tmp_path: Path, own: bool, linked: bool, around: bool, taken: str | None
) -> None:
    put(tmp_path / "study", around)
    raw = put(tmp_path / "the raw data", linked)
    other = put(tmp_path / "study/derivatives/other", own, DatasetLinks={"raw": raw.as_uri()})
    found = find_roots({"": tmp_path / "out", "other": other}, tmp_path / "bids")
    assert found.get("other") == (None if taken is None else tmp_path / taken)
    assert tmp_path / "bids" in found.values()


@pytest.mark.parametrize("link", [["file:///a"], "https://a.b/c", 3, None])
def test_links_that_are_no_files_lead_nowhere(tmp_path: Path, link: Any) -> None:
    other = put(tmp_path / "elsewhere/other", False, DatasetLinks={"raw": link})
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n")
    assert "other" not in find_roots({"other": other}, tmp_path / "bids")


def test_sessions_have_the_last_word_on_what_both_tables_hold(tmp_path: Path) -> None:
    root = put(tmp_path / "bids", False)
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\t40\tM\n")
    (root / "sub-01").mkdir()
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-2\t32\n")
    table = pd.DataFrame({"participant_id": ["sub-01", "sub-01", "sub-02"], "session_id": ["ses-1", "ses-2", "ses-1"]})
    ((name, _),) = find_roots({}, root).items()
    joined = join_phenotype(table, {name: root}).table
    assert joined["age"].tolist() == ["30", "32", "40"]
    assert joined["sex"].tolist() == ["F", "F", "M"]
