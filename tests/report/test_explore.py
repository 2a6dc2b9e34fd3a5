"""What the explorer of the group page is given."""

import json
import math

from bids_alps.report.explore import make_explorer


def rows(count=20):
    """Runs of one participant each, the last with a value far from all others."""
    return [
        {
            "participant_id": f"sub-{n:02d}",
            "session_id": "ses-1",
            "alps_left": 1.5 + 0.001 * n,
            "alps_right": math.nan if n == 3 else 1.4,
            "roi_preset": "alps",
            "dxx_projection": 5e-4,
            "status": "warn" if n == 0 else "pass",
            "check_snr_b0": 20.0 + n,
            "age": 20.0 + n,
            "group": "</script><b>" if n % 2 else "control",
        }
        for n in range(count)
    ]


def test_values_labels_links_and_colors_of_every_run():
    explorer = make_explorer(rows(), ["age", "group"], group="group")
    found = json.loads(explorer.data)
    assert found["runs"][2] == {"label": "sub-02_ses-1", "href": "sub-02.html#sub-02_ses-1", "status": "pass"}
    assert list(explorer.families) == ["Index", "Quality checks", "Regions"]
    assert found["families"]["Index"]["ALPS right"][3] is None
    assert found["families"]["Quality checks"] == {"SNR (b=0)": [20.0 + n for n in range(20)]}
    assert explorer.colors == ("Group", "Status", "Age")
    assert found["colors"]["Age"][5] == 25.0


def test_no_label_can_close_the_script_element():
    assert "<" not in make_explorer(rows(), ["group"]).data


def test_an_unsafe_label_has_no_link():
    found = make_explorer([{"participant_id": "sub-../x", "alps_left": 1.0}])
    assert json.loads(found.data)["runs"][0]["href"] == ""


def test_without_runs_there_is_no_explorer():
    assert make_explorer([]) is None
