"""Simulated moving head with eddy currents and susceptibility distortion: series and truth, for benchmarks.

The anatomy is that of the packaged template maps at 1 mm; a volume is the continuous (B-spline) image of the
moved head, with the gradients rotated into the head, sampled where the displaced voxels lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Signal model on the 1 mm template grid: S0 and tensors (xx, xy, xz, yy, yz, zz; mm²/s)."""

    s0: Array
    tensor: Array
    affine: Array


def make_head() -> Head:
    """Return tissue with fibers along a smooth field of directions."""
    folder = files("bids_alps.resources") / "brain"
    maps = [
        nib.load(str(folder / f"tpl-MNI152NLin2009aSym_res-1_label-{name}_probseg.nii.gz")) for name in ("GM", "WM")
    ]
    gm, wm = (np.asarray(image.dataobj, dtype=np.float32) for image in maps)
    gm, wm = gm / gm.max(), wm / wm.max()
    brain = ndimage.binary_fill_holes(gm + wm > 0.3)
    csf = np.clip(1 - gm - wm, 0, 1) * ndimage.binary_dilation(brain, iterations=3)
    shell = ndimage.binary_dilation(brain, iterations=9) & ~ndimage.binary_dilation(brain, iterations=6)
    s0 = 420 * wm + 560 * gm + 1100 * csf + 180 * shell
    random = np.random.default_rng(3)
    noise = [ndimage.zoom(random.normal(size=(9, 9, 9)), [n / 9 for n in gm.shape], order=3) for _ in range(3)]
    direction = np.stack([noise[0][: gm.shape[0]], noise[1], noise[2]], axis=-1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-9
    iso = (0.5e-3 * wm + 0.8e-3 * gm + 3e-3 * csf + 0.3e-3 * shell) / np.maximum(gm + wm + csf + shell, 1e-3)
    along = 1.1e-3 * wm
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    tensor = np.stack(
        [along * direction[..., a] * direction[..., b] + (iso if a == b else 0) for a, b in pairs], axis=-1
    )
    return Head(s0=s0.astype(np.float32), tensor=tensor.astype(np.float32), affine=maps[0].affine)


def make_directions(number: int, *, seed: int = 0) -> Array:
    """Return unit vectors spread over the sphere by repulsion of axes, shape (number, 3)."""
    vectors = np.random.default_rng(seed).normal(size=(number, 3))
    for _ in range(300):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        both = np.concatenate([vectors, -vectors])
        gap = vectors[:, None] - both
        distance = np.linalg.norm(gap, axis=2) + 1e9 * np.tile(np.eye(number), (1, 2))
        vectors = vectors + 0.3 / number * (gap / distance[..., None] ** 3).sum(1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Grid and weighting of a series."""

    shape: tuple[int, int, int] = (104, 104, 72)
    voxel_mm: float = 2.0
    axes: str = "LAS"
    bvals: Array
    bvecs: Array
    phase_axis: str = "y"

    @property
    def affine(self) -> Array:
        """Voxel to world mm, centered on the head."""
        linear = np.zeros((3, 3))
        for column, letter in enumerate(self.axes):
            row = "RLAPSI".index(letter) // 2
            linear[row, column] = self.voxel_mm * (1 if letter in "RAS" else -1)
        affine = np.eye(4)
        affine[:3, :3] = linear
        affine[:3, 3] = np.array([0, -18, 18]) - linear @ (np.array(self.shape) - 1) / 2
        return affine


def world_grid(protocol: Protocol) -> Array:
    """Return world mm of the voxels, shape (3, n)."""
    index = np.indices(protocol.shape).reshape(3, -1)
    return protocol.affine[:3, :3] @ index + protocol.affine[:3, 3:]


def make_volume(head: Head, protocol: Protocol, volume: int, pose: Array, displacement: Array | None = None) -> Array:
    """Return one noise-free volume.

    Parameters
    ----------
    pose
        World mm of the head at rest to world mm of the moved head, shape (4, 4).
    displacement
        Where the image of a point shows up along +y (world), mm, minus where it is, shape of the grid, evaluated
        at the *acquired* voxel: the voxel at y shows what lies at y - displacement.
    """
    rotated = protocol.bvecs[volume] @ pose[:3, :3]  # R^T g: the gradient as the head sees it
    x, y, z = rotated
    quadratic = head.tensor @ np.array([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z], dtype=np.float32)
    signal = head.s0 * np.exp(-protocol.bvals[volume] * quadratic)
    points = world_grid(protocol)
    scale = 1.0
    if displacement is not None:
        points = points.copy()
        row = "xyz".index(protocol.phase_axis)
        axis = int(np.argmax(np.abs(protocol.affine[row, :3])))
        points[row] -= displacement.ravel()
        scale = 1 - np.gradient(displacement, axis=axis) / protocol.affine[row, axis]
    inverse = np.linalg.inv(pose @ head.affine)
    voxels = inverse[:3, :3] @ points + inverse[:3, 3:]
    smooth = ndimage.gaussian_filter(signal, 0.3 * protocol.voxel_mm) if protocol.voxel_mm > 2 else signal
    return ndimage.map_coordinates(smooth, voxels, order=3, prefilter=False).reshape(protocol.shape) * scale


def make_pose(random: np.random.Generator, mm: float, degrees: float) -> Array:
    """Return a random rigid motion about the middle of the head."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(random.normal(scale=degrees, size=3))).as_matrix()
    center = np.array([0, -18, 18.0])
    pose[:3, 3] = center - pose[:3, :3] @ center + random.normal(scale=mm, size=3)
    return pose


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingSeries:
    """A simulated series with its truth: poses, displacement along y in mm, brain mask (all at rest)."""

    data: Array
    protocol: Protocol
    poses: Array
    displacements: list[Array | None]
    mask: Array


def make_series(
    head: Head, protocol: Protocol, *, mm: float = 0.8, degrees: float = 0.8, eddy: float = 0.01, snr: float = 20
) -> MovingSeries:
    """Return a series with motion, eddy currents linear in the gradient, and Rician noise; the first volume is at rest."""
    random = np.random.default_rng(11)
    points = (world_grid(protocol) - np.array([[0], [-18], [18]])).reshape(3, *protocol.shape)
    coupling = random.normal(scale=eddy, size=(3, 3))
    data = np.empty((*protocol.shape, len(protocol.bvals)), dtype=np.float32)
    poses, displacements = [], []
    sigma = 480 / snr
    for volume, b in enumerate(protocol.bvals):
        pose = np.eye(4) if volume == 0 else make_pose(random, mm, degrees)
        displacement = None
        if b > 50 and eddy:
            terms = coupling @ (protocol.bvecs[volume] * b / 1000)
            displacement = np.tensordot(terms, points, 1) + 30 * terms[0]
        clean = make_volume(head, protocol, volume, pose, displacement)
        real, imaginary = random.normal(scale=sigma, size=(2, *protocol.shape))
        data[..., volume] = np.hypot(clean + real, imaginary)
        poses.append(pose)
        displacements.append(displacement)
    brain = make_volume(head, protocol, 0, np.eye(4)) > 250
    mask = ndimage.binary_opening(brain, iterations=2)
    labels, _ = ndimage.label(mask)
    mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return MovingSeries(data=data, protocol=protocol, poses=np.array(poses), displacements=displacements, mask=mask)
