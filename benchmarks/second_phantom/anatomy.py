"""Tissue and fibers in the template: tissue fractions, fiber populations and their directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

POPULATIONS = ("projection", "association", "callosal", "other")


@cache
def template_maps() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return white matter, gray matter and brain of the template, and the affine of their grid."""
    folder = Path(__file__).parents[2] / "bids_alps" / "resources" / "brain"
    maps = {}
    for name in ("gm", "wm"):
        image = nib.load(folder / f"tpl-MNI152NLin2009aSym_res-1_label-{name.upper()}_probseg.nii.gz")
        maps[name] = np.asarray(image.dataobj, dtype=np.float32)
        maps[name] = maps[name] / maps[name].max()
    solid = maps["gm"] + maps["wm"] > 0.3
    closed = ndimage.binary_closing(np.pad(solid, 12), ndimage.generate_binary_structure(3, 1), iterations=10)[
        12:-12, 12:-12, 12:-12
    ]
    maps["brain"] = ndimage.binary_fill_holes(closed)
    return maps, np.asarray(image.affine)


@cache
def lateral_ventricles() -> np.ndarray:
    """Return the lateral ventricles of the template, bool."""
    maps, affine = template_maps()
    fluid = maps["brain"] & (maps["gm"] + maps["wm"] < 0.5)
    x, y, z = np.moveaxis(np.indices(fluid.shape), 0, -1).reshape(-1, 3).T
    x, y, z = ((value * affine[n, n] + affine[n, 3]).reshape(fluid.shape) for n, value in enumerate((x, y, z)))
    box = (np.abs(x) < 42) & (y > -58) & (y < 42) & (z > -4) & (z < 36) & (np.abs(x) > 1.5)
    labels, _ = ndimage.label(ndimage.binary_opening(fluid & box))
    at = [
        tuple(np.round((np.array(p) - affine[:3, 3]) / np.diag(affine)[:3]).astype(int))
        for p in ((-9, -8, 22), (9, -8, 22))
    ]
    wanted = {labels[tuple(slice(v - 3, v + 4) for v in p)].max() for p in at}
    return np.isin(labels, list(wanted - {0}))


@dataclass(frozen=True)
class Tissue:
    """Tissue fractions on the template's grid, sharpened and roughened, and the direction towards the cortex."""

    wm: np.ndarray
    gm: np.ndarray
    csf: np.ndarray
    outward: np.ndarray
    affine: np.ndarray

    def shares(self, points: np.ndarray) -> np.ndarray:
        """Return the fractions of white matter, gray matter and CSF, shape (m, 3)."""
        return np.stack([self._at(image, points) for image in (self.wm, self.gm, self.csf)], axis=-1)

    def towards_cortex(self, points: np.ndarray) -> np.ndarray:
        """Return unit vectors from the ventricles to the cortex, shape (m, 3)."""
        vectors = np.stack([self._at(self.outward[..., n], points) for n in range(3)], axis=-1)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)

    def _at(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        where = ((points - self.affine[:3, 3]) / np.diag(self.affine)[:3]).T
        return ndimage.map_coordinates(image, where, order=1, mode="constant", output=np.float32)


def make_tissue(rng: np.random.Generator, *, roughness: float, atrophy_mm: float) -> Tissue:
    """Return the tissue of one head.

    Parameters
    ----------
    rng
        Draws the field that moves boundaries.
    roughness
        SD of that field, in units of tissue probability: 0.2 moves a boundary by one to two millimeters.
    atrophy_mm
        How much of the outer cortex is lost to CSF.
    """
    maps, affine = template_maps()
    brain = maps["brain"]

    def wobble(width: float) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.standard_normal(brain.shape).astype(np.float32), width)
        return roughness * noise / noise.std()

    solid = _sharpened(maps["gm"] + maps["wm"] + wobble(3.0), 0.5, 0.25)
    white = _sharpened(maps["wm"] / np.maximum(maps["gm"] + maps["wm"], 0.1) + wobble(3.0), 0.5, 0.3)
    if atrophy_mm:
        depth = ndimage.distance_transform_edt(brain)
        sulci = ndimage.gaussian_filter((maps["gm"] + maps["wm"] < 0.75).astype(np.float32), atrophy_mm)
        lost = np.clip((atrophy_mm + 1 - depth) / 2, 0, 1) + np.clip(4 * (sulci - 0.25), 0, 1) * (depth < 25)
        solid = solid * (1 - np.clip(lost, 0, 1) * (1 - white))
    wm, gm = solid * white * brain, solid * (1 - white) * brain
    csf = np.where(brain, 1 - wm - gm, 0).astype(np.float32)
    return Tissue(wm=wm, gm=gm, csf=csf, outward=_way_out(), affine=affine)


