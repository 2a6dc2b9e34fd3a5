"""Tables of atlases of several runs and datasets, gathered by region."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps.group.atlases import gather_atlases
from bids_alps.group.datasets import DerivativeDataset

HEADER = "index\tname\tfa_mean\n"


def put(folder: Path, label: str, seg: str, rows: str) -> None:
    path = folder / label / "dwi" / f"{label}_seg-{seg}_scalarstats.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows)


def test_regions_of_atlases_are_gathered_and_those_of_the_index_are_not(tmp_path: Path) -> None:
    put(tmp_path, "sub-01", "alps", HEADER + "1\tprojection\t0.4\n")
    put(tmp_path, "sub-01", "nuclei", HEADER + "1\tPutamen, left\t0.2\n2\tPutamen  Left\t0.3\n3\t??\t0.1\n")
    put(tmp_path, "sub-02", "nuclei", HEADER + "7\tCaudate\t0.15\n")
    found = gather_atlases([DerivativeDataset(name="", folder=tmp_path)])
    assert set(found) == {"nuclei"}
    told = [(row["participant_id"], row["region"], float(row["fa_mean"])) for row in found["nuclei"]]
    assert told == [
        ("sub-01", "putamen_left_1", 0.2),
        ("sub-01", "putamen_left_2", 0.3),
        ("sub-01", "region", 0.1),
        ("sub-02", "caudate", 0.15),
    ]
    assert all("dataset" not in row for row in found["nuclei"])


@pytest.mark.parametrize("names", [("", "other")])
def test_datasets_are_named_where_there_are_two(tmp_path: Path, names: tuple[str, ...]) -> None:
    for n in range(len(names)):
        put(tmp_path / str(n), "sub-01", "nuclei", HEADER + f"1\tPutamen\t0.{n + 1}\n")
    datasets = [DerivativeDataset(name=name, folder=tmp_path / str(n)) for n, name in enumerate(names)]
    rows = gather_atlases(datasets)["nuclei"]
    assert len({row["dataset"] for row in rows}) == 2
    assert rows[1]["dataset"] == "other"
    assert rows[0]["dataset"]
