"""Reliability against the worked example of Shrout & Fleiss 1979, Table 2, and pingouin."""

import numpy as np
import pandas as pd
import pingouin
import pytest

from bids_alps.errors import BadDataError
from bids_alps.statistics.reliability import _most_complete, measure_agreement, measure_icc, measure_repeats
from bids_alps.statistics.repeats import find_visits

RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_worked_example():
    found = measure_icc(RATINGS).set_index("kind")["icc"]
    assert found["ICC(2,1)"] == pytest.approx(0.29, abs=0.005)
    assert found["ICC(3,1)"] == pytest.approx(0.71, abs=0.005)


@pytest.mark.filterwarnings("ignore:.*inplace:DeprecationWarning", "ignore:.*inplace")
def test_intervals_equal_pingouin():
    long = pd.DataFrame(RATINGS).reset_index().melt("index", var_name="rater", value_name="score")
    direct = pingouin.intraclass_corr(long, targets="index", raters="rater", ratings="score").iloc[1:3]
    found = measure_icc(RATINGS)
    np.testing.assert_allclose(found["icc"], direct["ICC"], atol=1e-10)
    interval = np.stack(direct.filter(regex="^CI").iloc[:, 0].to_numpy())
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], interval, atol=0.006)  # theirs is rounded


def test_too_few_repeats_are_refused():
    with pytest.raises(BadDataError, match="1 complete"):
        measure_icc(RATINGS[:1])


def test_agreement_equals_formulas_in_r():
    """Of the first and last column in R: mean(d) -+ 1.96 sd(d); sw <- apply(m, 1, sd); sqrt(mean(sw^2)) and so on."""
    found = measure_agreement(RATINGS)
    assert found["bias"] == pytest.approx(-1)  # the last repeat minus the first
    assert found["limit_low"] == pytest.approx(-4.27970730401)
    assert found["limit_high"] == pytest.approx(2.27970730401)
    assert found["within_subject_cv"] == pytest.approx(0.539042657191)
    assert found["standard_error_of_measurement"] == pytest.approx(2.502776236280)
    assert found["smallest_detectable_change"] == pytest.approx(6.937341789988)


def test_constant_or_incomplete_repeats_are_refused():
    with pytest.raises(BadDataError, match="do not vary"):
        measure_icc(np.repeat([[1.0], [2.0], [3.0]], 2, axis=1))
    with pytest.raises(BadDataError, match="complete"):
        measure_icc(np.array([[1.0, np.nan], [2.0, 2.5]]))
    with pytest.raises(BadDataError, match="1 repeats"):
        measure_icc(RATINGS[:, :1])


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ([[1, 1, 0], [1, 1, 0], [1, 1, 1]], ["a", "b"]),
        ([[1, 1, 1], [1, 1, 0], [1, 1, 1]], ["a", "b", "c"]),
        ([[1, 0, 1], [0, 0, 1], [1, 1, 1]], ["a", "b", "c"]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], []),
        ([[0, 1, 1], [0, 1, 1], [1, 0, 0]], ["b", "c"]),
    ],
)
def test_repeats_are_those_that_half_as_many_have_as_the_commonest_pair(present, chosen):
    wide = pd.DataFrame(np.where(present, 1.0, np.nan), columns=list("abc"))
    assert _most_complete(wide) == chosen


def test_sessions_are_told_with_their_iccs_and_one_session_with_none():
    def runs(sessions):
        rows = [
            {"participant_id": f"sub-{p}", "session_id": f"ses-{s}", "alps_left": score, "alps_bilateral": score}
            for p, line in enumerate(RATINGS)
            for s, score in enumerate(line[:sessions])
        ]
        return find_visits(pd.DataFrame(rows))

    found = measure_repeats(runs(4), ["alps_left"])
    assert found["between"].tolist() == ["sessions"] * 2
    assert found["repeats"].tolist() == ["0, 1, 2, 3"] * 2
    assert found["participants"].tolist() == [6, 6]
    np.testing.assert_allclose(found["icc"], [0.2898, 0.7148], atol=5e-5)  # Shrout & Fleiss 1979, table 4
    assert measure_repeats(runs(1), ["alps_left"]).empty
