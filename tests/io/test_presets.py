import numpy as np
import pytest
import SimpleITK as sitk

from bids_alps.errors import UsageError
from bids_alps.io import presets
from bids_alps.io.presets import preset_names, read_preset


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("template", ["MNI152NLin2009aSym", "MNI152NLin6Asym"])
def test_left_mirrors_right_in_the_templates_that_a_preset_lists(name, template):
    preset = read_preset(name, template=template)
    assert preset.template == template
    for roi, (x, y, z) in preset.centres.items():
        if roi.endswith("left"):
            assert x < 0
            assert preset.centres[roi.replace("left", "right")] == (-x, y, z)


def test_centres_are_carried_to_another_template_by_its_transform(tmp_path, monkeypatch):
    """The file that resamples images of the wanted template onto the preset's maps points the other way."""
    path = tmp_path / "tpl-MNI152NLin2009aSym_from-Other_mode-image_xfm.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(path))  # LPS+
    wanted = {("MNI152NLin2009aSym", "Other"): path}
    monkeypatch.setattr(presets, "find_transform", lambda *, template, source: wanted.get((template, source)))
    here, there = read_preset("alps"), read_preset("alps", template="Other")
    for roi, centre in here.centres.items():
        assert there.centres[roi] == pytest.approx(np.add(centre, [-1, -2, 3]))


def test_a_template_without_a_way_to_it_is_refused(monkeypatch):
    monkeypatch.setattr(presets, "find_transform", lambda **_: None)
    with pytest.raises(UsageError, match="no transform from there to Other"):
        read_preset("alps", template="Other")


def test_a_radius_makes_spheres():
    preset = read_preset("alps", radius_mm=4)
    assert preset.semi_axes_mm == (4, 4, 4)
    assert preset.radius_mm == 4
    assert np.isnan(read_preset("alps").radius_mm)
