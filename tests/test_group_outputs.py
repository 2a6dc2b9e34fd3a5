"""Files of the group level: only those that the program writes are removed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from bids_alps.group import run
from bids_alps.group.outputs import GroupOutputs, receipt_path
from bids_alps.io.tables import Column
from bids_alps.statistics.findings import Findings

DOCUMENTED = (Path(__file__).parents[1] / "docs/group.md").read_text()


def run_group_level(out: Path, *tables: str) -> GroupOutputs:
    outputs = GroupOutputs(out)
    previous = outputs.begin()
    for name in tables:
        outputs.write_table(name, [{"a": 1}], [Column(name="a", description="A column.")])
    outputs.end(previous, {})
    return outputs


def test_files_of_users_are_kept_without_a_receipt(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("group_mine.tsv", "group_mine.json", "group_alps_poster.tsv")]
    for path in mine:
        path.write_text("mine")
    run_group_level(tmp_path, "alps")
    assert all(path.read_text() == "mine" for path in mine)


def test_every_table_is_recognized_without_a_receipt(tmp_path: Path) -> None:
    documented = re.findall(r"`group_([a-z_-]+)(?:<atlas>)?\.tsv`", DOCUMENTED)
    tables = sorted({"seg-HO" if name == "seg-" else name for name in documented})
    assert {"alps", "sensitivity", "seg-HO"} <= set(tables)
    run_group_level(tmp_path, *tables)
    receipt_path(tmp_path).unlink()  # as after an interrupted run
    run_group_level(tmp_path, "alps")
    assert sorted(path.name for path in tmp_path.glob("group_*")) == ["group_alps.json", "group_alps.tsv"]


def test_every_column_of_a_result_has_a_description(tmp_path: Path) -> None:
    """That of results, or a reference to the table of all runs; one that has neither is an error of the program."""
    found = Findings(tables={"harmonized": pd.DataFrame({"difference": [0.5], "weight_kg": [70.0]})})
    run._write_findings(GroupOutputs(tmp_path), {"alps": found}, ["weight_kg"])
    described = json.loads((tmp_path / "group_harmonized.json").read_text())
    assert described["weight_kg"]["Description"] == "weight_kg: as in group_alps.tsv."
    assert "as in" not in described["difference"]["Description"]
    with pytest.raises(KeyError, match="column weight_kg of a group table has no description"):
        run._write_findings(GroupOutputs(tmp_path), {"alps": found}, [])
