"""Ratings of readers at the group level, and the explorer on its page."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_cohort import write_run

from bids_alps.cli import main
from bids_alps.io.root import write_root

pytestmark = pytest.mark.medium


@pytest.fixture
def cohort(tmp_path):
    """Sixteen participants of two groups."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    rng = np.random.default_rng(0)
    people = ["participant_id\tgroup\tage"]
    for n in range(16):
        people.append(f"sub-{n + 1:02}\t{'ab'[n % 2]}\t{20 + 3 * n}")
        write_run(out, {"sub": f"{n + 1:02}"}, 1.5 + rng.normal(0, 0.05), status="pass", seed=n)
    (bids / "participants.tsv").write_text("\n".join(people) + "\n")
    write_root(out, bids)
    return bids, out


def test_runs_rated_unusable_are_excluded_with_the_reason(cohort, tmp_path, capsys):
    bids, out = cohort
    ratings = tmp_path / "ratings.tsv"
    ratings.write_text("run\trating\tnote\nsub-03\tdrop\tmoved a lot\nsub-04\tdoubtful\tn/a\nsub-99\tkeep\tn/a\n")
    assert main([str(bids), str(out), "group", "--ratings", str(ratings)]) == 0
    excluded = pd.read_csv(out / "group_exclusions.tsv", sep="\t").set_index("participant_id")
    assert excluded.loc["sub-03", "reason"] == "rated drop: moved a lot"
    assert "sub-04" not in excluded.index
    table = pd.read_csv(out / "group_alps.tsv", sep="\t", na_values="n/a").set_index("participant_id")
    assert table.loc["sub-04", "rating"] == "doubtful"
    assert table["rating"].notna().sum() == 2
    assert "1 of 3 ratings refer to runs without a result: sub-99." in capsys.readouterr().err
    described = json.loads((out / "group_alps.json").read_text())
    assert set(described["rating"]["Levels"]) == {"keep", "doubtful", "drop"}


def test_without_ratings_there_is_no_rating_column(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group"]) == 0
    assert "rating" not in pd.read_csv(out / "group_alps.tsv", sep="\t").columns


def test_the_page_explores_and_links_every_run(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group"]) == 0
    page = (out / "group_alps.html").read_text()
    found = json.loads(re.search(r'id="explore-data">(.*?)</script>', page, re.DOTALL)[1])
    assert [run["href"] for run in found["runs"][:2]] == ["sub-01.html#sub-01", "sub-02.html#sub-02"]
    assert len(found["families"]["Index"]["ALPS left"]) == 16
    assert found["colors"]["Group"][:2] == ["a", "b"]
    assert found["colors"]["Age"][:2] == [20.0, 23.0]
    assert 'href="sub-01.html#sub-01"' in page
    assert len(page) < 6e6


def test_a_rating_of_a_label_in_two_datasets_needs_the_dataset(
    cohort: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = cohort
    other = tmp_path / "other"
    for n in range(2):
        write_run(other, {"sub": f"{n + 1:02}"}, 1.9 + 0.01 * n, seed=90 + n)
    write_root(other, bids)
    (other / "participants.tsv").write_text((bids / "participants.tsv").read_text())
    ratings = tmp_path / "ratings.tsv"
    command = [str(bids), str(out), "group", "-d", f"siteB={other}", "--ratings", str(ratings), "--permutations", "0"]
    ratings.write_text("run\trating\nsub-01\tdrop\n")
    assert main(command) != 0
    assert "sub-01 does not name its dataset (output, siteB)" in capsys.readouterr().err
    ratings.write_text("run\trating\tdataset\nsub-01\tdrop\tsiteB\nsub-09\tdrop\tn/a\n")
    assert main(command) == 0
    excluded = pd.read_csv(out / "group_exclusions.tsv", sep="\t").query("reason == 'rated drop'")
    assert set(zip(excluded["dataset"], excluded["participant_id"], strict=True)) == {
        ("siteB", "sub-01"),
        ("output", "sub-09"),
    }
