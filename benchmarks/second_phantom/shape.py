"""How a subject's head differs from the template: flows on a grid of the template, then scales, then a rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

STEP_MM = 3.0
LOW = np.array([-99.0, -135.0, -75.0])
SHAPE = (67, 80, 68)
FLOW_STEPS = 10


def grid_points() -> np.ndarray:
    """Return the template points of the grid that flows live on, shape (*SHAPE, 3), mm."""
    return np.moveaxis(np.indices(SHAPE), 0, -1) * STEP_MM + LOW


def at(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a field on the flow grid, shape (*SHAPE, n), at template points, shape (m, 3)."""
    where = ((points - LOW) / STEP_MM).T
    channels = [
        ndimage.map_coordinates(field[..., n], where, order=1, mode="nearest", output=np.float64)
        for n in range(field.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def integrate(velocity: np.ndarray, *, backwards: bool = False) -> np.ndarray:
    """Return where a steady velocity field takes each grid point in unit time, as a displacement (*SHAPE, 3), mm."""
    start = grid_points().reshape(-1, 3)
    points, sign = start.copy(), -1.0 if backwards else 1.0
    for _ in range(FLOW_STEPS):
        half = points + sign * at(velocity, points) / (2 * FLOW_STEPS)
        points = points + sign * at(velocity, half) / FLOW_STEPS
    return (points - start).reshape(*SHAPE, 3)


def random_flow(rng: np.random.Generator, widths_mm: tuple[float, float], rms_mm: float) -> np.ndarray:
    """Return a velocity field made of bumps of random place, width and direction, of a given root mean square, mm."""
    points, velocity = grid_points(), np.zeros((*SHAPE, 3))
    for _ in range(int(4e6 / np.mean(widths_mm) ** 3) + 20):
        center = rng.uniform([-75, -110, -60], [75, 80, 85])
        width = rng.uniform(*widths_mm)
        low, high = np.floor((center - 3 * width - LOW) / STEP_MM), np.ceil((center + 3 * width - LOW) / STEP_MM)
        box = tuple(slice(max(int(a), 0), max(int(b), 0)) for a, b in zip(low, high, strict=True))
        bump = np.exp(-((points[box] - center) ** 2).sum(-1) / (2 * width**2))
        velocity[box] += bump[..., None] * rng.normal(size=3)
    brain = (np.abs(points - [0, -18, 15]) < [65, 80, 60]).all(-1)
    return velocity * rms_mm / np.sqrt((velocity[brain] ** 2).sum(-1).mean())


def ventricle_flow(
    ventricles: np.ndarray, affine: np.ndarray, push_mm: tuple[float, float], reach_mm: float
) -> np.ndarray:
    """Return a velocity field away from the walls of the lateral ventricles, by `push_mm` at the left and right wall.

    Inside a ventricle it grows from nothing in the middle; outside it falls off over `reach_mm`.
    """
    signed = ndimage.distance_transform_edt(~ventricles) - ndimage.distance_transform_edt(ventricles)
    signed = ndimage.gaussian_filter(signed, 2.0)
    slope = np.stack(np.gradient(signed), axis=-1)
    slope = np.stack([ndimage.gaussian_filter(slope[..., n], 2.0) for n in range(3)], axis=-1)
    where = ((grid_points().reshape(-1, 3) - affine[:3, 3]) / np.diag(affine)[:3]).T
    distance = ndimage.map_coordinates(signed, where, order=1, mode="nearest").reshape(SHAPE)
    away = (
        np.stack(
            [ndimage.map_coordinates(slope[..., n], where, order=1, mode="nearest").reshape(SHAPE) for n in range(3)],
            -1,
        )
        / np.diag(affine)[:3]
    )
    size = np.where(distance > 0, np.exp(-((distance / reach_mm) ** 2) / 2), np.clip(1 + distance / 5, 0, 1))
    x = grid_points()[..., 0]
    left = 1 / (1 + np.exp(x / 2))
    push = push_mm[0] * left + push_mm[1] * (1 - left)
    return (push * size)[..., None] * away


@dataclass(frozen=True)
class Shape:
    """The way between template and subject: subject = matrix @ flow_n(... flow_1(template))."""

    forward: tuple[np.ndarray, ...]
    backward: tuple[np.ndarray, ...]
    matrix: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, velocities: list[np.ndarray], matrix: np.ndarray, rotation: np.ndarray) -> Shape:
        """Return the shape that velocity fields, in turn, and a matrix make; `rotation` is template to subject."""
        return cls(
            forward=tuple(integrate(one) for one in velocities),
            backward=tuple(integrate(one, backwards=True) for one in velocities),
            matrix=matrix,
            rotation=rotation,
        )

    def subject_from_template(self, points: np.ndarray) -> np.ndarray:
        """Return subject points of template points, both (m, 3), mm."""
        for field in self.forward:
            points = points + at(field, points)
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def template_from_subject(self, points: np.ndarray) -> np.ndarray:
        """Return template points of subject points, both (m, 3), mm."""
        inverse = np.linalg.inv(self.matrix)
        points = points @ inverse[:3, :3].T + inverse[:3, 3]
        for field in reversed(self.backward):
            points = points + at(field, points)
        return points

    def pushed(self, points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return vectors at template points as the deformation carries them to the subject, both (m, 3)."""
        step = 1.0
        ahead = self.subject_from_template(points + step * vectors)
        behind = self.subject_from_template(points - step * vectors)
        return (ahead - behind) / (2 * step)
