from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bids_alps.io.atlases import Atlas
from bids_alps.io.images import read_map
from bids_alps.io.inheritance import read_json
from bids_alps.io.tables import read_table
from bids_alps.model import DwiRun, SpatialMap, SpatialTransform, TensorField
from bids_alps.numerics.tensors.tensor import fractional_anisotropy, mean_diffusivity
from bids_alps.stages.atlas import measure_atlas
from bids_alps.stages.outputs import RunOutputs

LEFT, RIGHT = (1.2e-3, 0, 0, 0.6e-3, 0, 0.4e-3), (0.8e-3, 0, 0, 0.8e-3, 0, 0.8e-3)


@pytest.fixture
def measured(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -19
    grid = SpatialMap(data=np.zeros((20, 20, 20)), affine=affine)
    x = grid.world(np.stack(np.indices(grid.shape), axis=-1))[..., :1]
    field = TensorField(
        image=grid.like(np.where(x < 0, LEFT, RIGHT)), mask=np.ones(grid.shape, bool), s0=np.ones(grid.shape)
    )
    elements = field.image.data
    left = x[..., 0] < 0
    fitted = SimpleNamespace(
        field=field,
        fa=grid.like(fractional_anisotropy(elements)),
        md=grid.like(mean_diffusivity(elements)),
        ad=grid.like(np.where(left, 1.2e-3, 0.8e-3)),
        rd=grid.like(np.where(left, 0.5e-3, 0.8e-3)),
    )
    labels = np.zeros((60, 60, 60), dtype=np.int32)
    labels[12:28, 20:40, 20:40], labels[32:48, 20:40, 20:40] = 1, 2
    labels[0, 0, 0], labels[30, 30, 30] = 3, 5
    atlas_affine = np.eye(4)
    atlas_affine[:3, 3] = -29.5  # its boxes end where voxels end
    names = {1: "left box", 2: "right box", 3: "beyond", 4: "unused", 5: "thin"}
    atlas = Atlas(label="boxes", image=SpatialMap(data=labels, affine=atlas_affine), names=names)
    run = DwiRun(entities={"sub": "01"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    place = RunOutputs(output_dir=tmp_path, run=run, template="T")
    identity = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))
    image = measure_atlas(place, cast(Any, fitted), identity, atlas, 0.5)
    return tmp_path / "sub-01" / "dwi", image


def test_known_tensors_give_known_measures_left_and_right(measured):
    table = read_table(measured[0] / "sub-01_seg-boxes_scalarstats.tsv").set_index("name")
    for kind in ("mean", "median"):
        assert table.loc["left box", f"ad_{kind}"] == pytest.approx(1.2e-3)
        assert table.loc["left box", f"rd_{kind}"] == pytest.approx(0.5e-3)
        assert table.loc["right box", f"md_{kind}"] == pytest.approx(0.8e-3)
        assert table.loc["right box", f"fa_{kind}"] == pytest.approx(0, abs=1e-6)
    assert table.loc["left box", "n_voxels"] == 8 * 10 * 10


def test_a_region_without_voxels_has_a_reason(measured):
    reasons = read_table(measured[0] / "sub-01_seg-boxes_scalarstats.tsv").set_index("name")["reason"]
    assert reasons["beyond"] == "outside the brain mask or the field of view"
    assert reasons["unused"] == "the atlas has no such label"
    assert reasons["thin"] == "no voxel reaches 0.5"
    assert reasons[["left box", "right box"]].isna().all()


def test_the_table_has_a_dictionary_and_an_image(measured):
    folder, image = measured
    path = folder / "sub-01_seg-boxes_scalarstats.tsv"
    assert set(read_json(path.with_suffix(".json"))) == set(read_table(path).columns)
    assert np.array_equal(read_map(folder / "sub-01_seg-boxes_dseg.nii.gz").data, image.data)
    assert set(np.unique(image.data)) == {0, 1, 2}
    assert list(read_table(folder / "sub-01_seg-boxes_dseg.tsv")["name"])[:2] == ["left box", "right box"]
