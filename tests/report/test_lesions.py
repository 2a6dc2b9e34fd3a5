from bids_alps.quality.checks import evaluate
from bids_alps.report.lesions import lesion_notes, lesion_tables

INDEX = [
    {
        "roi_preset": "alps",
        "hemisphere": side,
        "alps_with_lesions": 1.45,
        "alps_without_lesions": 1.57,
        "lesion_volume": 2.5,
        "lesion_space": "dwi",
    }
    for side in ("left", "right", "bilateral")
]
REGIONS = [{"roi_preset": "alps", "roi": "projection_left", "lesion_overlap": 0.364}]


def test_the_report_shows_lesion_overlap_and_effect():
    shares, effect = lesion_tables(INDEX, REGIONS)
    assert shares.rows == (("Projection left", "36 %"),)
    assert "2.50 mL" in shares.note
    assert effect.rows[0][1:] == ("1.45", "1.57", "0.12")
    assert lesion_notes(INDEX, [evaluate("lesion_overlap", 0.364)]) == []


def test_an_empty_mask_is_reported():
    shares, _ = lesion_tables([{**row, "lesion_volume": 0.0} for row in INDEX], REGIONS)
    assert "contains no lesion" in shares.note


def test_a_missing_and_an_unregistered_mask_are_reported():
    nothing = [{**row, "lesion_volume": float("nan"), "lesion_space": float("nan")} for row in INDEX]
    assert lesion_tables(nothing, REGIONS) == ()
    assert "No lesion mask" in lesion_notes(nothing, [evaluate("lesion_overlap", float("nan"))])[0]
    assert lesion_notes(nothing, []) == []
    trusted = [evaluate("lesion_overlap", 0.0), evaluate("lesion_t1w_shift", 1.0)]
    assert "used without registration" in lesion_notes(INDEX, trusted)[0]
