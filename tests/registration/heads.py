"""Diffusion maps of heads with known transforms, simulated from the tissue maps of the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template, sample_linear

CENTERS = np.array([[-26.1, -16.1, 27.6], [26.1, -16.1, 27.6], [-38.7, -16.4, 27.6], [38.7, -16.4, 27.6]])
ORDERS = {
    "RAS": np.eye(3),
    "LAS": np.diag([-1.0, 1, 1]),
    "LPS": np.diag([-1.0, -1, 1]),
    "PSR": np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]),
}
"""Directions of the voxel axes in columns, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Parameters of a simulated head.

    Parameters
    ----------
    angles
        Pitch, roll and yaw of the pose, degrees.
    scales
        Template to subject, along template axes.
    warp_mm
        Largest displacement of the smooth warp.
    voxel_mm, order, oblique_degrees, slab_mm
        The grid: voxel size, storage order, tilt of the slices about x, height of the field of view (None: whole).
    scalp, noise, seed
        Whether the mask takes in a rim of scalp; SD of noise in FA (MD has 1e-3 mm^2/s times this).
    """

    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scales: tuple[float, float, float] = (0.92, 0.95, 0.9)
    warp_mm: float = 0.0
    voxel_mm: float = 3.0
    order: str = "LAS"
    oblique_degrees: float = 0.0
    slab_mm: float | None = None
    scalp: bool = False
    noise: float = 0.04
    seed: int = 1


def make_head(head: Head, template: Template) -> tuple[SubjectMaps, SpatialTransform]:
    """Return the maps of a head, and its true transform."""
    random = np.random.default_rng(head.seed)
    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.from_euler("xyz", head.angles, degrees=True).as_matrix()
    rigid[:3, 3] = random.uniform(-12, 12, 3)
    affine = np.diag([*(1 / np.array(head.scales)), 1.0]) @ rigid
    truth = SpatialTransform(affine=affine, rigid=rigid, displacement=_warp(head.warp_mm, random))
    grid = _grid(head, np.linalg.inv(affine) @ [0, -16, 8 if head.slab_mm is None else 27, 1])
    shape = grid.shape
    offsets = (np.stack(np.meshgrid([-0.25, 0.25], [-0.25, 0.25], [-0.25, 0.25]), -1)).reshape(-1, 3)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    wm, gm, csf = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for offset in offsets:
        points = truth.template_from_subject(grid.world(voxels + offset))
        for total, tissue in ((wm, template.wm), (gm, template.gm), (csf, template.csf)):
            total += sample_linear(tissue, points) / len(offsets)
    mask = wm + gm + csf > 0.3
    if head.scalp:
        mask |= gaussian_filter(mask.astype(float), 4 / head.voxel_mm) > 0.25
    texture = gaussian_filter(random.normal(size=shape), 12 / head.voxel_mm)
    texture /= texture.std()
    md = (0.8e-3 * (wm + gm) + 2.6e-3 * csf) / np.maximum(wm + gm + csf, 1e-3)
    fa = wm * (0.45 + 0.08 * texture) + 0.12 * gm + 0.08 * csf + head.noise * random.normal(size=shape)
    rim = mask & (wm + gm + csf < 0.2)
    fa[rim], md[rim] = random.uniform(0.2, 0.7, rim.sum()), random.uniform(0.3e-3, 1.5e-3, rim.sum())
    md = md + 1e-3 * head.noise * random.normal(size=shape)
    return (
        SubjectMaps(
            fa=grid.like(np.where(mask, np.clip(fa, 0, 1), 0)),
            md=grid.like(np.where(mask, np.maximum(md, 0), 0)),
            b0=grid.like(np.where(mask, 500 * wm + 600 * gm + 1500 * csf, 5)),
            mask=grid.like(mask),
        ),
        truth,
    )


def center_errors(found: SpatialTransform, truth: SpatialTransform) -> Array:
    """Return the placement errors of the four ROI centers in the subject, shape (4,), mm."""
    gaps = found.subject_from_template(CENTERS) - truth.subject_from_template(CENTERS)
    return np.linalg.norm(gaps, axis=1)


def pose_error(found: SpatialTransform, truth: SpatialTransform) -> float:
    """Return the angle between two rotations, degrees."""
    return float(np.degrees(Rotation.from_matrix(found.rotation @ truth.rotation.T).magnitude()))


def _warp(largest_mm: float, random: np.random.Generator) -> SpatialMap | None:
    if not largest_mm:
        return None
    step, shape = 5.0, (56, 56, 56)
    field = np.stack([gaussian_filter(random.normal(size=shape), 22 / step) for _ in range(3)], -1)
    field -= field.mean((0, 1, 2))
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = -step * np.array(shape) / 2
    return SpatialMap(data=field * largest_mm / np.linalg.norm(field, axis=-1).max(), affine=affine)


def _grid(head: Head, center: Array) -> SpatialMap:
    tilt = Rotation.from_euler("x", head.oblique_degrees, degrees=True).as_matrix()
    directions = tilt @ ORDERS[head.order]
    extent = np.abs(ORDERS[head.order].T @ [190.0, 225.0, head.slab_mm or 190.0])
    shape = np.round(extent / head.voxel_mm).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * head.voxel_mm
    affine[:3, 3] = center[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    return SpatialMap(data=np.zeros(shape, dtype=np.float32), affine=affine)
