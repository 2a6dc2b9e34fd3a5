"""Templates in a simulated TemplateFlow cache, and custom templates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bids_alps import cli
from bids_alps.errors import ImageError, NoInputError, TemplateMissingError, UsageError
from bids_alps.io import templates
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import find_template, read_template, template_label
from bids_alps.io.writing import write_map
from bids_alps.model import SpatialMap

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = [-90, -126, -72]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no network."""
    from templateflow import api

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(api, "get", fail)
    read_template.cache_clear()
    return tmp_path / "cache"


def maps() -> dict[str, SpatialMap]:
    """Return a ball of gray matter with one of white matter inside and one of CSF inside that."""
    grid = SpatialMap(data=np.zeros((46, 55, 46), np.float32), affine=AFFINE)
    radius = np.linalg.norm(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - [0, -16, 18], axis=-1)
    csf, wm, brain = radius < 12, (radius >= 12) & (radius < 40), radius < 60
    fa = np.select([csf, wm, brain], [0.05, 0.6, 0.15])
    named = {"desc-brain_mask": brain, "label-WM_probseg": wm, "label-GM_probseg": brain & ~wm & ~csf}
    return {
        name: grid.like(data.astype(np.float32))
        for name, data in (named | {"FA": fa, "T1w": fa, "T2w": 1 - fa}).items()
    }


def put(folder: Path, prefix: str, *kinds: str, **changed: SpatialMap) -> Path:
    for kind in kinds:
        write_map(folder / f"{prefix}_{kind}.nii.gz", changed.get("image", maps()[kind]))
    return folder


TISSUES = ("desc-brain_mask", "label-WM_probseg", "label-GM_probseg")


@pytest.mark.parametrize("kind", ["T1w", "T2w"])
def test_a_cached_template_is_read_with_all_its_images(cache: Path, kind: str) -> None:
    put(cache / "tpl-Other", "tpl-Other_res-01", *TISSUES, kind)
    (cache / "tpl-Other/tpl-Other_res-01_label-CSF_probseg.nii.gz").touch()  # listed, but not fetched
    template = read_template("Other")
    assert template.name == "Other"
    np.testing.assert_array_equal(template.t1w.data, maps()[kind].data)
    np.testing.assert_array_equal(template.wm.data, maps()["label-WM_probseg"].data)
    assert template.csf.data.sum() == (np.asarray(template.mask.data) * (1 - template.wm.data - template.gm.data)).sum()


def test_csf_is_used_if_available(cache: Path) -> None:
    folder = put(cache / "tpl-Other", "tpl-Other", *TISSUES)
    half = maps()["FA"].like(np.full(maps()["FA"].shape, 0.25, np.float32))
    write_map(folder / "tpl-Other_label-CSF_probseg.nii.gz", half)
    np.testing.assert_array_equal(read_template("Other").csf.data, half.data)


def test_the_finer_resolution_and_the_requested_cohort_are_used(cache: Path) -> None:
    folder = put(cache / "tpl-Child/cohort-2", "tpl-Child_cohort-2_res-2", *TISSUES)
    put(folder, "tpl-Child_cohort-2_res-1", *TISSUES)
    assert {path.name.split("_")[2] for path in find_template("Child+2").values()} == {"res-1"}
    assert read_template("Child+2").name == "Child+2"


def test_an_unavailable_template_is_reported_before_processing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TemplateMissingError, match="Download it on a machine with network"):
        find_template("MNI152NLin6Asym")
    assert cli.main([str(tmp_path / "in"), str(tmp_path / "out"), "participant", "--template", "MNI152NLin6Asym"]) == 66
    printed = capsys.readouterr().err
    assert "--template MNI152NLin6Asym: not in the cache" in printed
    assert "templateflow get MNI152NLin6Asym --res 1" in printed


