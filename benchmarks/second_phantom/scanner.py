"""Acquisition of a head, and the index of an ideal scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from second_phantom.head import PUBLISHED_CENTERS, Head


@dataclass(frozen=True)
class ScanChoices:
    """Parameters of a scan; mm, degrees, s/mm².

    `snr` is that of white matter at b=0 in the middle of the head; `gain` the true strength of the gradients along
    x, y, z relative to the table; `shift` the largest displacement along y by susceptibility, near the frontal sinus.
    """

    seed: int = 0
    voxel: tuple[float, float, float] = (2.5, 2.5, 2.5)
    shells: tuple[tuple[float, int], ...] = ((1000.0, 20),)
    b0: int = 2
    snr: float = 25.0
    tilt: float = 0.0
    bias: float = 0.25
    noise_growth: float = 0.5
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: float = 0.0
    scalp: bool = True
    per_edge: int = 3


@dataclass(frozen=True)
class Scan:
    """A scan: magnitudes (i, j, k, n), the affine to RAS+ mm, b-values, unit vectors in world axes, the noise's SD (i, j, k)."""

    data: np.ndarray
    affine: np.ndarray
    bvals: np.ndarray
    bvecs: np.ndarray
    sigma: np.ndarray


def make_table(choices: ScanChoices) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values and unit vectors: golden spirals over half a sphere, six directions those of an icosahedron."""
    rng = np.random.default_rng([choices.seed, 5])
    bvals, bvecs = [np.zeros(choices.b0)], [np.zeros((choices.b0, 3))]
    for b, n in choices.shells:
        vectors = _spiral(n) if n > 6 else _icosahedron()
        bvals.append(np.full(n, b))
        bvecs.append(vectors @ Rotation.random(rng=rng).as_matrix())
    return np.concatenate(bvals), np.concatenate(bvecs)


def _spiral(n: int) -> np.ndarray:
    z = (np.arange(n) + 0.5) / n
    turn = np.pi * (1 + 5**0.5) * np.arange(n)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)


def _icosahedron() -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    vectors = np.array(
        [[0, 1, golden], [0, 1, -golden], [1, golden, 0], [1, -golden, 0], [golden, 0, 1], [-golden, 0, 1]]
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def acquire(head: Head, choices: ScanChoices) -> Scan:
    """Return a scan of a head."""
    rng = np.random.default_rng([choices.seed, head.choices.seed, 11])
    affine, shape = _make_grid(head, choices)
    bvals, bvecs = make_table(choices)
    seen = np.zeros((*shape, len(bvals)), dtype=np.float32)
    voxels = np.argwhere(np.ones(shape, dtype=bool))
    inside = _near_the_head(head, voxels @ affine[:3, :3].T + affine[:3, 3])
    for start in range(0, len(voxels), 60_000):
        chosen = np.flatnonzero(inside[start : start + 60_000]) + start
        if len(chosen):
            seen[tuple(voxels[chosen].T)] = _average(head, voxels[chosen], affine, (bvals, bvecs), choices)
    sensitivity, sigma = _coils(rng, voxels, shape, choices)
    seen *= sensitivity[..., None]
    for n in range(seen.shape[-1]):
        real = seen[..., n] + sigma * rng.standard_normal(shape)
        seen[..., n] = np.hypot(real, sigma * rng.standard_normal(shape))
    return Scan(data=seen * np.float32(400), affine=affine, bvals=bvals, bvecs=bvecs, sigma=sigma * 400)


def _average(head: Head, voxels: np.ndarray, affine: np.ndarray, table: tuple, choices: ScanChoices) -> np.ndarray:
    """Return the mean signal over points spread through each voxel."""
    bvals, bvecs = table
    felt = bvecs * np.asarray(choices.gain)  # b g g' grows with the square of a gradient
    strength = (felt**2).sum(1)
    felt_bvals = bvals * np.where(strength > 0, strength, 1.0)
    felt_bvecs = felt / np.sqrt(np.where(strength > 0, strength, 1.0))[:, None]
    n = choices.per_edge
    steps = (np.arange(n) + 0.5) / n - 0.5
    total = np.zeros((len(voxels), len(bvals)))
    for offset in np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3):
        points = (voxels + offset) @ affine[:3, :3].T + affine[:3, 3]
        source, density = _undistorted(head, points, choices.shift)
        total += density[:, None] * head.signal(source, felt_bvals, felt_bvecs)
        if choices.scalp:
            total += np.outer(_scalp(head, source), np.exp(-felt_bvals * 0.7e-3))
    return total / n**3


def _undistorted(head: Head, points: np.ndarray, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the origin of the signal at points, and its density: a shift along y near the frontal sinus and deep."""
    if not shift:
        return points, np.ones(len(points))

    def field(where: np.ndarray) -> np.ndarray:
        return susceptibility_shift(head, where, shift)

    source = points.copy()
    for _ in range(8):
        source[:, 1] = points[:, 1] - field(source)
    step = np.array([0.0, 0.5, 0.0])
    return source, 1 / (1 + field(source + step) - field(source - step))


def susceptibility_shift(head: Head, points: np.ndarray, shift: float) -> np.ndarray:
    """Return the displacement along y at subject points, shape (m, 3) -> (m,), mm; `shift` is the largest."""
    offset = points - head.shape.subject_from_template(np.array([[0.0, 55.0, -15.0]]))[0]
    near, deep = (np.exp(-((offset / widths) ** 2).sum(1) / 2) for widths in ([38, 30, 26], [60, 75, 70]))
    return shift * (near + 0.18 * deep)


