"""Figures for publication from an output folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from simulated_cohort import write_people, write_run

from bids_alps.arguments import parse, settings_of
from bids_alps.cli import main
from bids_alps.group import papers
from bids_alps.group.papers import coarse_grid, mean_colors, read_colors
from bids_alps.io.derivatives import name_ending
from bids_alps.io.root import write_root
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_text
from bids_alps.model import SpatialMap
from bids_alps.numerics.itk import itk_text
from bids_alps.report import figures_papers

pytestmark = pytest.mark.medium

PLANAR = (1.4e-3, 0, 0, 4e-4, 0, 4e-4)  # along x of the scanner


def write_scan(out: Path, participant: str, template: SpatialMap, turn: np.ndarray) -> None:
    """A brain whose fibers all run along x of the scanner, aligned with the template but for a rotation of its axes."""
    folder = out / participant / "dwi"
    folder.mkdir(parents=True)
    data = np.zeros((*template.shape, 6), np.float32)
    data[template.data > 0] = PLANAR
    nib.save(nib.Nifti1Image(data, template.affine), folder / f"{participant}{name_ending('tensor')}")
    rigid_name, warp_name = (name_ending(key, template="MNI152NLin2009aSym") for key in ("xfm_rigid", "xfm"))
    rigid = np.eye(4)
    rigid[:3, :3] = turn
    write_text(folder / f"{participant}{rigid_name}", itk_text(np.linalg.inv(rigid)))
    field = nib.Nifti1Image(np.zeros((*template.shape, 1, 3), np.float32), template.affine)
    field.header.set_intent("vector")
    nib.save(field, folder / f"{participant}{warp_name}")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    coarse = coarse_grid(read_template().mask, 6.0)
    inside = np.zeros(coarse.shape)
    inside[6:-6, 6:-6, 4:-4] = 1
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    write_scan(folder, "sub-01", coarse.like(inside), np.eye(3))
    write_scan(folder, "sub-02", coarse.like(inside), quarter)
    write_text(
        folder / "dataset_description.json", '{"DatasetType": "derivative", "GeneratedBy": [{"Name": "bids-alps"}]}'
    )
    rows = ["participant_id\troi_preset\talps_left\talps_right\talps_bilateral\tage\tstatus"]
    rows += [f"sub-0{n}\talps\t1.5\t1.4\t1.45\t{20 + n}\tpass" for n in (1, 2)]
    (folder / "group_alps.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_colors_follow_template_axes_and_are_averaged_over_participants(out: Path) -> None:
    template = read_template()
    mean, count = mean_colors(out, ["sub-01", "sub-02"], template)
    middle = tuple(n // 2 for n in mean.shape[:3])
    red, green, blue = mean.data[middle]
    assert count == 2
    assert red == pytest.approx(green, abs=0.02)  # one along x, one rotated to y
    assert red > 0.3
    assert blue == pytest.approx(0, abs=0.02)


def test_a_scan_rotated_by_90_degrees_is_green(out: Path) -> None:
    folder = out / "sub-02" / "dwi"
    found = read_colors(
        folder / f"sub-02{name_ending('tensor')}",
        folder / "sub-02_from-dwi_to-MNI152NLin2009aSym_mode-image_desc-rigid_xfm.txt",
    )
    middle = tuple(n // 2 for n in found.shape[:3])
    assert found.data[middle].argmax() == 1


def test_a_coarse_grid_covers_the_same_space() -> None:
    affine = np.diag([-1.0, 1, 2, 1])
    affine[:3, 3] = (10, -20, 5)
    fine = SpatialMap(data=np.zeros((8, 9, 10)), affine=affine)
    coarse = coarse_grid(fine, 2.0)
    assert coarse.shape == (4, 5, 10)
    np.testing.assert_allclose(coarse.world(np.full(3, -0.5)), fine.world(np.full(3, -0.5)))
    np.testing.assert_allclose(coarse.voxel_size, 2)


def test_the_level_writes_each_figure_twice(out: Path, tmp_path: Path) -> None:
    assert main([str(tmp_path), str(out), "figures"]) == 0
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.{extension}" for name in ("distribution", "regions") for extension in ("svg", "pdf")
    }


def test_without_a_group_table_the_error_names_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "figures"]) == 66
    assert "Run the group level first." in capsys.readouterr().err


def drawn(bids: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, tuple[Any, ...]]:
    """Run the group level and the figures; return the data of the figures."""
    seen = dict[str, tuple[Any, ...]]()

    def watch(name: str) -> Callable[..., dict[str, bytes]]:
        def draw(*values: Any) -> dict[str, bytes]:
            seen[name] = values
            return {"svg": b""}

        return draw

    for name in ("distribution", "sessions", "age_curve"):
        monkeypatch.setattr(figures_papers, f"draw_{name}", watch(name))
    monkeypatch.setattr(papers, "mean_colors", lambda *_: (None, 0))
    write_root(out, bids)
    assert main([str(bids), str(out), "group", "--permutations", "0", *options]) == 0
    assert main([str(bids), str(out), "figures"]) == 0
    return seen


def test_figures_show_the_people_that_were_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    for n in range(12):
        for session, shift in (("pre", 0.0), ("post", 0.2)):
            write_run(out, {"sub": f"{n:02}", "ses": session}, 1.5 + 0.01 * n - shift, seed=n)
    people = pd.DataFrame({"participant_id": [f"sub-{n:02}" for n in range(11)], "arm": [1, 2] * 5 + [1]})
    write_people(bids, people)
    (tmp_path / "r.tsv").write_text("run\trating\nsub-00_ses-pre\tdrop\nsub-00_ses-post\tdrop\n")
    options = ("--ratings", str(tmp_path / "r.tsv"), "--sessions", "pre", "post", "--group-column", "arm")
    seen = drawn(bids, out, monkeypatch, *options)
    indices, groups = seen["distribution"]
    np.testing.assert_allclose(indices["bilateral"], 1.5 + 0.01 * np.arange(1, 11))  # sub-11 is in no table
    assert groups == ["2", "1"] * 5
    by_person, order = seen["sessions"]
    assert order == ["ses-pre", "ses-post"]
    assert "sub-00" not in by_person


def test_equal_labels_in_two_datasets_are_different_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bids, out, other = (tmp_path / name for name in ("bids", "out", "other"))
    people = pd.DataFrame({"participant_id": [f"sub-{n:02}" for n in range(5)]})
    for folder, results, group, index in ((bids, out, "control", 1.5), (other, other, "RLS", 1.9)):
        for n in range(5):
            write_run(results, {"sub": f"{n:02}"}, index, seed=n)
        write_people(folder, people.assign(group=group))
    write_root(other, bids)
    indices, groups = drawn(bids, out, monkeypatch, "-d", f"siteB={other}")["distribution"]
    np.testing.assert_allclose(indices["bilateral"], [1.5] * 5 + [1.9] * 5)
    assert groups == ["control"] * 5 + ["RLS"] * 5


@pytest.mark.parametrize("values", [(1.7e-3, 0.3e-3, 0.2e-3), (1.2e-3, 0.7e-3, 0.6e-3)])
def test_a_color_is_the_fa_over_point_eight_along_the_first_axis(tmp_path: Path, values: tuple[float, ...]) -> None:
    """FA by its definition as the scaled SD of the eigenvalues; saturated above .8; nothing outside of the brain."""
    elements = np.zeros((3, 3, 3, 6), np.float32)
    elements[1, 1, 1, [0, 3, 5]] = np.roll(values, 2)  # the largest along z
    nib.save(nib.Nifti1Image(elements, np.eye(4)), tmp_path / "t.nii.gz")
    write_text(tmp_path / "r.txt", itk_text(np.eye(4)))
    found = read_colors(tmp_path / "t.nii.gz", tmp_path / "r.txt").data
    fa = np.sqrt(3 / 2 * ((np.array(values) - np.mean(values)) ** 2).sum() / (np.array(values) ** 2).sum())
    assert found[1, 1, 1] == pytest.approx([0, 0, min(fa / 0.8, 1)], abs=1e-5)
    assert found.sum() == pytest.approx(found[1, 1, 1].sum())


def test_figures_have_the_harmonized_values_and_no_excluded_runs(tmp_path: Path) -> None:
    head = "participant_id\trun\talps_left\talps_right\talps_bilateral\troi_preset\tgroup\n"
    rows = [f"sub-{n}\t{run}\t1.5\t1.4\t1.45\talps\t0{n}\n" for n, run in ((1, "01"), (2, "n/a"), (3, "n/a"))]
    write_text(tmp_path / "group_alps.tsv", head + "".join(rows))
    write_text(
        tmp_path / "group_harmonized.tsv",
        head.replace("\tgroup", "") + "sub-1\t01\t1.6\t1.5\t1.55\talps\nsub-2\tn/a\t1.3\t1.2\t1.25\talps\n",
    )
    write_text(
        tmp_path / "group_exclusions.tsv",
        "participant_id\trun\troi_preset\texcluded_from\treason\n"
        "sub-3\tn/a\talps\tall statistics\trated drop\nsub-2\tn/a\talps\tcomparison of groups\tno value\n",
    )
    found = papers.read_analyzed(tmp_path, "group")
    assert found["alps_bilateral"].tolist() == [1.55, 1.25]
    assert found["group"].tolist() == ["01", "02"]
    assert found["_matched"].tolist() == [True, False]


def test_indices_of_two_presets_are_paired_by_participant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["participant_id\troi_preset\talps_left\talps_right\talps_bilateral\tage\tstatus"]
    for preset, added, order in (("alps", 0.0, range(1, 6)), ("alps-sphere", 0.3, range(5, 1, -1))):
        rows += [f"sub-0{n}\t{preset}\t1\t1\t{1 + n / 10 + added:.1f}\t{20 + n}\tpass" for n in order]
    bids, out = tmp_path / "bids", tmp_path / "out"
    write_people(bids, pd.DataFrame({"participant_id": [f"sub-0{n}" for n in range(1, 6)]}))
    write_text(out / "group_alps.tsv", "\n".join(rows) + "\n")
    write_root(out, bids)
    seen: list[Any] = []
    monkeypatch.setattr(figures_papers, "draw_agreement", lambda *values: seen.append(values) or {"svg": b""})
    monkeypatch.setattr(papers, "mean_colors", lambda *_: (None, 0))
    assert main([str(bids), str(out), "figures"]) == 0
    ((first, second, names),) = seen
    assert names == ("alps", "alps-sphere")
    np.testing.assert_allclose(sorted(first), [1.2, 1.3, 1.4, 1.5])  # sub-01 has one of them only
    np.testing.assert_allclose(second - first, 0.3)


def test_the_brain_of_a_mean_is_where_its_colors_exceed_a_twentieth(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = coarse_grid(read_template().mask, 4.0)
    colors = np.full((*coarse.shape, 3), 0.049, np.float32)
    colors[10:20, 12:22, 8:18, 1] = 0.052
    shown: list[Any] = []
    monkeypatch.setattr(papers, "mean_colors", lambda *_: (coarse.like(colors), 1))
    monkeypatch.setattr("bids_alps.report.slices.find_display", lambda brain, rotation: shown.append(brain))
    monkeypatch.setattr(figures_papers, "draw_mean_regions", lambda *_: {})
    settings = settings_of(parse(["in", "out", "figures"]))
    assert [name for name, _ in papers._draw_regions(pd.DataFrame({"participant_id": ["01"]}), "alps", settings)]
    assert shown[0].data.sum() == 10**3
