"""Types of variables: the data dictionary first, then rules; irregular values are read with a note."""

import numpy as np
import pandas as pd
import pytest

from bids_alps.statistics.variables import infer_variables


def settle(values, entry=None, name="x", **more):
    table = pd.DataFrame({"participant_id": [f"sub-{n}" for n in range(len(values))], name: values})
    table, variables = infer_variables(table, [name], {name: entry} if entry else {}, **more)
    return table[name], variables[0]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["0", "1", "2"] * 8, "category"),  # codes
        (["1", "2", "3", "4"], "number"),  # too few rows to tell codes from counts
        (["true", "false"] * 4, "category"),
        ([str(n) for n in range(30)], "number"),
        (["1.5", "2.5"] * 9, "number"),
        (["control", "patient"] * 4, "category"),
        ([f"note {n}" for n in range(30)], "text"),
        (["a"] * 9, "constant"),
        (["n/a", "", " ", "NA"], "empty"),
    ],
)
def test_rules(values, kind):
    assert settle(values)[1].kind == kind


def test_numbered_sites_are_categories():
    assert settle([str(n) for n in range(1, 13)] * 3, name="Site")[1].kind == "category"


def test_the_dictionary_takes_precedence_over_the_rules():
    scale = [str(n % 4) for n in range(40)]
    assert settle(scale)[1].kind == "category"
    found, variable = settle(scale, {"Units": "points"})
    assert (variable.kind, found.dtype) == ("number", float)
    codes = [str(n) for n in range(12)] * 2
    assert settle(codes, {"Levels": {str(n): "school" for n in range(12)}})[1].kind == "category"


def test_missing_value_codes_of_numbers_are_missing():
    values = ["3.5", "4.5", "-9", "5.5"] * 5
    found, variable = settle(values, {"Units": "s", "Levels": {"-9": "refused"}})
    assert variable.kind == "number"
    assert found.isna().sum() == 5
    assert "codes in the data dictionary" in variable.notes[0]


def test_missing_values_and_spaces():
    found, _ = settle([" F", "M ", "n/a", "NA", "", "  ", None, np.nan, "F"])
    assert found.tolist()[:2] == ["F", "M"]
    assert found.isna().tolist() == [False, False, *[True] * 6, False]
    levels = {"NA": "North America", "EU": "Europe"}
    assert settle(["NA", "EU"] * 4, {"Levels": levels})[0].isna().sum() == 0


def test_open_ends_and_decimal_commas_are_read_with_a_note():
    found, variable = settle(["89+", "12,3", ">90", "45", "50", "n/k", "61"], name="age")
    np.testing.assert_equal(found.to_numpy(), [89, 12.3, 90, 45, 50, np.nan, 61])
    notes = " ".join(variable.notes)
    assert "'89+'" in notes
    assert "'12,3' (1 value) read with a decimal comma" in notes
    assert "'n/k' (1 value) not numeric, treated as missing" in notes


def test_thousands_separators_are_not_guessed():
    found, variable = settle(["1,234", "70", "71", "72", "73"])
    assert np.isnan(found[0])
    assert "not numeric" in variable.notes[0]


def test_an_age_in_bands_is_a_category():
    assert settle(["20-29", "30-39"] * 6, name="age")[1].kind == "category"


def test_spelling_variants_of_a_level_are_reported_and_kept():
    found, variable = settle(["Control", "control", "patient"] * 3, name="group", categories=["group"])
    assert found.nunique() == 3
    assert "differ only in spelling" in variable.notes[0]


def test_a_participant_counts_once():
    """Ten notes of ten participants with four runs each are notes, not a category."""
    table = pd.DataFrame({"participant_id": [f"sub-{n // 4}" for n in range(40)]})
    table["comment"] = [f"note {n // 4}" for n in range(40)]
    assert infer_variables(table, ["comment"], {})[1][0].kind == "text"


def test_levels_that_anchor_a_scale_are_values() -> None:
    values = ["0"] * 12 + [str(n) for n in range(5, 35)] + ["40"] * 2 + ["999"]
    levels = {"0": "no symptoms", "40": "very severe", "999": "see comment"}
    found, variable = settle(values, {"Levels": levels})
    assert variable.kind == "number"
    assert found.isna().sum() == 1
    assert "'999' (1 value) codes in the data dictionary" in variable.notes[0]
    assert settle(["0"] * 40 + [str(n) for n in range(5, 35)], {"Levels": levels})[1].kind == "number"
    change = [str(n) for n in range(-20, 20)]
    assert settle(change, {"Levels": {"-20": "strong decline", "0": "never done"}})[0].notna().all()


@pytest.mark.parametrize("text", ["Missing", "not applicable", "N/A", "Refused to answer", "unknown", "don't know"])
def test_levels_described_as_missing_are_missing(text: str) -> None:
    found, _ = settle([str(n) for n in range(20, 60)] + ["77"], {"Levels": {"77": text}})
    assert found.isna().sum() == 1
