"""The index corrected for crossing fibers, for suitable acquisitions (experimental).

Callosal fibers that cross both regions raise the index irrespective of perivascular diffusion; association fibers in
the projection region and free water lower it. Here the mean signal of each region is modeled as the sum of its own
tract (free tensor), of fibers along the two other axes of the head (common response), and of free water:

    S / S0 = (1 - f1 - f2 - fw) exp(-b g' D g) + f1 exp(-b g' R1 g) + f2 exp(-b g' R2 g) + fw exp(-b 3e-3 mm^2/s)

A single shell at low b cannot distinguish them from a broader tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from bids_alps.model import SIDES, Array, DwiSeries, Gradients, Roi
from bids_alps.numerics.index.alps import alps_by_hemisphere, as_floats
from bids_alps.numerics.index.rois import EXPECTED_AXIS
from bids_alps.numerics.tensors.tensor import design_matrix

MIN_DIRECTIONS = 45
MIN_B, MIN_SINGLE_SHELL_B = 1500.0, 1900.0
"""Minimum highest b-value to resolve crossing fibers with two shells and with a single shell, s/mm^2."""

MAX_B = 3100.0
FREE_WATER = 3.0e-3
BOOTSTRAPS = 40
_SAME_SHELL = 0.3  # relative to the highest b-value: b-values closer than this are one shell
_AXES = (0, 3, 5)  # elements xx, yy, zz
_SCALE = 1e-3  # tensors are fitted in units of 1e-3 mm^2/s


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Result of the fit of tract, crossing fibers and free water.

    Parameters
    ----------
    alps, se
        Index from the tensors of the tracts, and its standard error: left, right, bilateral.
    fractions
        By region: signal fractions of fibers along ``x``, ``y`` and ``z`` of the template, and of ``water``.
    """

    alps: dict[str, float]
    se: dict[str, float]
    fractions: dict[str, dict[str, float]]


def choose_crossing_volumes(gradients: Gradients, *, b0_threshold: float) -> Array | None:
    """Return which volumes to fit, shape (n,), bool; None if crossing fibers cannot be resolved.

    Parameters
    ----------
    gradients
        Gradients of the whole series.
    b0_threshold
        b-values up to this are treated as b=0, s/mm^2.
    """
    bvals = gradients.bvals
    usable = bvals <= MAX_B
    weighted = bvals[usable & (bvals > b0_threshold)]
    if weighted.size < MIN_DIRECTIONS or not (bvals <= b0_threshold).any():
        return None
    several = np.ptp(weighted) > _SAME_SHELL * weighted.max()
    return usable if weighted.max() >= (MIN_B if several else MIN_SINGLE_SHELL_B) else None


