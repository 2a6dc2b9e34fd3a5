"""The whole correction: composition compared with single steps, and missing inputs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.preprocessing.correction import (
    Encoding,
    combine_runs,
    correct_series,
    encoding_from_sidecar,
    relative_gain,
    series_without_motion,
)
from bids_alps.numerics.preprocessing.distortion import Distortion, EncodedImage, estimate_distortion
from bids_alps.numerics.preprocessing.resampling import Grid, replace_outliers, resample_series
from bids_alps.numerics.preprocessing.volume_motion import VolumeMotion

SHAPE, AFFINE = (20, 24, 16), np.diag([-2.0, 2, 2, 1])


def smooth_volume(seed=0):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return (300 + 400 * ndimage.gaussian_filter(noise, 2)).astype(np.float32)


def made_series(number=9, seed=0):
    random = np.random.default_rng(seed)
    bvecs = random.normal(size=(number, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    bvecs[0] = 0
    base = smooth_volume()
    data = np.stack([base] + [base * (0.4 + 0.1 * vector[0] ** 2) for vector in bvecs[1:]], axis=-1)
    data += random.normal(scale=1, size=data.shape)
    gradients = Gradients(bvals=np.r_[0, np.full(number - 1, 1000.0)], bvecs=bvecs)
    return DwiSeries(image=SpatialMap(data=data.astype(np.float32), affine=AFFINE), gradients=gradients)


def one_field(displacement):
    return Distortion(
        displacement=displacement,
        phase_axis=1,
        assumed="",
        difference_before=1,
        difference_after=0,
        proven=True,
        reason="",
    )


def test_without_motion_the_series_is_unchanged():
    series = made_series()
    again = resample_series(series.image.data, AFFINE, series_without_motion(series))
    assert np.allclose(again, series.image.data, atol=1e-2)


def test_motion_and_distortion_by_whole_voxels_add_up():
    series = made_series(2)
    shift = VolumeMotion(
        rotation=np.zeros(3),
        translation=np.array([0, 4.0, 0]),
        eddy=np.zeros(0),
        center=np.zeros(3),
        direction=np.zeros(3),
    )
    motion = replace(series_without_motion(series), volumes=(shift, shift))
    out = resample_series(series.image.data, AFFINE, motion, distortion=one_field(np.full(SHAPE, 3.0)))
    assert np.allclose(out[:, :-5], series.image.data[:, 5:], atol=1e-2)  # 4 mm are two voxels, and three more


def test_a_stretching_field_conserves_signal():
    series = made_series(1)
    data = np.zeros((*SHAPE, 1), dtype=np.float32)
    data[..., 0] = np.exp(-((np.indices(SHAPE).T - [10, 12, 8]) ** 2).sum(-1) / 12).T
    ramp = 0.25 * np.broadcast_to(np.arange(24.0)[None, :, None] - 12, SHAPE)
    out = resample_series(data, AFFINE, series_without_motion(series), distortion=one_field(ramp))
    assert out.sum() == pytest.approx(data.sum(), rel=3e-3)


def test_lost_slices_are_replaced_by_their_prediction():
    series = made_series(20)
    truth = series.image.data
    data = truth.copy()
    data[:, :, 7, 5] *= 0.2
    motion = series_without_motion(series)
    flags = motion.outlier_slices.copy()
    flags[5, 7] = True
    motion = replace(motion, outlier_slices=flags)
    replaced = replace_outliers(data, AFFINE, series.gradients.bvals, motion)
    assert np.abs(data[:, :, 7, 5] / truth[:, :, 7, 5] - 1).mean() < 0.1
    assert replaced == pytest.approx(3 / 16 / 19)
    assert np.array_equal(np.delete(data, 5, axis=3), np.delete(truth, 5, axis=3))


def against(other):
    return lambda image, mask: estimate_distortion(image, other, mask)


def test_an_unusable_reverse_phase_image_is_noted_and_skipped():
    series = made_series()
    empty = EncodedImage(data=np.zeros(SHAPE), affine=AFFINE, phase_axis=1, polarity=-1, readout=0.05)
    done = correct_series(
        series, np.ones(SHAPE, dtype=bool), Encoding(polarity=1), fields=[against(empty)], motion=False
    )
    assert done.distortion is None
    assert any("reverse-phase image is empty" in note for note in done.notes)
    assert np.allclose(done.series.image.data, series.image.data, atol=1e-2)


def test_a_corrected_series_takes_the_memory_of_the_given_one() -> None:
    made = made_series()
    data = np.asfortranarray(made.image.data)
    data[..., 4] = 0  # an empty volume is excluded
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:-3, 3:-3, 3:-3] = True
    expected, found = (
        correct_series(replace(made, image=SpatialMap(data=values, affine=AFFINE)), mask, Encoding())
        for values in (data.astype(np.float64), data)
    )
    assert found.series.image.data.shape == (*SHAPE, 8)
    assert np.shares_memory(found.series.image.data, data)
    np.testing.assert_array_equal(found.series.image.data, expected.series.image.data)
    np.testing.assert_array_equal(found.before_after["motion"][0], expected.before_after["motion"][0])


def test_two_runs_are_merged_in_the_space_of_the_first():
    series = made_series()
    done = correct_series(series, np.ones(SHAPE, dtype=bool), Encoding(), motion=False)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:-3, 3:-3, 3:-3] = True
    both = combine_runs(done.series, done, mask)
    assert both.image.data.shape == (*SHAPE, 18)
    assert np.allclose(both.image.data[..., 9:][mask], series.image.data[mask], atol=0.5)
    assert np.allclose(both.gradients.bvecs[9:], series.gradients.bvecs, atol=1e-3)


def test_a_rotated_grid_resamples_the_rotated_series():
    series = made_series(1)
    pose = np.eye(4)
    pose[0, 3] = -6.0  # the rest of the series lies 6 mm, three voxels, away
    grid = Grid(shape=SHAPE, affine=AFFINE, pose=pose)
    moved = resample_series(series.image.data, AFFINE, series_without_motion(series), grid=grid)
    assert np.allclose(moved[:-3], series.image.data[3:], atol=1e-2)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"PhaseEncodingDirection": "j-"}, (1, -1, None)),
        ({"PhaseEncodingDirection": "k", "TotalReadoutTime": 0.03}, (2, 1, 0.03)),
        ({"PhaseEncodingAxis": "i", "TotalReadoutTime": 0}, (0, 0, None)),
        ({}, (1, 0, None)),
    ],
)
def test_the_readout_time_is_read_from_sidecars(metadata, expected):
    encoding = encoding_from_sidecar(metadata)
    assert (encoding.phase_axis, encoding.polarity, encoding.readout) == expected


def test_gain_is_the_ratio_of_the_medians_of_both_b0_signals():
    rng = np.random.default_rng(6)
    mask = rng.uniform(size=(6, 6, 6)) > 0.3
    data = rng.uniform(100, 200, (6, 6, 6, 3)).astype(np.float32)

    def series(scale, bvals):
        image = SpatialMap(data=(data * scale).astype(np.float32), affine=np.eye(4))
        return DwiSeries(image=image, gradients=Gradients(bvals=np.array(bvals), bvecs=np.eye(3)))

    weighted = [1000.0, 1000.0, 1000.0]
    first = series(3.0, [0.0, 5.0, 1000.0])
    assert relative_gain(first, series(1.0, [0.0, 5.0, 1000.0]), mask) == pytest.approx(3, rel=1e-5)
    expected = 3 * np.median(data[..., :2].mean(-1)[mask]) / np.median(data[..., 0][mask])
    assert relative_gain(first, series(1.0, [0.0, 1000.0, 1000.0]), mask) == pytest.approx(expected, rel=1e-5)
    assert relative_gain(first, series(1.0, weighted), mask) == 1.0
    assert relative_gain(series(1.0, weighted), first, mask) == 1.0
    assert relative_gain(first, series(0.0, [0.0, 5.0, 1000.0]), mask) == 1.0
