import numpy as np
import pytest

from bids_alps.errors import (
    AmbiguityError,
    ImageError,
    MetadataError,
    NoInputError,
    TemplateMissingError,
    UsageError,
)
from bids_alps.io.atlases import read_atlas
from bids_alps.io.writing import write_map
from bids_alps.model import SpatialMap
from bids_alps.settings import Method
from bids_alps.stages.atlas import read_atlases

TABLE = "index\tname\n0\tbackground\n1\tleft putamen\n2\tright putamen\n"


def write_atlas(path, data=None, table=TABLE):
    labels = np.zeros((4, 4, 4)) if data is None else data
    if data is None:
        labels[0], labels[3] = 1, 2
    path.parent.mkdir(parents=True, exist_ok=True)
    write_map(path, SpatialMap(data=labels, affine=np.eye(4)))
    if table is not None:
        path.with_name(path.name.removesuffix(".nii.gz") + ".tsv").write_text(table)
    return str(path)


def test_a_file_with_its_table(tmp_path):
    atlas = read_atlas(write_atlas(tmp_path / "basal_ganglia.nii.gz"), template="T")
    assert atlas.label == "basalganglia"
    assert atlas.names == {1: "left putamen", 2: "right putamen"}
    assert not atlas.is_probabilistic


def test_probabilities_have_one_volume_per_region(tmp_path):
    data = np.random.default_rng(1).random((4, 4, 4, 2))
    assert read_atlas(write_atlas(tmp_path / "p.nii.gz", data), template="T").is_probabilistic
    with pytest.raises(MetadataError, match="1 regions"):
        read_atlas(write_atlas(tmp_path / "q.nii.gz", data[..., [0, 1, 1]]), template="T")
    with pytest.raises(ImageError, match="outside 0 to 1"):
        read_atlas(write_atlas(tmp_path / "r.nii.gz", data + 1), template="T")


def test_an_atlas_without_a_table(tmp_path):
    with pytest.raises(NoInputError, match=r"no table a\.tsv"):
        read_atlas(write_atlas(tmp_path / "a.nii.gz", table=None), template="T")


def test_a_table_without_a_label(tmp_path):
    with pytest.raises(MetadataError, match="first: 2"):
        read_atlas(write_atlas(tmp_path / "a.nii.gz", table="index\tname\n1\tone\n"), template="T")


@pytest.mark.parametrize("table", ["a\tb\n1\t2\n", "index\tname\n1\ta\n1\tb\n2\tc\n", "index\tname\nx\ta\n"])
def test_an_empty_atlas_table(tmp_path, table):
    with pytest.raises(MetadataError):
        read_atlas(write_atlas(tmp_path / "a.nii.gz", table=table), template="T")


def test_non_integer_labels_are_refused(tmp_path):
    with pytest.raises(ImageError, match="integers"):
        read_atlas(write_atlas(tmp_path / "a.nii.gz", np.full((4, 4, 4), 0.5)), template="T")


def test_names_of_templateflow_are_found_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    folder = tmp_path / "tpl-T"
    for resolution in ("01", "02"):
        write_atlas(folder / f"tpl-T_res-{resolution}_atlas-HOSPA_desc-th25_dseg.nii.gz", table=None)
    (folder / "tpl-T_atlas-HOSPA_dseg.tsv").write_text(TABLE)
    assert read_atlas("HOSPA", template="T").names[1] == "left putamen"
    write_atlas(folder / "tpl-T_res-01_atlas-HOSPA_desc-th50_dseg.nii.gz", table=None)
    with pytest.raises(AmbiguityError, match="NAME:DESC"):
        read_atlas("HOSPA", template="T")
    assert read_atlas("HOSPA:th50", template="T").label == "HOSPAth50"


@pytest.mark.parametrize(("name", "template"), [("HOSPA", "Other"), ("Schaefer", "T")])
def test_names_missing_from_the_cache(tmp_path, monkeypatch, name, template):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    with pytest.raises(TemplateMissingError, match="download it"):
        read_atlas(name, template=template)


def test_two_atlases_with_the_same_file_names_are_refused(tmp_path):
    one, other = (write_atlas(tmp_path / folder / "a.nii.gz") for folder in ("x", "y"))
    with pytest.raises(UsageError, match="seg-a"):
        read_atlases(Method(atlas=(one, other)))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(UsageError, match="atlas-threshold"):
        read_atlases(Method(atlas_threshold=threshold))