def make_t1w(head: Head, *, voxel: float = 1.5, snr: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a T1w image of a head, shape (i, j, k), and its affine: bias field, scalp, and noise relative to white matter."""
    rng = np.random.default_rng([head.choices.seed, 13])
    affine = np.diag([voxel, voxel, voxel, 1.0])
    shape = tuple(int(np.ceil(extent / voxel)) for extent in (180, 220, 190))
    middle = head.shape.subject_from_template(np.array([[0.0, -18.0, 8.0]]))[0]
    affine[:3, 3] = middle - voxel * (np.array(shape) - 1) / 2
    points = np.argwhere(np.ones(shape, dtype=bool)) * voxel + affine[:3, 3]
    shares = head.tissue.shares(head.shape.template_from_subject(points))
    signal = shares @ [1.0, 0.62, 0.2] + 3 * _scalp(head, points)
    signal *= np.exp(0.15 * ((points - middle) / [90, 110, 95]) @ rng.normal(0, 1, 3))
    noisy = np.hypot(signal + rng.normal(0, 1 / snr, len(points)), rng.normal(0, 1 / snr, len(points)))
    return (400 * noisy).reshape(shape).astype(np.float32), affine


def _scalp(head: Head, points: np.ndarray) -> np.ndarray:
    """Return the fraction of scalp at subject points: a shell about an ellipsoid around the head."""
    local = (points - head.shape.matrix[:3, 3]) @ np.linalg.inv(head.shape.matrix[:3, :3]).T - [0, -18, 8]
    radius = np.sqrt(((local / [77, 97, 84]) ** 2).sum(1))
    return 0.3 * np.exp(-(((radius - 1.08) / 0.03) ** 2))


def _near_the_head(head: Head, points: np.ndarray) -> np.ndarray:
    local = (points - head.shape.matrix[:3, 3]) @ np.linalg.inv(head.shape.matrix[:3, :3]).T - [0, -18, 8]
    return ((local / [90, 110, 95]) ** 2).sum(1) < 1


def _make_grid(head: Head, choices: ScanChoices) -> tuple[np.ndarray, tuple[int, int, int]]:
    size = np.asarray(choices.voxel)
    extent = np.array([176.0, 214.0, 178.0]) * min(1.0, head.choices.scale + 0.08)
    shape = tuple(int(n) for n in np.ceil(extent / size))
    turn = Rotation.from_euler("xyz", np.array([1.0, 0.3, -0.4]) * choices.tilt, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(size * [-1, 1, 1])
    middle = head.shape.subject_from_template(np.array([[0.0, -18.0, 8.0]]))[0]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def _coils(
    rng: np.random.Generator, voxels: np.ndarray, shape: tuple, choices: ScanChoices
) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth sensitivity, about 1, and the SD of the noise, which grows towards the middle of the image."""
    local = 2 * voxels / np.array(shape) - 1
    slopes = rng.normal(0, choices.bias / 2, 3)
    radius = (local**2).sum(1)
    sensitivity = np.exp(local @ slopes + choices.bias * (radius - 0.7)).reshape(shape)
    growth = 1 + choices.noise_growth * (np.exp(-radius / 0.5) - 1)
    sigma = (growth / choices.snr if choices.snr else np.zeros(len(voxels))).reshape(shape)
    return sensitivity.astype(np.float32), sigma.astype(np.float32)


def true_index(head: Head, choices: ScanChoices, *, radius: float = 2.5) -> dict[str, float]:
    """Return the index of spheres about the true centers for an ideal scanner, left, right, bilateral.

    No noise, points instead of voxels, the true position and rotation, gradients as in the table; the b-values of
    `choices`, fitted by least squares weighted with the squared signal.
    """
    bvals, bvecs = (
        np.concatenate([[0.0], np.repeat([b for b, _ in choices.shells[:1]], 60)]),
        np.vstack([np.zeros(3), _spiral(60)]),
    )
    columns = bvecs[:, [0, 0, 0, 1, 1, 2]] * bvecs[:, [0, 1, 2, 1, 2, 2]] * [1, 2, 2, 1, 2, 1]
    design = np.column_stack([-bvals[:, None] * columns, np.ones(len(bvals))])
    steps = np.linspace(-radius, radius, 9)
    ball = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    ball = ball[(ball**2).sum(1) <= radius**2 + 1e-9]
    found = {}
    for side, sign in (("left", -1), ("right", 1)):
        means = {}
        for region, (x, y, z) in PUBLISHED_CENTERS.items():
            points = head.shape.subject_from_template(ball + np.array([sign * x, y, z]))
            logs = np.log(head.signal(points, bvals, bvecs))
            tensors = []
            for one in logs:
                weights = np.exp(one - one.max())
                tensors.append(np.linalg.lstsq(design * weights[:, None], one * weights, rcond=None)[0][:6])
            xx, xy, xz, yy, yz, zz = np.mean(tensors, axis=0)
            tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            means[region] = np.diag(head.shape.rotation.T @ tensor @ head.shape.rotation)
        found[side] = (means["projection"][0] + means["association"][0]) / (
            means["projection"][1] + means["association"][2]
        )
    return {**found, "bilateral": (found["left"] + found["right"]) / 2}