def test_missing_files_are_downloaded_to_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from templateflow import api

    put(cache / "tpl-Other", "tpl-Other_res-01", *TISSUES[:2])
    (fetched,) = put(tmp_path / "net", "tpl-Other_res-01", TISSUES[2]).iterdir()
    asked: list[dict[str, object]] = []

    def get(name: str, **query: object) -> Path:
        asked.append({"name": name, **query})
        return fetched

    monkeypatch.setattr(api, "get", get)
    assert find_template("Other")["gm"] == fetched
    assert [(one["name"], one["label"]) for one in asked] == [("Other", "GM")]


def test_centers_are_carried_by_the_transform_of_the_cache(cache: Path) -> None:
    path = cache / "tpl-MNI152NLin2009aSym/tpl-MNI152NLin2009aSym_from-Other_mode-image_xfm.h5"
    path.parent.mkdir(parents=True)
    sitk.WriteTransform(sitk.TranslationTransform(3, (0.0, -5.0, 0.0)), str(path))  # LPS+: 5 mm to the front
    here, there = read_preset("alps"), read_preset("alps", template="Other")
    for roi, center in here.centers.items():
        assert there.centers[roi] == pytest.approx(np.add(center, [0, 5, 0]))


def test_a_custom_folder_is_a_template(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", "tpl-Mine", *TISSUES)
    assert read_template(str(folder)).name == template_label(str(folder)) == "Mine"
    (folder / "tpl-Mine_label-GM_probseg.nii.gz").unlink()
    with pytest.raises(NoInputError, match="tpl-Mine_label-GM_probseg"):
        find_template(str(folder))
    put(folder, "tpl-Other", "FA")
    with pytest.raises(UsageError, match="files of Mine and Other"):
        find_template(str(folder))


def test_an_fa_map_is_a_template_of_white_matter_and_other_tissue(tmp_path: Path) -> None:
    write_map(tmp_path / "our average.nii.gz", maps()["FA"])
    template = read_template(str(tmp_path / "our average.nii.gz"))
    assert template.name == "ouraverage"
    np.testing.assert_array_equal(template.mask.data, maps()["desc-brain_mask"].data)
    middle = (
        template.wm.voxels(np.array([[0.0, 10.0, 18.0], [0.0, -16.0, 18.0], [0.0, -16.0, 70.0]])).round().astype(int)
    )
    np.testing.assert_allclose(template.wm.data[tuple(middle.T)], [1.0, 0.1, 0.3], atol=0.01)
    np.testing.assert_allclose(template.wm.data + template.gm.data, template.mask.data, atol=1e-6)
    assert not template.csf.data.any()


def test_csf_is_derived_from_an_md_map(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", "tpl-Mine", "FA", "desc-brain_mask")
    fa = maps()["FA"]
    write_map(
        folder / "tpl-Mine_MD.nii.gz", fa.like(np.where(fa.data == np.float32(0.05), 3e-3, 0.8e-3).astype(np.float32))
    )
    template = read_template(str(folder))
    np.testing.assert_array_equal(template.csf.data > 0.9, fa.data == np.float32(0.05))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: image.like(image.data * 10000), "Give FA from 0 to 1"),
        (lambda image: image.like(np.where(image.data > 0.5, np.nan, image.data)), "FA from nan"),
    ],
)
def test_an_fa_map_in_other_units_is_refused(tmp_path: Path, spoil: object, message: str) -> None:
    path = tmp_path / "fa.nii.gz"
    write_map(path, spoil(maps()["FA"]))
    with pytest.raises(ImageError, match=message):
        read_template(str(path))


def test_images_of_a_template_share_a_grid(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", "tpl-Mine", *TISSUES)
    put(folder, "tpl-Mine", "T1w", image=SpatialMap(data=np.zeros((3, 3, 3)), affine=AFFINE))
    with pytest.raises(ImageError, match="a grid different"):
        read_template(str(folder))


def test_a_missing_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such file or folder"):
        find_template(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_that_came_empty_or_not_at_all_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    from templateflow import api

    path = tmp_path / "tpl-X_res-01_T1w.nii.gz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(api, "get", lambda *_, **__: path)
    with pytest.raises(TemplateMissingError, match=r"not in the cache: suffix T1w.*--res 1 --cohort 2"):
        templates._download("X:cohort-2", "X", "2", {"suffix": "T1w"})
