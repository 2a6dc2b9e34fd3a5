from __future__ import annotations

import numpy as np
import pytest
from dipy.reconst.dti import wls_fit_tensor
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors import tensor

seeds = st.integers(0, 2**31)


def gradients_of(rng, n=30, b0=3, b=1000.0):
    vectors = rng.normal(size=(n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Gradients(bvals=np.r_[np.zeros(b0), np.full(n, b)], bvecs=np.vstack([np.zeros((b0, 3)), vectors]))


def random_elements(rng, n):
    values = rng.uniform(0.1e-3, 2e-3, (n, 3))
    axes = Rotation.random(n, random_state=rng).as_matrix()
    return tensor.elements_from_matrix((axes * values[:, None, :]) @ axes.transpose(0, 2, 1))


def signal_of(elements, gradients, s0=1000.0):
    matrices = tensor.matrix_from_elements(elements)
    exponent = np.einsum("ni,mij,nj->mn", gradients.bvecs, matrices, gradients.bvecs)
    return s0 * np.exp(-gradients.bvals * exponent)


def series_of(signal, gradients, shape):
    image = SpatialMap(data=signal.reshape(*shape, -1).astype(np.float32), affine=np.eye(4))
    return DwiSeries(image=image, gradients=gradients)


@given(seeds, st.sampled_from([-1, 0, 2]))
def test_the_tensor_is_recovered_from_noise_free_signal(seed, reweightings):
    rng = np.random.default_rng(seed)
    gradients, elements = gradients_of(rng), random_elements(rng, 8)
    series = series_of(signal_of(elements, gradients), gradients, (2, 2, 2))
    field = tensor.fit_tensor(series, np.ones((2, 2, 2), bool), reweightings=reweightings)
    np.testing.assert_allclose(field.image.data.reshape(-1, 6), elements, atol=2e-8)
    np.testing.assert_allclose(field.s0, 1000, rtol=1e-4)
    assert field.axes == "scanner"


@given(seeds)
def test_rotating_head_and_gradients_rotates_the_tensor(seed):
    rng = np.random.default_rng(seed)
    gradients, elements = gradients_of(rng), random_elements(rng, 4)
    signal = signal_of(elements, gradients) + rng.normal(scale=20, size=(4, 33))
    rotation = Rotation.random(random_state=rng).as_matrix()
    design = tensor.design_matrix(gradients.bvals, gradients.bvecs)
    rotated = tensor.design_matrix(gradients.bvals, gradients.bvecs @ rotation.T)
    here = tensor.fit_coefficients(signal, design)[:, :6]
    there = tensor.fit_coefficients(signal, rotated)[:, :6]
    np.testing.assert_allclose(tensor.rotate_elements(here, rotation), there, atol=1e-9)


@given(seeds, st.floats(0.01, 1e4))
def test_scaling_the_signal_leaves_the_tensor(seed, factor):
    rng = np.random.default_rng(seed)
    gradients = gradients_of(rng)
    signal = signal_of(random_elements(rng, 5), gradients) + rng.normal(scale=20, size=(5, 33))
    design = tensor.design_matrix(gradients.bvals, gradients.bvecs)
    once, scaled = (tensor.fit_coefficients(s, design)[:, :6] for s in (signal, signal * factor))
    np.testing.assert_allclose(once, scaled, atol=1e-10)


def test_fit_agrees_with_dipy():
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    rng = np.random.default_rng(1)
    gradients = gradients_of(rng)
    signal = np.abs(signal_of(random_elements(rng, 200), gradients) + rng.normal(scale=25, size=(200, 33)))
    table = gradient_table(gradients.bvals, bvecs=gradients.bvecs)
    theirs = TensorModel(table, fit_method="WLS").fit(signal).quadratic_form
    ours = tensor.fit_coefficients(signal, tensor.design_matrix(gradients.bvals, gradients.bvecs))[:, :6]
    difference = np.abs(ours - tensor.elements_from_matrix(theirs))
    assert np.median(difference) < 1e-6 * 5  # mm^2/s; the two differ in the passes of reweighting


def test_a_block_boundary_changes_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    gradients = gradients_of(rng)
    series = series_of(signal_of(random_elements(rng, 27), gradients), gradients, (3, 3, 3))
    mask = rng.random((3, 3, 3)) > 0.3
    whole = tensor.fit_tensor(series, mask)
    monkeypatch.setattr(tensor, "BLOCK", 4)
    np.testing.assert_allclose(whole.image.data, tensor.fit_tensor(series, mask).image.data, atol=1e-9)
    assert (whole.image.data[~mask] == 0).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_volume_without_signal_has_no_weight(value):
    rng = np.random.default_rng(3)
    gradients, elements = gradients_of(rng), random_elements(rng, 3)
    signal = signal_of(elements, gradients)
    signal[:, 10] = value
    found = tensor.fit_coefficients(signal, tensor.design_matrix(gradients.bvals, gradients.bvecs))[:, :6]
    assert np.isfinite(found).all()


@given(seeds)
def test_rotation_leaves_scalars_unchanged(seed):
    rng = np.random.default_rng(seed)
    elements = random_elements(rng, 6)
    rotated = tensor.rotate_elements(elements, Rotation.random(random_state=rng).as_matrix())
    for scalar in (tensor.fractional_anisotropy, tensor.mean_diffusivity, tensor.mode_of_anisotropy):
        np.testing.assert_allclose(scalar(elements), scalar(rotated), atol=1e-8)


def test_closed_forms_of_the_scalars():
    stick, sphere, disc = np.eye(6)[0], np.array([1.0, 0, 0, 1, 0, 1]), np.array([1.0, 0, 0, 1, 0, 0])
    shapes = np.stack([stick, sphere, disc])
    np.testing.assert_allclose(tensor.fractional_anisotropy(shapes), [1, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(tensor.mean_diffusivity(shapes), [1 / 3, 1, 2 / 3])
    np.testing.assert_allclose(tensor.mode_of_anisotropy(shapes), [1, 0, -1])
    assert tensor.fractional_anisotropy(np.zeros(6)) == 0


@given(seeds)
def test_the_eigen_system_reconstructs_the_tensor(seed):
    elements = random_elements(np.random.default_rng(seed), 5)
    values, vectors = tensor.eigen_system(elements)
    assert (np.diff(values, axis=-1) <= 0).all()
    rebuilt = (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1)
    np.testing.assert_allclose(tensor.elements_from_matrix(rebuilt), elements, atol=1e-12)


@given(seeds)
def test_weighted_fits_equal_dipys_with_the_same_weights(seed):
    rng = np.random.default_rng(seed)
    gradients, elements = gradients_of(rng), random_elements(rng, 5)
    clean = signal_of(elements, gradients)
    signal = np.hypot(clean + rng.normal(scale=40, size=clean.shape), rng.normal(scale=40, size=clean.shape))
    design = tensor.design_matrix(gradients.bvals, gradients.bvecs)
    expected, _ = wls_fit_tensor(design, signal, weights=signal**2, return_lower_triangular=True)
    np.testing.assert_allclose(tensor.fit_coefficients(signal, design, reweightings=0), expected, rtol=1e-6, atol=1e-11)
    expected, _ = wls_fit_tensor(design, signal, weights=np.exp(2 * expected @ design.T), return_lower_triangular=True)
    np.testing.assert_allclose(tensor.fit_coefficients(signal, design, reweightings=1), expected, rtol=1e-6, atol=1e-11)
