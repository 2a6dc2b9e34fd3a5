import numpy as np
import pytest
import SimpleITK as sitk

from bids_alps.errors import ImageError, MetadataError, NoInputError, UsageError
from bids_alps.io import presets
from bids_alps.io.presets import definition_files, preset_names, read_preset
from bids_alps.io.writing import write_map
from bids_alps.model import SpatialMap


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("template", ["MNI152NLin2009aSym", "MNI152NLin6Asym"])
def test_left_mirrors_right_in_the_templates_that_a_preset_lists(name, template):
    preset = read_preset(name, template=template)
    assert preset.template == template
    for roi, (x, y, z) in preset.centers.items():
        if roi.endswith("left"):
            assert x < 0
            assert preset.centers[roi.replace("left", "right")] == (-x, y, z)


def test_centers_are_transformed_to_another_template(tmp_path, monkeypatch):
    """The file that resamples images of the wanted template onto the preset's maps points the other way."""
    path = tmp_path / "tpl-MNI152NLin2009aSym_from-Other_mode-image_xfm.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(path))  # LPS+
    wanted = {("MNI152NLin2009aSym", "Other"): path}
    monkeypatch.setattr(presets, "find_transform", lambda *, template, source: wanted.get((template, source)))
    here, there = read_preset("alps"), read_preset("alps", template="Other")
    for roi, center in here.centers.items():
        assert there.centers[roi] == pytest.approx(np.add(center, [-1, -2, 3]))


def test_a_template_without_a_transform_is_refused(monkeypatch):
    monkeypatch.setattr(presets, "find_transform", lambda **_: None)
    with pytest.raises(UsageError, match="no transform to Other"):
        read_preset("alps", template="Other")


def test_a_radius_makes_spheres():
    preset = read_preset("alps", radius_mm=4)
    assert {preset.shape(name).semi_axes_mm for name in preset.centers} == {(4, 4, 4)}
    assert preset.radius_mm == 4
    assert np.isnan(read_preset("alps").radius_mm)


def write_labels(folder, *, name="mine_dseg.nii.gz", flip=False, rows=None, omitted=None):
    """Write boxes about the centers of the preset on a grid of 1 mm as labels 10, 20, ... with their table."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -80
    image = SpatialMap(data=np.zeros((161, 161, 161), np.uint8), affine=affine)
    data, centers = np.zeros(image.shape, np.uint8), read_preset("alps").centers
    for n, (roi, center) in enumerate(centers.items(), start=1):
        i, j, k = np.rint(image.voxels(np.array(center))).astype(int)
        if roi != omitted:
            data[i - 1 : i + 2, j - 2 : j + 3, k - 3 : k + 4] = 10 * n
    write_map(folder / name, image.like(data[::-1] if flip else data), sidecar={}, dtype=np.uint8)
    lines = rows or [f"{10 * n}\t{roi}" for n, roi in enumerate(centers, start=1)]
    (folder / name.replace(".nii.gz", ".tsv")).write_text("\n".join(["index\tname", *lines, ""]))
    return str(folder / name)


def test_a_label_image_is_a_preset(tmp_path):
    preset = read_preset(write_labels(tmp_path), template="MNI152NLin2009aSym")
    assert preset.name == "mine_dseg.nii.gz"
    assert preset.shape("projection_left").semi_axes_mm == (1.5, 2.5, 3.5)
    for roi, center in read_preset("alps").centers.items():
        np.testing.assert_allclose(preset.centers[roi], np.rint(center))
    assert np.unique(preset.label_image.data, return_counts=True)[1][1:].tolist() == [105] * 6


def test_spheres_can_be_placed_at_the_centers_of_a_label_image(tmp_path):
    preset = read_preset(write_labels(tmp_path), radius_mm=3)
    assert preset.label_image is None
    assert preset.radius_mm == 3


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ({"flip": True}, ImageError, "is at x"),
        ({"omitted": "association_left"}, ImageError, "no voxel of association_left"),
        ({"rows": ["10\tprojection_left"]}, MetadataError, "no region named projection_right"),
        ({"rows": [f"1\t{name}" for name in read_preset("alps").centers]}, MetadataError, "different integer"),
        ({"rows": [f"x\t{name}" for name in read_preset("alps").centers]}, MetadataError, "different integer"),
        ({"name": "tpl-Other_dseg.nii.gz"}, UsageError, "in Other by its name"),
    ],
)
def test_an_invalid_label_image_is_refused_with_the_reason(tmp_path, made, error, message):
    with pytest.raises(error, match=message):
        read_preset(write_labels(tmp_path, **made), template="MNI152NLin2009aSym")


def test_a_label_image_needs_its_table(tmp_path):
    path = write_labels(tmp_path)
    definition_files(path)[1].unlink()
    with pytest.raises(NoInputError, match=r"mine_dseg\.tsv"):
        read_preset(path)
