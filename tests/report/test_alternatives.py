"""What the index would be with other choices."""

import math

from bids_alps.report.alternatives import compare_alternatives


def rows(preset="alps", **columns):
    """Left, right and bilateral, each choice one value for all."""
    sides = ("left", "right", "bilateral")
    return [{"roi_preset": preset, "hemisphere": side, **columns} for side in sides]


def test_measured_alternatives_are_compared_with_the_reported_index():
    table = compare_alternatives(rows(alps=1.5, alps_uncorrected=1.425, alps_water_corrected=math.nan))
    assert [row[0] for row in table.rows] == [
        "As reported",
        "Without pose correction (tensors in scanner axes)",
    ]
    assert table.rows[1][1:] == ("1.43", "1.43", "1.43", "-5.0")


def test_other_presets_are_alternatives():
    table = compare_alternatives([*rows(alps=1.5), *rows("alps.sh", alps=1.35, alps_uncorrected=1.3)])
    assert [row[0] for row in table.rows] == ["As reported", "Method of the script alps.sh"]
    assert table.rows[1][-1] == "-10.0"


def test_spheres_have_one_row():
    table = compare_alternatives([*rows(alps=1.5, alps_spheres=1.4), *rows("alps-sphere", alps=1.4, alps_spheres=1.4)])
    assert [row[0] for row in table.rows] == ["As reported", "Spherical regions"]
    (_, alone) = compare_alternatives(rows(alps=1.5, alps_spheres=1.4)).rows
    assert alone[0] == "Spherical regions (radius 2.5 mm)"


def test_one_value_alone_needs_no_table():
    assert compare_alternatives(rows(alps=1.5)) is None
    assert compare_alternatives([]) is None


def test_a_withheld_index_is_not_compared():
    table = compare_alternatives(rows(alps=math.nan, alps_unreliable=1.2))
    assert table is None
