"""A sufficiently large cohort is its own reference."""

import numpy as np
import pytest

from bids_alps.report.page import LITERATURE
from bids_alps.report.reference import MIN_PARTICIPANTS, find_reference


def write_group(folder, n, *, status="pass", presets=("alps",)):
    lines = ["participant_id\troi_preset\talps_bilateral\tstatus"]
    lines += [f"sub-{i:03d}\t{preset}\t{1.4 + 0.01 * (i % 2)}\t{status}" for i in range(n) for preset in presets]
    (folder / "group_alps.tsv").write_text("\n".join(lines) + "\n")


def test_a_large_cohort_is_its_own_reference(tmp_path):
    write_group(tmp_path, 40)
    found = find_reference(tmp_path)
    assert found.mean == pytest.approx(1.405)
    assert found.sd == pytest.approx(0.005 * np.sqrt(40 / 39))
    assert found.source == "40 participants of this cohort"


@pytest.mark.parametrize(
    "how", [{"n": MIN_PARTICIPANTS - 1}, {"n": 40, "status": "fail"}, {"n": 40, "presets": ("alps", "alps.sh")}]
)
def test_a_small_cohort_is_compared_with_the_literature(tmp_path, how):
    assert find_reference(tmp_path) == LITERATURE
    write_group(tmp_path, **how)
    assert find_reference(tmp_path) == LITERATURE


def test_scans_of_another_b_value_have_no_reference(tmp_path):
    assert find_reference(tmp_path, 1020) == LITERATURE
    assert find_reference(tmp_path, 2500) is None
    lines = ["participant_id\troi_preset\talps_bilateral\tstatus\tb_value"]
    lines += [f"sub-{i:03d}\talps\t{1.4 + 0.01 * (i % 2)}\tpass\t2500" for i in range(40)]
    (tmp_path / "group_alps.tsv").write_text("\n".join(lines) + "\n")
    assert find_reference(tmp_path, 2500).source == "40 participants of this cohort"
    assert find_reference(tmp_path, 1000) == LITERATURE


def test_a_table_of_something_else_is_not_used(tmp_path):
    (tmp_path / "group_alps.tsv").write_text("a\tb\n1\t2\n")
    assert find_reference(tmp_path) == LITERATURE