def measure_crossing(
    series: DwiSeries, volumes: Array, rois: Iterable[Roi], rotation: Array, response: tuple[float, float], *, seed: int
) -> Crossing:
    """Fit tract, crossing fibers and free water to the mean signal of each region.

    Parameters
    ----------
    series, volumes
        The whole series, and its volumes to fit, bool, shape (n,).
    rois
        Projection and association regions of both sides, each with at least one voxel.
    rotation
        Rotation from scanner axes to the axes of the index, shape (3, 3).
    response
        Diffusivity along and across a single bundle of fibers, mm^2/s.
    seed
        Seed of the residual bootstrap for the standard error.
    """
    gradients = series.gradients.take(volumes)
    shells = gradients.bvals[gradients.bvals > gradients.bvals.max() / 10]  # b=0 volumes may have vectors
    several = bool(np.ptp(shells) > _SAME_SHELL * shells.max())
    # template axes; without the column of log S0, which is a parameter of the mixture
    design = design_matrix(gradients.bvals, gradients.bvecs @ rotation.T)[:, :6]
    rng = np.random.default_rng(seed)
    tensors, draws, fractions = {}, {}, {}
    for roi in rois:
        model = _Mixture(design=design, axis=EXPECTED_AXIS[roi.region], response=response, water=several)
        signal = roi.mean(series.image.data)[volumes].astype(np.float64)
        signal = signal / signal[gradients.bvals <= gradients.bvals.min() + 1].mean()
        parameters = model.fit(signal, model.start())
        fitted = model.signal(parameters)
        # inflate residuals for the degrees of freedom of the fit
        scale = np.sqrt(len(signal) / max(len(signal) - parameters.size, 1))
        residual = scale * (signal - fitted)
        # wild bootstrap: each residual stays with its volume and gets a random sign
        replicates = [
            model.fit(fitted + rng.choice([-1.0, 1.0], len(signal)) * residual, parameters, most=8)
            for _ in range(BOOTSTRAPS)
        ]
        tensors[roi.name] = parameters[:6] * _SCALE
        draws[roi.name] = np.stack([replicate[:6] for replicate in replicates]) * _SCALE
        fractions[roi.name] = model.fractions(parameters)
    sampled = alps_by_hemisphere(draws)
    return Crossing(
        alps=as_floats(alps_by_hemisphere(tensors)),
        se={side: float(np.nanstd(sampled[side])) for side in (*SIDES, "bilateral")},
        fractions=fractions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mixture:
    """The model of one region: `design` (n, 6) times a tensor's elements is the logarithm of its signal.

    Without `water` its fraction is zero: a single shell cannot distinguish it from a lower b=0 signal.
    """

    design: Array
    axis: int
    response: tuple[float, float]
    water: bool

    @property
    def others(self) -> tuple[int, int]:
        """The two axes perpendicular to the tract of the region."""
        first, second = (n for n in range(3) if n != self.axis)
        return first, second

    def start(self) -> Array:
        """Return the initial parameters: tensor elements, three fractions, S0; shape (10,)."""
        start = np.zeros(10)
        for n, element in enumerate(_AXES):
            # 1e-3 mm^2/s, along the tract and across
            start[element] = 1.2 if n == self.axis else 0.5
        start[6:9], start[9] = (0.05, 0.05, 0.05 if self.water else 0.0), 1.0
        return start

    def components(self) -> Array:
        """Return the signals of fibers along both other axes and of free water, shape (3, n)."""
        along, across = self.response
        signals = []
        for axis in self.others:
            tensor = np.zeros(6)
            tensor[list(_AXES)] = across
            tensor[_AXES[axis]] = along
            signals.append(np.exp(self.design @ tensor))
        water = np.zeros(6)
        water[list(_AXES)] = FREE_WATER
        return np.stack([*signals, np.exp(self.design @ water)])

    def signal(self, parameters: Array) -> Array:
        """Return the predicted signal, shape (n,)."""
        return parameters[9] * self._mixed(parameters, self.components())

    def _mixed(self, parameters: Array, components: Array) -> Array:
        tract = np.exp(self.design @ (parameters[:6] * _SCALE))
        return (1 - parameters[6:9].sum()) * tract + parameters[6:9] @ components

    def fit(self, signal: Array, start: Array, *, most: int = 60) -> Array:
        """Return the least-squares parameters of a signal, shape (10,)."""
        components = self.components()
        # bounds: Dxx, Dxy, Dxz, Dyy, Dyz, Dzz in 1e-3 mm^2/s, three fractions, S0 relative to the mean b=0 signal
        low = np.array([0.05, -1, -1, 0.05, -1, 0.05, 0, 0, 0, 0.2])
        high = np.array([3, 1, 1, 3, 1, 3, 0.6, 0.6, 0.6 if self.water else 1e-4, 5])

        def misfit(parameters: Array) -> Array:
            return parameters[9] * self._mixed(parameters, components) - signal

        solution = least_squares(
            misfit,
            np.clip(start, low + 1e-6, high - 1e-6),
            bounds=(low, high),
            x_scale=np.array([0.3] * 6 + [0.1] * 3 + [1.0]),
            max_nfev=most,
        )
        return solution.x

    def fractions(self, parameters: Array) -> dict[str, float]:
        """Return the fractions of fibers along x, y and z, and of free water."""
        first, second, water = (float(value) for value in parameters[6:9])
        # what the others leave is the fraction of the tract of the region
        shares = dict(zip(self.others, (first, second), strict=True)) | {self.axis: 1 - first - second - water}
        return {name: shares[n] for n, name in enumerate("xyz")} | {"water": water}


def single_fiber_response(values: Array, fa: Array, *, voxels: int = 300) -> tuple[float, float]:
    """Return the diffusivity along and across the fibers in the voxels of highest anisotropy, mm^2/s.

    Parameters
    ----------
    values
        Eigenvalues, largest first, shape (m, 3), mm^2/s.
    fa
        Their fractional anisotropy, shape (m,).
    voxels
        Number of voxels, of highest anisotropy below 0.95, used as single-fiber voxels.
    """
    # anisotropy near 1 is noise (a negative eigenvalue), not a bundle
    order = np.argsort(np.where(fa < 0.95, fa, 0.0), kind="stable")[-voxels:]
    mean = np.median(values[order], axis=0)
    return float(mean[0]), float(mean[1:].mean())
