"""How volumes vary together, beside polynomials of a known size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import eval_legendre

from bids_alps.numerics.preprocessing import prediction


@pytest.mark.parametrize(("pairs", "terms"), [(6, 1), (11, 1), (12, 2), (17, 2), (18, 3), (60, 3)])
def test_a_term_needs_three_pairs_counted_from_both_sides(pairs: int, terms: int) -> None:
    cosine = np.linspace(-0.9, 0.95, pairs)
    basis = np.stack([eval_legendre(order, cosine) for order in (0, 2, 4)])
    known = np.array([3.0, 2.0, 1.0])
    found = prediction._fit_terms(basis, known @ basis)
    assert np.count_nonzero(found) == terms
    if terms == 3:
        np.testing.assert_allclose(found, known)
    np.testing.assert_allclose(found[:terms], np.linalg.lstsq(basis[:terms].T, known @ basis, rcond=None)[0])


def test_covariance_is_the_kernel_of_the_angles_that_made_it() -> None:
    rng = np.random.default_rng(4)
    bvecs = rng.normal(size=(30, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    cosine = bvecs @ bvecs.T
    kernel = 5 + 2 * eval_legendre(2, cosine) + 0.5 * eval_legendre(4, cosine)
    found = prediction.fit_covariance(kernel + 0.7 * np.eye(30), bvecs, np.zeros(30, dtype=int))
    np.testing.assert_allclose(found, kernel + 0.7 * np.eye(30), atol=1e-6)


@pytest.mark.parametrize(("condition", "terms"), [(19.0, 2), (21.0, 1)])
def test_terms_whose_values_are_nearly_proportional_are_not_told_apart(condition: float, terms: int) -> None:
    """Two orthogonal terms whose sizes differ by the condition number; above 20 only the constant is fitted."""
    orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 2)))[0].T
    basis = orthogonal * np.array([[condition], [1.0]])
    truth = np.array([2.0, 3.0])
    fitted = prediction._fit_terms(basis, truth @ basis)
    np.testing.assert_allclose(fitted, np.where(np.arange(2) < terms, truth, 0), atol=1e-9)
