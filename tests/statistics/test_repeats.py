"""Who a run is of, which visit it belongs to, and means over the runs of a visit."""

import numpy as np
import pandas as pd
import pytest

from bids_alps.statistics.repeats import PARTICIPANT_KEY, VISIT, average_visits, find_visits, is_within, participant_key


def test_a_label_in_two_datasets_means_two_participants():
    runs = pd.DataFrame({"dataset": ["a", "a", "b"], "participant_id": ["sub-01", "sub-02", "sub-01"]})
    assert participant_key(runs).nunique() == 3
    assert participant_key(runs.drop(columns="dataset")).nunique() == 2


def test_runs_of_a_visit_are_averaged():
    runs = pd.DataFrame(
        {
            PARTICIPANT_KEY: ["1", "1", "2"],
            VISIT: "",
            "alps_left": [1.0, 1.6, 1.4],
            "alps_left_se": [0.3, 0.4, 0.2],
            "status": ["pass", "warn", "pass"],
        }
    )
    found = average_visits(runs).set_index(PARTICIPANT_KEY)
    assert found["alps_left"].to_dict() == pytest.approx({"1": 1.3, "2": 1.4})
    assert found["alps_left_se"].to_dict() == pytest.approx({"1": np.hypot(0.3, 0.4) / 2, "2": 0.2})
    assert found.loc["1", "status"] == "pass"


def test_missing_errors_do_not_count():
    runs = pd.DataFrame({PARTICIPANT_KEY: "1", VISIT: "", "x_se": [0.3, np.nan, 0.4]})
    assert average_visits(runs)["x_se"].tolist() == pytest.approx([0.25])


def visits_of(**columns):
    return find_visits(pd.DataFrame(columns))


def test_visits_are_ordered_by_acquisition_time():
    found = visits_of(
        participant_id=["sub-01", "sub-01", "sub-02", "sub-02"],
        session_id=["ses-a", "ses-b"] * 2,
        acq_time=["2020-02-01", "2020-01-01", "2021-02-01", "2021-01-01"],
    )
    assert found.order == ("ses-b", "ses-a")
    assert found.first == "ses-b"


def test_the_first_visit_was_attended_by_half_of_the_participants():
    people = [f"sub-{n:02}" for n in range(6)]
    found = visits_of(
        participant_id=[*people[:2], *people, *people], session_id=["ses-0"] * 2 + ["ses-1"] * 6 + ["ses-2"] * 6
    )
    assert found.order == ("ses-0", "ses-1", "ses-2")
    assert found.first == "ses-1"
    half = visits_of(
        participant_id=[*people[:3], *people, *people], session_id=["ses-0"] * 3 + ["ses-1"] * 6 + ["ses-2"] * 6
    )
    assert half.first == "ses-0"


def test_dates_as_labels_are_counted_within_participants():
    found = visits_of(
        participant_id=[f"sub-{n // 2}" for n in range(8)], session_id=[f"ses-{20200101 + n}" for n in range(8)]
    )
    assert found.order == ("1st", "2nd")
    assert found.runs[VISIT].tolist() == ["1st", "2nd"] * 4


@pytest.mark.parametrize(("varying", "within"), [(1, False), (2, True), (4, True)])
def test_a_column_varying_in_half_of_the_repeats_is_a_within_factor(varying, within):
    rows = [
        {PARTICIPANT_KEY: str(n), VISIT: visit, "state": "b" if n < varying and visit else "a"}
        for n in range(4)
        for visit in (0, 1)
    ]
    assert is_within(pd.DataFrame(rows), "state") == (within, [str(n) for n in range(varying)])