@cache
def _way_out() -> np.ndarray:
    """Return the gradient of the relative distance from the ventricles to the cortex, shape (i, j, k, 3)."""
    from_ventricles = ndimage.distance_transform_edt(~lateral_ventricles())
    share = from_ventricles / (from_ventricles + 2 * ndimage.distance_transform_edt(template_maps()[0]["brain"]) + 1)
    return np.stack(np.gradient(ndimage.gaussian_filter(share, 4.0)), axis=-1).astype(np.float32)


def _sharpened(values: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.clip((values - middle) / width + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Tracts:
    """Fiber populations of one head: borders (mm of the template), ends and crossing fractions.

    `shift` moves the borders of the association tract along |x| and z, `front` and `back` are where it ends along y, `crossing`
    is the fraction of callosal fibers inside the corona radiata, `intruding` that of association fibers in it and of
    projection fibers in the association tract, `waver` the SD of directions in degrees, `other_along_x` whether all
    other white matter points along x.
    """

    shift: tuple[float, float]
    front: float
    back: float
    crossing: float
    intruding: float
    waver: float
    other_along_x: bool
    bends: np.ndarray
    phases: np.ndarray

    def shares(self, points: np.ndarray) -> np.ndarray:
        """Return the fraction of each of `POPULATIONS` in white matter, shape (m, 4), rows of sum 1."""
        x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
        out, up = self.shift
        rise = np.maximum(z - 29 - up, 0)
        border = 32.0 + out - 0.45 * rise
        association = (
            _step(x - border, 0.8)
            * _step(45.5 + out - 1.3 * rise - x, 1.5)
            * _step(z - 24.3 - up, 0.8)
            * _step(41 - z, 2)
            * _step(self.front - y, 1.5)
            * _step(y - self.back, 1.5)
        )
        radiata = (
            _step(border - x, 0.8)
            * _step(x - (20.5 if self.crossing < 1 else 0), 1.2)
            * _step(y + 40, 4)
            * _step(28 - y, 4)
        )
        radiata = radiata * _step(z + 12, 3)
        body = _step(21.5 - x, 1.5) * _step(z - 18, 2) * _step(y + 45, 4) * _step(32 - y, 4)
        shares = np.stack([radiata * (1 - body), association, body * (1 - association), np.zeros_like(x)], axis=-1)
        total = shares.sum(1, keepdims=True)
        shares = shares / np.maximum(total, 1)
        shares[:, 3] = 1 - shares[:, :3].sum(1)
        projection, association = shares[:, 0].copy(), shares[:, 1].copy()
        shares[:, 0] += self.intruding * association - (self.crossing + self.intruding) * projection
        shares[:, 1] += self.intruding * projection - self.intruding * association
        shares[:, 2] += self.crossing * projection
        return shares

    def directions(self, points: np.ndarray, outward: np.ndarray) -> np.ndarray:
        """Return the unit direction of each population, shape (m, 4, 3), in template axes."""
        side, x, y, z = np.where(points[:, 0] < 0, -1.0, 1.0), np.abs(points[:, 0]), points[:, 1], points[:, 2]
        zero, one = np.zeros_like(x), np.ones_like(x)
        fan = np.stack([side * (x - 22.5) / 60, (y + 20) / 75, one], -1)
        arc = np.stack([zero, -z / 28.0**2, (y + 20) / 42.0**2], -1)
        rise = np.stack([one, zero, side * 0.022 * x], -1)
        other = np.stack([one, zero, zero], -1) if self.other_along_x else outward
        found = np.stack([fan, arc, rise, other], axis=1)
        found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9)
        found = found + np.radians(self.waver) * self._wavering(points)[:, None, :]
        return found / np.linalg.norm(found, axis=-1, keepdims=True)

    def _wavering(self, points: np.ndarray) -> np.ndarray:
        """Return a smooth random vector field of SD 1 along each axis, shape (m, 3)."""
        angles = np.einsum("mi,cki->mck", points, self.bends) + self.phases
        return np.sqrt(2 / self.phases.shape[1]) * np.cos(angles).sum(-1)


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-distance / width * 2, -40, 40)))
