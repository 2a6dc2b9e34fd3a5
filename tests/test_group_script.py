"""The table of the script, as the script writes it."""

from __future__ import annotations

import pandas as pd

from bids_alps.group.script import script_table

HEADER = "id,scanner,x_proj_L,x_assoc_L,y_proj_L,z_assoc_L,x_proj_R,x_assoc_R,y_proj_R,z_assoc_R,alps_L,alps_R,alps"


def run(label: str, preset: str, index: float, **more: str) -> dict[str, object]:
    axes = {"projection": ("xx", "yy"), "association": ("xx", "zz")}
    values = {
        f"d{axis}_{region}_{side}": n * 1e-4
        for n, (region, axis, side) in enumerate(
            ((region, axis, side) for region in axes for axis in axes[region] for side in ("left", "right")), start=1
        )
    }
    ids = {"participant_id": label, **more, "roi_preset": preset}
    return ids | {"alps_left": index, "alps_right": index + 1, "alps_bilateral": index + 2} | values


def test_each_run_is_a_line_of_thirteen_numbers_in_the_order_of_the_script() -> None:
    table = pd.DataFrame([run("sub-01", "alps", 1.5, site="b"), run("sub-02", "alps", 2.5, site="a")])
    lines = script_table(table).splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 3
    names, *cells = lines[1].split(",")[1:]
    assert lines[1].startswith("sub-01")
    assert names == "b"
    # xx projection, xx association, yy projection, zz association: left 1 5 3 7, right 2 6 4 8
    assert [round(float(cell) * 1e4, 6) for cell in cells[:8]] == [1, 5, 3, 7, 2, 6, 4, 8]
    assert [float(cell) for cell in cells[8:]] == [1.5, 2.5, 3.5]


def test_a_preset_of_the_script_goes_first() -> None:
    table = pd.DataFrame([run("sub-01", "alps", 1.5), run("sub-01", "alps.sh", 3.5)])
    (line,) = script_table(table).splitlines()[1:]
    assert line.split(",")[1] == "n/a"
    assert float(line.split(",")[10]) == 3.5
