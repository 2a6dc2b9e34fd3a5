"""Brain masks of simulated heads with known brain, and of real scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_alps.errors import ImageError
from bids_alps.model import Array
from bids_alps.numerics.tensors.mask import estimate_brain_mask, otsu_threshold

VOXEL = np.array([4.0, 4.0, 4.0])


def make_head(*, bias: float = 0.0, height: int = 44) -> tuple[Array, Array, Array]:
    """Return b0, mean DWI and brain: an ellipsoid with ventricles and CSF, scalp, eyes."""
    shape = np.array([56, 64, 44])
    place = (np.moveaxis(np.indices(shape), 0, -1) - shape / 2) * 4.0
    radius = np.linalg.norm(place / [68.0, 84.0, 64.0], axis=-1)
    tissue, brain = radius < 0.93, radius < 1.0
    ventricles = np.linalg.norm(place / [14.0, 30.0, 12.0], axis=-1) < 1
    scalp = (radius > 1.14) & (radius < 1.24)
    eyes = np.zeros(shape, dtype=bool)
    for side in (-30, 30):
        eyes |= np.linalg.norm(place - [side, 100, -20], axis=-1) < 12
    b0 = 400.0 * tissue + 900.0 * (brain & ~tissue) + 800 * (ventricles & brain) + 250.0 * scalp + 900.0 * eyes
    dwi = np.where(ventricles, 40.0, 200.0 * tissue) + 40.0 * (brain & ~tissue) + 50.0 * scalp + 60.0 * eyes
    gain = np.exp(bias * (radius - 1))
    random = np.random.default_rng(5)
    images = [gaussian_filter(image * gain, 0.5) + np.abs(random.normal(0, 6, shape)) for image in (b0, dwi)]
    return images[0][..., :height], images[1][..., :height], (brain | ventricles)[..., :height]


def dice(one: Array, other: Array) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.parametrize("bias", [0.0, 1.0, 1.8])
def test_brain_is_found_without_scalp_and_eyes(bias: float) -> None:
    b0, dwi, brain = make_head(bias=bias)
    assert dice(estimate_brain_mask(b0, VOXEL, dwi), brain) > 0.94


def test_slab_is_masked_to_its_edge() -> None:
    b0, dwi, brain = make_head(height=26)
    mask = estimate_brain_mask(b0, VOXEL, dwi)
    assert mask[..., -1].sum() > 0.9 * brain[..., -1].sum()


def test_ventricles_lie_inside() -> None:
    b0, dwi, brain = make_head()
    assert estimate_brain_mask(b0, VOXEL, dwi)[24:32, 28:36, 20:24].all()
    assert brain[28, 32, 22]


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e5])
def test_scaling_the_signal_leaves_the_mask(factor: float) -> None:
    b0, dwi, _ = make_head()
    usual = estimate_brain_mask(b0, VOXEL, dwi)
    assert dice(estimate_brain_mask(b0 * factor, VOXEL, dwi * factor), usual) > 0.999


def test_storage_order_does_not_matter() -> None:
    b0, dwi, _ = make_head()
    usual = estimate_brain_mask(b0, VOXEL, dwi)
    rotated = estimate_brain_mask(b0.transpose(2, 0, 1)[:, ::-1], VOXEL, dwi.transpose(2, 0, 1)[:, ::-1])
    assert dice(rotated[:, ::-1].transpose(1, 2, 0), usual) > 0.999


def test_b0_alone_is_enough_for_a_mask() -> None:
    b0, _, brain = make_head()
    assert dice(estimate_brain_mask(b0, VOXEL), brain) > 0.85


def test_b0_is_used_alone_where_the_weighted_signal_is_noise() -> None:
    b0, _, brain = make_head()
    noise = np.random.default_rng(3).rayleigh(20.0, b0.shape)
    assert dice(estimate_brain_mask(b0, VOXEL, noise), brain) > 0.85


@pytest.mark.parametrize("image", [np.zeros((20, 20, 20)), np.full((20, 20, 20), np.nan)])
def test_image_without_signal_is_refused(image: Array) -> None:
    with pytest.raises(ImageError, match="no signal"):
        estimate_brain_mask(image, VOXEL)


def test_object_too_small_for_a_brain_is_refused() -> None:
    image = np.zeros((40, 40, 40))
    image[15:25, 15:25, 15:25] = 100
    with pytest.raises(ImageError, match="ml of connected signal"):
        estimate_brain_mask(image, VOXEL)


def test_threshold_lies_between_two_classes() -> None:
    assert 2 < otsu_threshold(np.r_[np.full(100, 2.0), np.full(7, 9.0)]) < 9


def test_real_scans_give_brains_of_human_size(real_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for path in sorted(real_data.glob("*/sub-*/dwi/*_dwi.nii.gz")):
        image = nibabel.load(path)
        bvals = np.loadtxt(str(path).replace(".nii.gz", ".bval"))
        data = np.asarray(image.dataobj, dtype=np.float32)
        size = np.array(image.header.get_zooms()[:3])
        mask = estimate_brain_mask(data[..., bvals < 50].mean(-1), size, data[..., bvals >= 50].mean(-1))
        assert 1.1e6 < mask.sum() * size.prod() < 1.8e6
