"""Participant and visit of a run, and means over the runs of a visit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bids_alps.statistics.repeats import (
    PARTICIPANT_KEY,
    VISIT,
    average_visits,
    find_visits,
    is_within,
    participant_key,
    settle_groups,
)


def test_a_label_in_two_datasets_means_two_participants():
    runs = pd.DataFrame({"dataset": ["a", "a", "b"], "participant_id": ["sub-01", "sub-02", "sub-01"]})
    assert participant_key(runs).nunique() == 3
    assert participant_key(runs.drop(columns="dataset")).nunique() == 2
    assert participant_key(runs.iloc[:0]).empty
    assert participant_key(runs.iloc[:0]).nunique() == 0


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


def attended(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["participant_id", "session_id", "acq_time"])


def test_one_missing_time_does_not_change_the_order_of_the_others() -> None:
    rows = [(f"sub-{n}", f"ses-{name}", when) for n in range(9) for name, when in (("pre", "2020"), ("post", "2021"))]
    runs = attended(*rows)
    runs.loc[1, "acq_time"] = "n/a"
    found = find_visits(runs)
    assert found.order == ("ses-pre", "ses-post")
    assert any("1 of 9 participants with several sessions lack acquisition times" in note for note in found.notes)


def test_visits_that_nobody_attended_together_are_ordered_through_others() -> None:
    times = {"pre": "2020-01", "post": "2020-06", "followup": "2021-01", "late": "2022-01"}
    pairs = [("pre", "post"), ("post", "followup"), ("followup", "late")]
    runs = attended(*((f"sub-{n}", f"ses-{name}", times[name]) for n in range(9) for name in pairs[n % 3]))
    assert find_visits(runs).order == ("ses-pre", "ses-post", "ses-followup", "ses-late")


def test_a_participant_scanned_at_every_site_does_not_shift_the_pairing_of_the_others() -> None:
    runs = attended(*((f"sub-{n}", f"ses-{k}", "") for n in range(20) for k in (1, 2) if n > 2 or k == 2))
    traveling = attended(*(("sub-traveling", f"ses-{k}", "") for k in range(3, 9)))
    found = find_visits(pd.concat([runs, traveling], ignore_index=True))
    assert found.runs.loc[found.runs["participant_id"] == "sub-0", VISIT].tolist() == ["ses-2"]


def test_dates_are_numbered_by_time_if_complete() -> None:
    rows = [(f"sub-{n}", f"ses-{chr(110 - k)}{n}", f"202{k}-01-01") for n in range(4) for k in (0, 1)]
    runs = attended(*rows)
    runs.loc[0, "acq_time"] = ""
    found = find_visits(runs)
    assert found.runs.loc[found.runs["participant_id"] != "sub-0", VISIT].tolist() == ["1st", "2nd"] * 3
    assert "in 1 participants by label" in found.notes[0]


def test_the_order_of_sessions_is_said_to_be_given_only_if_it_is() -> None:
    runs = attended(*((f"sub-{n}", f"ses-{name}", "") for n in range(3) for name in ("pre", "post")))
    assert find_visits(runs, ("pre", "post")).order == ("ses-pre", "ses-post")
    notes = find_visits(runs, ("baseline", "followup")).notes
    assert "--sessions names none of the sessions." in notes
    assert not any("in the order given" in note for note in notes)


def test_a_visit_of_people_who_are_not_compared_is_not_the_first() -> None:
    found = visits_of(participant_id=["sub-p", "sub-p", "sub-1"], session_id=["ses-0", "ses-1", "ses-1"])
    assert replace(found, runs=found.runs[found.runs["participant_id"] == "sub-1"]).first == "ses-1"


@pytest.mark.parametrize("kind", [object, "category"])
def test_runs_without_a_session_among_sessions(kind: Any) -> None:
    runs = pd.DataFrame({"participant_id": ["sub-1", "sub-1", "sub-2"], "session_id": ["ses-1", "ses-2", None]})
    found = find_visits(runs.astype({"session_id": kind}))
    assert found.runs[VISIT].tolist() == ["ses-1", "ses-2", "no session"]


def test_the_group_of_a_participant_comes_from_the_compared_visit_or_the_first_known() -> None:
    runs = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-1", "sub-2", "sub-2", "sub-3"],
            "session_id": ["ses-b", "ses-a", "ses-b", "ses-a", "ses-a"],
            "group": [None, "control", "RLS", "control", None],
        }
    )
    settled, filled = settle_groups(find_visits(runs, ("a", "b")), "group")
    assert settled.runs["group"].fillna("none").tolist() == ["control"] * 4 + ["none"]
    assert filled == ["sub-1"]


def repeated(people: int, followed: int, varying: int) -> pd.DataFrame:
    rows = [
        {PARTICIPANT_KEY: str(n), VISIT: visit, "state": "b" if n < varying and visit else "a"}
        for n in range(people)
        for visit in (range(2) if n < followed else (0,))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("people", "followed", "varying", "within"),
    [(4, 4, 1, False), (4, 4, 2, True), (4, 4, 4, True), (60, 4, 2, False), (60, 4, 4, False), (60, 20, 18, True)],
)
def test_a_column_varying_in_half_of_the_repeats_is_a_within_factor(
    people: int, followed: int, varying: int, within: bool
) -> None:
    found = is_within(repeated(people, followed, varying), "state")
    assert found == (within, sorted(str(n) for n in range(varying)))
