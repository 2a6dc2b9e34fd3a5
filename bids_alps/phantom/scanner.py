"""The scanner of the phantom: image grid, gradients, head motion and distortion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, Gradients, SpatialMap
from bids_alps.phantom.settings import PhantomSettings, Storage

READOUT_S = 0.05
"""Total readout time, s."""

ECHOES_S = (0.00492, 0.00738)
"""Echo times of the gradient-echo fieldmap sequence, s."""

HEAD_MM = (176.0, 212.0, 176.0)
"""Field of view along x, y and z."""

_AXES = {
    "LAS": np.diag([-1.0, 1.0, 1.0]),
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),  # i is y, j is z, k is -x
}
"""World direction (rows x, y, z) of each voxel axis (columns i, j, k)."""


def make_grid(settings: PhantomSettings, storage: Storage, center: Array) -> SpatialMap:
    """Return an empty grid with a storage order, around a center in world mm."""
    axes = _AXES[storage]
    sizes = np.full(3, settings.voxel_size)
    sizes[2] = settings.slice_thickness or settings.voxel_size
    extent = np.array(HEAD_MM)
    if settings.slab:
        extent[2] = settings.slab
    shape = np.ceil(np.abs(axes).T @ extent / sizes).astype(int)
    tilt = Rotation.from_euler("xyz", np.array([1.0, 0.4, -0.5]) * settings.oblique, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt @ axes * sizes
    # the middle of the grid lies at the center
    affine[:3, 3] = center - affine[:3, :3] @ ((shape - 1) / 2)
    return SpatialMap(data=np.broadcast_to(np.float32(0), tuple(int(n) for n in shape)), affine=affine)


def make_gradients(settings: PhantomSettings) -> Gradients:
    """Return gradients: b=0 volumes interspersed in the series, and evenly distributed directions on each shell."""
    directions = spread_directions(settings.directions)
    bvals = np.repeat(np.array(settings.shells, dtype=float), settings.directions)
    bvecs = np.concatenate(
        # another rotation for each shell: its directions differ from those of the others
        [directions @ Rotation.random(random_state=n).as_matrix() for n in range(len(settings.shells))]
    )
    positions = np.linspace(0, len(bvals), settings.b0, endpoint=False).astype(int)
    return Gradients(bvals=np.insert(bvals, positions, 0.0), bvecs=np.insert(bvecs, positions, 0.0, axis=0))


def spread_directions(n: int, *, iterations: int = 500) -> Array:
    """Return n unit vectors by electrostatic repulsion of their axes, shape (n, 3); deterministic.

    Jones 1999, doi 10.1002/(SICI)1522-2594(199909)42:3<515::AID-MRM14>3.0.CO;2-Q.
    """
    vectors = np.random.default_rng(n).normal(size=(n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for step in range(iterations):
        difference = vectors[:, None] - vectors[None]
        total = vectors[:, None] + vectors[None]
        # Coulomb repulsion by each vector and by its antipode: gradients g and -g are equivalent
        force = sum(d / np.maximum((d**2).sum(-1, keepdims=True), 1e-6) ** 1.5 for d in (difference, total))
        force[np.arange(n), np.arange(n)] = 0.0
        push = force.sum(1)
        # keep the tangential component only
        push -= (push * vectors).sum(1, keepdims=True) * vectors
        largest = np.linalg.norm(push, axis=1).max()
        vectors = vectors + 0.3 * (1 - step / iterations) / np.sqrt(n) * push / max(float(largest), 1e-12)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def draw_motion(rng: np.random.Generator, sd: float, n: int) -> Array:
    """Return rigid head motion, head to scanner, shape (n, 4, 4); none for the first volume. `sd` in mm and degrees."""
    motion = np.tile(np.eye(4), (n, 1, 1))
    if sd:
        angles = rng.normal(scale=sd, size=(n, 3))
        shifts = rng.normal(scale=sd, size=(n, 3))
        motion[1:, :3, :3] = Rotation.from_euler("xyz", angles[1:], degrees=True).as_matrix()
        motion[1:, :3, 3] = shifts[1:]
    return motion


_BUMPS = ((0.0, 62.0, -28.0, 24.0, 1.0), (48.0, 0.0, -38.0, 22.0, -0.6), (-48.0, 0.0, -38.0, 22.0, -0.6))
"""Displacement by susceptibility: Gaussians with center x, y, z and width, mm, and relative height."""

TOLERANCE_MM = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """Displacement of signal along the phase-encoding direction.

    Parameters
    ----------
    direction
        World direction of the phase encoding, unit vector, shape (3,).
    center
        World point that is the origin of `eddy`, shape (3,), mm.
    susceptibility
        Maximum displacement by susceptibility, mm, along `direction`.
    eddy
        Displacement by eddy currents per mm from the center along x, y, z, shape (3,), for one volume.
    eddy_scale
        Displacement by eddy currents at b = 1000 s/mm^2 and 80 mm from the center, mm.
    polarity
        1 for phase encoding along `direction`, -1 against it.
    """

    direction: Array
    center: Array
    susceptibility: float
    eddy_scale: float
    eddy: Array
    polarity: float = 1.0

    @property
    def present(self) -> bool:
        """Whether there is any distortion."""
        return bool(self.susceptibility or self.eddy_scale)

    def of_volume(self, gradients: Gradients, n: int) -> Distortion:
        """Return the distortion of one volume: eddy currents scale with b and follow the gradient direction."""
        size = self.eddy_scale * gradients.bvals[n] / 1000 / 80
        return replace(self, eddy=size * gradients.bvecs[n])

    def reversed(self) -> Distortion:
        """Return the distortion by the same field with opposite phase encoding."""
        return replace(self, susceptibility=-self.susceptibility)

    def shift(self, points: Array) -> Array:
        """Return the displacement at anatomical points, shape (n, 3) -> (n,), mm along `direction`."""
        return self._shift_and_slope(points)[0]

    def shift_on(self, grid: SpatialMap) -> Array:
        """Return the displacement by susceptibility at the voxels of a grid, shape (i, j, k), mm."""
        voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
        return replace(self, eddy=np.zeros(3)).shift(grid.world(voxels).reshape(-1, 3)).reshape(grid.shape)

    def hertz(self, points: Array, voxel_mm: float) -> Array:
        """Return the field in hertz at anatomical points, shape (n, 3) -> (n,), for a voxel size along phase encoding.

        Off-resonance of f hertz displaces by f times the readout time, in voxels, towards increasing indices for
        positive phase encoding.
        """
        return self.polarity * replace(self, eddy=np.zeros(3)).shift(points) / voxel_mm / READOUT_S

    def undo(self, points: Array, *, start: Array | None = None) -> tuple[Array, Array]:
        """Return the origin of the signal imaged at points, and the change of its intensity.

        Parameters
        ----------
        points
            Points of the distorted image, shape (n, 3), mm.
        start
            Where the signal comes from by a first guess; the points themselves by default.

        Returns
        -------
        source, intensity
            Undistorted points, shape (n, 3), mm, and factor of the signal intensity (Jacobian), shape (n,).
        """
        along = np.zeros(len(points)) if start is None else (start - points) @ self.direction
        for _ in range(12):  # Newton's method for along + shift = 0; converges in 3 or 4 steps
            shift, slope = self._shift_and_slope(points + along[:, None] * self.direction)
            step = (along + shift) / (1 + slope)
            along -= step
            if np.abs(step).max(initial=0.0) < TOLERANCE_MM:
                break
        return points + along[:, None] * self.direction, 1 / (1 + slope)  # the last step moved by the tolerance

    def _shift_and_slope(self, points: Array) -> tuple[Array, Array]:
        """Return the displacement at points, shape (n, 3) -> (n,), mm, and its derivative along `direction`."""
        local = np.ascontiguousarray((points - self.center).T)
        # eddy currents: linear in position, with one slope along the phase encoding everywhere
        shift, slope = self.eddy @ local, np.full(local.shape[1], self.direction @ self.eddy)
        for *middle, width, height in _BUMPS if self.susceptibility else ():
            offset = local - np.array(middle)[:, None]
            bump = self.susceptibility * height * np.exp(-(offset**2).sum(0) / (2 * width**2))
            shift += bump
            # derivative of a Gaussian along the phase encoding
            slope -= bump * (self.direction @ offset) / width**2
        return shift, slope


def draw_distortion(rng: np.random.Generator, settings: PhantomSettings, grid: SpatialMap, center: Array) -> Distortion:
    """Return the distortion of a scan along its phase-encoding axis."""
    axis = "ijk".index(settings.phase_encoding[0])
    sign = -1.0 if settings.phase_encoding.endswith("-") else 1.0
    direction = grid.affine[:3, axis] / np.linalg.norm(grid.affine[:3, axis])
    size = settings.susceptibility * rng.uniform(0.8, 1.0)
    return Distortion(
        direction=direction,
        center=center,
        susceptibility=sign * size,
        eddy_scale=settings.eddy,
        eddy=np.zeros(3),
        polarity=sign,
    )
