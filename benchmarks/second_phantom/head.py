"""A head: tissue, tracts, microstructure and shape, and the signal at each point."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from second_phantom.anatomy import Tissue, Tracts, lateral_ventricles, make_tissue, template_maps
from second_phantom.shape import Shape, at, integrate, random_flow, ventricle_flow

FREE_WATER = 3.0e-3
_GRAY = np.array([0.93e-3, 0.80e-3, 0.80e-3])  # along and across the direction towards the cortex, mm²/s
_AXIAL = {"projection": 1.15e-3, "association": 1.15e-3, "callosal": 1.45e-3, "other": 1.25e-3}
S0 = {"wm": 1.0, "gm": 1.25, "csf": 3.3}
PUBLISHED_CENTERS = {"projection": (26.1, -16.1, 27.6), "association": (38.7, -16.4, 27.6)}
"""Centers of the published regions in the template, right side, mm (Liu et al., carried to the symmetric template)."""


@dataclass(frozen=True)
class HeadChoices:
    """Parameters of a head; lengths in mm, angles in degrees.

    `index` is the index of the tracts, left and right; `ventricles` the volume of the lateral ventricles over the template's,
    left and right; `lesion` the fraction of the projection region (both sides) in a lesion that raises diffusivities by
    0.8e-3 mm²/s; `free_water` its fraction in white matter.
    """

    seed: int = 0
    index: tuple[float, float] = (1.5, 1.5)
    rotation: float = 12.0
    scale: float = 0.92
    smooth_rms: float = 3.0
    rough_rms: float = 0.6
    ventricles: tuple[float, float] = (1.0, 1.0)
    reach: float = 13.0
    atrophy: float = 0.0
    roughness: float = 0.18
    crossing: float = 0.0
    intruding: float = 0.0
    ends: bool = False
    other_along_x: bool = False
    waver: float = 5.0
    border_sd: float = 0.8
    free_water: float = 0.0
    lesion: float = 0.0


@dataclass(frozen=True)
class Head:
    """One head. `radial` has the diffusivities across the fibers by side: along x and along the third axis, mm²/s."""

    choices: HeadChoices
    tissue: Tissue
    tracts: Tracts
    shape: Shape
    radial: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def centers(self) -> dict[str, np.ndarray]:
        """Return the true positions of the published centers in the subject, mm."""
        named = {
            f"{region}_{side}": np.array([[sign * x, y, z]])
            for region, (x, y, z) in PUBLISHED_CENTERS.items()
            for side, sign in (("left", -1), ("right", 1))
        }
        return {name: self.shape.subject_from_template(point)[0] for name, point in named.items()}

    def signal(self, subject_points: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
        """Return the noise-free signal at subject points, shape (m, n), for b-values and world directions."""
        points = self.shape.template_from_subject(subject_points)
        wm, gm, csf = self.tissue.shares(points).T.astype(np.float64)
        lesion = self._lesion(points)
        outward = self.tissue.towards_cortex(points)
        water = np.exp(-bvals * FREE_WATER)
        signal = S0["csf"] * np.outer(csf, water)
        gray, white = np.flatnonzero(gm > 1e-3), np.flatnonzero(wm > 1e-3)
        along = self._unit(self.shape.pushed(points[gray], outward[gray]))
        decay = _GRAY[1] + (_GRAY[0] - _GRAY[1]) * (along @ bvecs.T) ** 2
        signal[gray] += S0["gm"] * gm[gray, None] * np.exp(-bvals * decay)
        shares = self.tracts.shares(points[white]) * wm[white, None]
        directions = self.tracts.directions(points[white], outward[white])
        extra = np.outer(lesion[white], bvals)
        for n, population in enumerate(_AXIAL):
            present = np.flatnonzero(shares[:, n] > 1e-3)
            decay = self._decay(population, points[white][present], directions[present, n], bvecs)
            attenuated = np.exp(-bvals * decay - extra[present] * 0.8e-3)
            mixed = (1 - self.choices.free_water) * attenuated + self.choices.free_water * water
            signal[white[present]] += S0["wm"] * shares[present, n, None] * mixed
        return signal

    def _decay(self, population: str, points: np.ndarray, directions: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
        """Return the diffusivity along each gradient, shape (m, n), of a population whose radial axes differ."""
        fiber = self._unit(self.shape.pushed(points, directions))
        across = self.shape.pushed(points, np.broadcast_to([1.0, 0.0, 0.0], points.shape))
        across = self._unit(across - (across * fiber).sum(1, keepdims=True) * fiber)
        third = np.cross(fiber, across)
        left = points[:, 0] < 0
        along_x, along_third = (
            np.where(left, self.radial["left"][population][n], self.radial["right"][population][n])[:, None]
            for n in (0, 1)
        )
        return (
            _AXIAL[population] * (fiber @ bvecs.T) ** 2
            + along_x * (across @ bvecs.T) ** 2
            + along_third * (third @ bvecs.T) ** 2
        )

    def _lesion(self, points: np.ndarray) -> np.ndarray:
        """Return 1 in the part of each projection region, cut across y, within a lesion, else 0."""
        if not self.choices.lesion:
            return np.zeros(len(points))
        x, y, z = PUBLISHED_CENTERS["projection"]
        near = (np.abs(np.abs(points[:, 0]) - x) < 5) & (np.abs(points[:, 2] - z) < 8)
        front = y - 9 + 18 * self.choices.lesion
        return (near & (points[:, 1] > y - 9) & (points[:, 1] < front)).astype(float)

    @staticmethod
    def _unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def make_head(choices: HeadChoices) -> Head:
    """Return a head with given parameters, deterministically."""
    rng = np.random.default_rng([choices.seed, 2])
    tissue = make_tissue(rng, roughness=choices.roughness, atrophy_mm=choices.atrophy)
    tracts = _draw_tracts(rng, choices)
    radial = {side: _draw_radial(rng, index) for side, index in zip(("left", "right"), choices.index, strict=True)}
    return Head(choices=choices, tissue=tissue, tracts=tracts, shape=_draw_shape(rng, choices), radial=radial)


def _draw_tracts(rng: np.random.Generator, choices: HeadChoices) -> Tracts:
    """Return the tracts of one head; `ends` lets the association tract end inside its region."""
    return Tracts(
        shift=tuple(rng.normal(0, choices.border_sd, 2)),
        front=float(rng.uniform(-14, -9) if choices.ends else rng.uniform(2, 20)),
        back=float(rng.uniform(-62, -45)),
        crossing=choices.crossing,
        intruding=choices.intruding,
        waver=choices.waver,
        other_along_x=choices.other_along_x,
        bends=rng.normal(0, 1 / 12.0, (3, 24, 3)),
        phases=rng.uniform(0, 2 * np.pi, (3, 24)),
    )


def _draw_radial(rng: np.random.Generator, index: float) -> dict[str, tuple[float, float]]:
    """Return the diffusivities across the fibers that give an index: along x, and along the third axis."""
    mean = rng.normal(0.50e-3, 0.04e-3)
    tilt = rng.normal(0, 0.03e-3)  # the two tracts share the asymmetry unevenly
    along_x, third = 2 * mean * index / (1 + index), 2 * mean / (1 + index)
    return {
        "projection": (along_x + tilt, third + tilt),
        "association": (along_x - tilt, third - tilt),
        "callosal": (0.38e-3, 0.38e-3),
        "other": (0.45e-3, 0.45e-3),
    }


def _draw_shape(rng: np.random.Generator, choices: HeadChoices) -> Shape:
    velocities = [
        random_flow(rng, (18.0, 36.0), choices.smooth_rms),
        random_flow(rng, (8.0, 12.0), choices.rough_rms),
    ]
    if choices.ventricles != (1.0, 1.0):
        velocities.insert(0, _enlarging_flow(choices.ventricles, choices.reach))
    angles = rng.uniform(-choices.rotation, choices.rotation, 3)
    rotation = Rotation.from_rotvec(np.radians(angles)).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag(choices.scale * rng.uniform(0.96, 1.04, 3))
    matrix[:3, 3] = rng.uniform(-10, 10, 3)
    return Shape.of([one for one in velocities if np.abs(one).max() > 0], matrix, rotation)


def _enlarging_flow(ratios: tuple[float, float], reach: float) -> np.ndarray:
    """Return the flow that enlarges each lateral ventricle by a factor."""
    flows = unit_flows(reach)
    pushes = [
        brentq(lambda push, side=side, ratio=ratio: volume_ratio(push * flows[side], side) - ratio, 0.0, 25.0, xtol=0.1)
        if ratio > 1
        else 0.0
        for side, ratio in enumerate(ratios)
    ]
    return pushes[0] * flows[0] + pushes[1] * flows[1]


@cache
def unit_flows(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the flows away from the left and from the right lateral ventricle by a millimeter."""
    _, affine = template_maps()
    left, right = (ventricle_flow(lateral_ventricles(), affine, pushes, reach) for pushes in ((1.0, 0.0), (0.0, 1.0)))
    return left, right


def volume_ratio(velocity: np.ndarray, side: int) -> float:
    """Return the enlargement of the left (0) or right (1) lateral ventricle by a flow."""
    _, affine = template_maps()
    voxels = np.argwhere(lateral_ventricles())[::15]
    points = voxels * np.diag(affine)[:3] + affine[:3, 3]
    points = points[points[:, 0] < 0] if side == 0 else points[points[:, 0] > 0]
    displaced = integrate(velocity)

    def moved(where: np.ndarray) -> np.ndarray:
        return where + at(displaced, where)

    columns = [(moved(points + axis) - moved(points - axis)) / 2 for axis in np.eye(3)]
    return float(np.linalg.det(np.stack(columns, axis=-1)).mean())
