"""The demonstration: both levels on a simulated dataset, and its table of true and measured indices."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps import demo
from bids_alps.phantom import PhantomSettings

SMALL = PhantomSettings(participants=1, voxel_size=4.0, directions=8, b0=1)


def write_tables(root: Path) -> tuple[Path, Path]:
    data, out = root / "data", root / "out"
    (data / "derivatives" / "truth").mkdir(parents=True)
    out.mkdir()
    (data / "derivatives" / "truth" / "truth.tsv").write_text(
        "participant_id\talps_left\talps_right\talps_bilateral\nsub-01\t1.5\t1.3\t1.4\n"
    )
    sides = ("left", "right", "bilateral")
    names = [f"alps_{side}{suffix}" for side in sides for suffix in ("", "_ci_low", "_ci_high", "_uncorrected")]
    rows = [["sub-01", preset, *["1.25"] * len(names)] for preset in ("alps", "alps-sphere")]
    rows.append(["sub-01", "alps.sh", *["n/a"] * len(names)])
    table = [["participant_id", "roi_preset", *names], *rows]
    (out / "group_alps.tsv").write_text("".join("\t".join(row) + "\n" for row in table))
    return data, out


def test_each_preset_and_side_has_a_line_with_the_truth(tmp_path: Path) -> None:
    lines = demo.compare(*write_tables(tmp_path))[1:]
    assert [line.split()[:4] for line in lines] == [
        ["sub-01", preset, side, true]
        for preset in ("alps", "alps-sphere", "alps.sh")
        for side, true in (("left", "1.500"), ("right", "1.300"), ("bilateral", "1.400"))
    ]
    assert [line.split()[4] for line in lines] == ["1.250"] * 6 + ["nan"] * 3


@pytest.mark.slow
@pytest.mark.untraced
def test_the_demonstration_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SETTINGS", SMALL)
    assert demo.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "alps-sphere  bilateral" in printed
    assert str(tmp_path / "derivatives" / "group_alps.html") in printed
