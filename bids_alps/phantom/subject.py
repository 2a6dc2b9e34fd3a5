"""One scan of the phantom: a head in a pose, imaged by a scanner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, Gradients, Pose, SpatialMap, SpatialTransform, transform_points
from bids_alps.phantom.anatomy import (
    CSF_MD,
    GM_MD,
    GRADIENT_ECHO,
    S0,
    SCALP_MD,
    Anatomy,
    Diagonal,
    draw_diagonals,
    true_index,
)
from bids_alps.phantom.scanner import ECHOES_S, Distortion, draw_distortion, draw_motion, make_gradients, make_grid
from bids_alps.phantom.settings import PhantomSettings, Storage

POINTS_PER_EDGE = 2  # signal is averaged over 2 x 2 x 2 points of a voxel: partial volume
CHUNK = 200_000
MARGIN_MM = 8.0
"""How far around the image the head is known, for volumes that moved."""
COARSE = 4
"""Every fourth point is looked at to find the head on the fine grid: closer together than the scalp is thick."""
EDDY_REACH = 2.0
"""Shift by eddy currents at the far end of a head, 160 mm from its center, in units of that at 80 mm."""

ISOTROPIC_MD = {"gm": GM_MD, "csf": CSF_MD, "scalp": SCALP_MD}
OFFSET_HZ = 120.0  # of the scanner's frequency while the field is measured: it wraps phases, and displaces nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Ground truth of a scan.

    Parameters
    ----------
    alps
        Index left, right and bilateral, from the chosen diffusivities.
    diagonals
        Dxx, Dyy, Dzz in template axes by region and side, mm^2/s.
    transform
        Subject points to template points, RAS+ mm.
    pose
        Angles of the head.
    motion
        Rigid motion per volume, head points to scanner points, shape (n, 4, 4).
    shift
        Shift along the phase-encoding axis by susceptibility on the image's grid, mm, towards its positive voxel
        axis, shape (i, j, k).
    """

    alps: Mapping[str, float]
    diagonals: Mapping[str, Diagonal]
    transform: SpatialTransform
    pose: Pose
    motion: Array
    shift: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomSubject:
    """A scan and its truth.

    `reverse` is a b=0 image with opposite phase encoding, `field` a gradient-echo fieldmap; with susceptibility, one of
    the two is present.
    """

    image: SpatialMap
    gradients: Gradients
    truth: Truth
    reverse: SpatialMap | None = None
    field: FieldScan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldScan:
    """A gradient-echo scan without distortion: magnitude, wrapped phases of both echoes (radians), field (Hz)."""

    magnitude: SpatialMap
    phases: tuple[SpatialMap, SpatialMap]
    hertz: SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """Tissue at points of a head.

    Parameters
    ----------
    isotropic
        Signal at b=0 of gray matter, CSF and scalp by their mean diffusivity, shape (m,) each.
    white
        Indices of the points with white matter, shape (k,).
    s0
        Signal of white matter at b=0, shape (k,).
    tensors
        Its diffusion tensors in head axes, xx, yy, zz, xy, xz, yz, mm^2/s, shape (6, k).
    """

    isotropic: Mapping[float, Array]
    white: Array
    s0: Array
    tensors: Array

    def signal(self, gradients: Gradients) -> Array:
        """Return the signal for n gradients in head axes, shape (m, n), float32."""
        count = len(next(iter(self.isotropic.values())))
        signal = np.zeros((count, len(gradients)), dtype=np.float32)
        for n, (b, (x, y, z)) in enumerate(zip(gradients.bvals, gradients.bvecs, strict=True)):
            for md, s0 in self.isotropic.items():
                signal[:, n] += np.float32(np.exp(-b * md)) * s0
            # -b g' D g; off-diagonal elements occur twice
            weights = -b * np.array([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])
            signal[self.white, n] += self.s0 * np.exp(weights.astype(self.tensors.dtype) @ self.tensors)
        return signal

    @classmethod
    def join(cls, parts: Sequence[Tissue]) -> Tissue:
        """Return the tissue of all points of several parts, in single precision."""
        starts = np.cumsum([0, *(len(part.isotropic[GM_MD]) for part in parts[:-1])])
        return cls(
            isotropic={
                md: np.concatenate([part.isotropic[md] for part in parts]).astype(np.float32)
                for md in parts[0].isotropic
            },
            white=np.concatenate([part.white + start for part, start in zip(parts, starts, strict=True)]),
            s0=np.concatenate([part.s0 for part in parts]).astype(np.float32),
            tensors=np.concatenate([part.tensors for part in parts], axis=1).astype(np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A subject's head: its anatomy, and its transform to the template."""

    anatomy: Anatomy
    transform: SpatialTransform
    pose: Pose

    def tissue(self, points: Array, *, weighted: bool = True) -> Tissue:
        """Return what lies at head points, shape (m, 3), mm; without `weighted` its tensors are left at 0."""
        template = self.transform.template_from_subject(points)
        shares = self.anatomy.tissue(template)
        white = np.flatnonzero(shares["wm"] > 0.005)
        tensors = np.zeros((3, 3, white.size))
        if weighted:
            diagonals = self.anatomy.tensors(template[white], shares["wm"][white])
            rotations = self._local_rotations(points[white])
            tensors = np.einsum("mji,mj,mjk->ikm", rotations, diagonals, rotations)  # R' diag R: template to head axes
        return Tissue(
            isotropic={md: shares[name] * S0[name] for name, md in ISOTROPIC_MD.items()},
            white=white,
            s0=S0["wm"] * shares["wm"][white],
            tensors=tensors[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
        )

    def signal(self, points: Array, gradients: Gradients) -> Array:
        """Return the signal at head points, shape (m, 3), mm, for n gradients in head axes: shape (m, n)."""
        return self.tissue(points).signal(gradients)

    def _local_rotations(self, points: Array) -> Array:
        """Return the rotation, head to template axes, that the map makes of a small neighborhood: (m, 3, 3)."""
        step = 1.0
        # central differences: column k is the derivative of the map along head axis k
        columns = [
            self.transform.template_from_subject(points + step * axis)
            - self.transform.template_from_subject(points - step * axis)
            for axis in np.eye(3)
        ]
        return nearest_rotations(np.stack(columns, axis=-1) / (2 * step))


def nearest_rotations(matrices: Array) -> Array:
    """Return the rotations that are nearest to matrices of positive determinant, both of shape (m, 3, 3).

    Newton's iteration for the polar factor (Higham 1986, doi 10.1137/0907079): R <- (R + R^-T) / 2.
    """
    rotations = np.moveaxis(matrices, 0, -1).copy()  # rows, columns, m: each operation runs over all matrices
    while True:
        cofactors = np.stack(
            [_cross(rotations[row - 2], rotations[row - 1]) for row in range(3)]  # of rows 1 x 2, 2 x 0, 0 x 1
        )
        # R^-T is the cofactor matrix over the determinant
        determinant = (rotations[0] * cofactors[0]).sum(0)
        change = (cofactors / determinant - rotations) / 2
        rotations += change
        if np.abs(change).max(initial=0.0) < 1e-7:  # the error is of the order of its square
            return np.moveaxis(rotations, -1, 0)


def _cross(one: Array, other: Array) -> Array:
    """Return the cross product along the first axis."""
    return np.stack([one[k - 2] * other[k - 1] - one[k - 1] * other[k - 2] for k in range(3)])


def make_head(settings: PhantomSettings, seed: int, group: str = "control") -> Head:
    """Return the head of a subject: seed and group determine anatomy, pose and shape."""
    rng = np.random.default_rng([settings.seed, seed])
    diagonals = draw_diagonals(group, rng if settings.group_effect else None)
    pitch, roll, yaw = rng.uniform(-settings.rotation, settings.rotation, 3)
    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.from_euler("ZYX", [yaw, roll, pitch], degrees=True).as_matrix()
    rigid[:3, 3] = rng.uniform(-8, 8, 3)
    # head size varies by 6 % along each axis; the warp is smooth noise (22 mm) of the requested RMS
    scale = np.diag([*rng.uniform(0.94, 1.06, 3), 1.0]) if settings.warp else np.eye(4)
    spacing, shape = 4.0, (64, 72, 64)
    noise = rng.normal(size=(3, *shape))
    field = np.stack([ndimage.gaussian_filter(channel, 22.0 / spacing) for channel in noise], axis=-1)
    rms = np.sqrt((field**2).sum(-1).mean())
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -np.array(shape) * spacing / 2 + [0, -18, 18]
    displacement = (
        SpatialMap(data=(field * settings.warp / rms).astype(np.float32), affine=affine) if settings.warp else None
    )
    return Head(
        anatomy=Anatomy(diagonals=diagonals, scalp=settings.scalp),
        transform=SpatialTransform(affine=scale @ rigid, rigid=rigid, displacement=displacement),
        pose=Pose(pitch=float(pitch), roll=float(roll), yaw=float(yaw)),
    )


def make_subject(
    settings: PhantomSettings, seed: int = 0, *, group: str = "control", storage: Storage | None = None, scan: int = 0
) -> PhantomSubject:
    """Return one scan of one subject.

    Parameters
    ----------
    settings
        Choices of the phantom.
    seed
        Seed of the subject.
    group
        ``control`` or ``patient``.
    storage
        Storage order; the settings' in turn by default.
    scan
        Which scan of the subject: with other noise and motion and, from the second on, another pose.
    """
    head = make_head(settings, seed, group)
    rng = np.random.default_rng([settings.seed, seed, scan])
    if scan:
        head = _rotated(head, rng, settings.rotation)
    order = storage or settings.storage[seed % len(settings.storage)]
    center = head.transform.subject_from_template(np.array([0.0, -18.0, 27.0 if settings.slab else 18.0]))
    grid = make_grid(settings, order, center)
    gradients = make_gradients(settings)
    motion = draw_motion(rng, settings.motion, len(gradients))
    distortion = draw_distortion(rng, settings, grid, center)
    data = _acquire(head, grid, gradients, motion, distortion)
    reverse, field = None, None
    if settings.susceptibility and settings.fieldmap not in ("epi", "pair"):
        field = _scan_field(
            head, distortion, settings, (grid, center), np.random.default_rng([settings.seed, seed, 13])
        )
    elif settings.susceptibility:
        one = gradients.take(np.array([0]))
        reverse = grid.like(_noisy(_acquire(head, grid, one, motion[:1], distortion.reversed()), settings.snr, rng))
    truth = Truth(
        alps=true_index(head.anatomy.diagonals),
        diagonals=head.anatomy.diagonals,
        transform=head.transform,
        pose=head.pose,
        motion=motion,
        shift=distortion.shift_on(grid),
    )
    image = grid.like(_noisy(data, settings.snr, rng))
    return PhantomSubject(image=image, gradients=gradients, truth=truth, reverse=reverse, field=field)


def _scan_field(
    head: Head,
    distortion: Distortion,
    settings: PhantomSettings,
    where: tuple[SpatialMap, Array],
    rng: np.random.Generator,
) -> FieldScan:
    """Return the scan of the field on a grid of its own: 3 mm, with the phase of the coils and noise."""
    series, center = where
    grid = make_grid(replace(settings, voxel_size=3.0, slice_thickness=0.0), "LAS", center)
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)).reshape(-1, 3)
    shares = head.anatomy.tissue(head.transform.template_from_subject(points))
    signal = np.sum([shares[name] * level for name, level in GRADIENT_ECHO.items()], axis=0)
    voxel_mm = float(series.voxel_size["ijk".index(settings.phase_encoding[0])])
    hertz = distortion.hertz(points, voxel_mm)
    coils = 1.0 + 0.01 * (points - center) @ np.array([0.6, -1.0, 0.8])
    sigma = GRADIENT_ECHO["wm"] / settings.snr if settings.snr else 0.0
    echoes = []
    for echo in ECHOES_S:
        noise = sigma * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
        echoes.append(signal * np.exp(1j * (coils + 2 * np.pi * (hertz + OFFSET_HZ) * echo)) + noise)
    phases = [grid.like(np.angle(echo).reshape(grid.shape)) for echo in echoes]
    magnitude = grid.like(1000 * np.abs(echoes[0]).reshape(grid.shape).astype(np.float32))
    inside = signal > 0.1
    field = np.where(inside, hertz + OFFSET_HZ, rng.normal(scale=100, size=signal.shape))
    return FieldScan(magnitude=magnitude, phases=(phases[0], phases[1]), hertz=grid.like(field.reshape(grid.shape)))


def _rotated(head: Head, rng: np.random.Generator, degrees: float) -> Head:
    """Return the same head in another pose."""
    angles = rng.uniform(-degrees, degrees, 3)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    turn[:3, 3] = rng.uniform(-5, 5, 3)
    old = head.transform
    grid = old.displacement
    if grid is not None:  # the displacement turns along: u'(p) = T^-1 u(T p)
        data = np.asarray(grid.data) @ turn[:3, :3]
        grid = SpatialMap(data=data.astype(np.float32), affine=np.linalg.inv(turn) @ grid.affine)
    rigid = old.rigid @ turn
    transform = SpatialTransform(affine=old.affine @ turn, rigid=rigid, displacement=grid)
    yaw, roll, pitch = Rotation.from_matrix(rigid[:3, :3]).as_euler("ZYX", degrees=True)
    return Head(
        anatomy=head.anatomy, transform=transform, pose=Pose(pitch=float(pitch), roll=float(roll), yaw=float(yaw))
    )


def _acquire(head: Head, grid: SpatialMap, gradients: Gradients, motion: Array, distortion: Distortion) -> Array:
    """Return the noise-free series, shape (i, j, k, n), float32."""
    if not distortion.eddy_scale and np.allclose(motion, np.eye(4)):
        return _acquire_still(head, grid, gradients, distortion)
    return _acquire_moving(head, grid, gradients, motion, distortion)


def _acquire_still(head: Head, grid: SpatialMap, gradients: Gradients, distortion: Distortion) -> Array:
    """Return a series without motion: the mean over points of each voxel."""
    steps = (np.arange(POINTS_PER_EDGE) + 0.5) / POINTS_PER_EDGE - 0.5
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = _indices(grid.shape)
    data = np.zeros((len(voxels), len(gradients)), dtype=np.float32)
    for start in range(0, len(voxels), CHUNK):
        part = slice(start, start + CHUNK)
        for offset in offsets:
            points, intensity = grid.world(voxels[part] + offset), np.ones(1)
            if distortion.present:
                points, intensity = distortion.undo(points)
            data[part] += head.signal(points, gradients) * (intensity / len(offsets)).astype(np.float32)[:, None]
    return data.reshape(*grid.shape, len(gradients))


def _acquire_moving(head: Head, grid: SpatialMap, gradients: Gradients, motion: Array, distortion: Distortion) -> Array:
    """Return a series with motion.

    The head's tissue is laid out once, at the points that the voxels of a still head are averaged over, and some way
    beyond. Each volume is the signal of these points, averaged over a voxel and interpolated (cubic B-splines) where
    head motion and distortion put its voxels. At rest this is the still series.
    """
    fine = _cropped(_refine(grid), head)
    points = _indices(fine.shape)
    tissue = Tissue.join(
        [
            head.tissue(fine.world(points[start : start + CHUNK]), weighted=bool(gradients.bvals.any()))
            for start in range(0, len(points), CHUNK)
        ]
    )
    near = _near_head(tissue, fine, EDDY_REACH * distortion.eddy_scale * gradients.bvals.max() / 1000)
    voxels = grid.world(_indices(grid.shape))
    at_rest, _ = distortion.undo(voxels)
    data = np.zeros((len(gradients), math.prod(grid.shape)), dtype=np.float32)
    for n in range(len(gradients)):
        one = gradients.take(np.array([n]))
        # a moved head sees the gradient from another side: R' g in head axes
        signal = tissue.signal(replace(one, bvecs=one.bvecs @ motion[n, :3, :3])).reshape(fine.shape)
        back = np.linalg.inv(motion[n])
        # only voxels whose origin is near the head; elsewhere there is noise alone
        seen = np.flatnonzero(_look_up(near, transform_points(back, at_rest)))
        source, intensity = distortion.of_volume(gradients, n).undo(voxels[seen], start=at_rest[seen])
        values = _interpolate(_voxel_means(signal), fine.voxels(transform_points(back, source)).T - 0.5)
        data[n, seen] = np.maximum(values, 0) * intensity
    return data.T.reshape(*grid.shape, len(gradients))


def _cropped(fine: SpatialMap, head: Head) -> SpatialMap:
    """Return the part of a grid that contains the head."""
    voxels = np.stack(np.meshgrid(*[np.arange(0, size, COARSE) for size in fine.shape], indexing="ij"), axis=-1)
    shares = head.anatomy.tissue(head.transform.template_from_subject(fine.world(voxels.reshape(-1, 3))))
    found = voxels.reshape(-1, 3)[np.sum(list(shares.values()), axis=0) > 0]
    first = np.maximum(found.min(0) - COARSE, 0)
    last = np.minimum(found.max(0) + COARSE, np.array(fine.shape) - 1)
    affine = fine.affine.copy()
    affine[:3, 3] = fine.world(first)
    return SpatialMap(data=fine.data[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))], affine=affine)


def _near_head(tissue: Tissue, fine: SpatialMap, reach_mm: float) -> SpatialMap:
    """Return which points of a grid lie in the head, or less than a voxel and `reach_mm` from it."""
    inside = np.sum(list(tissue.isotropic.values()), axis=0) > 0
    inside[tissue.white] = True
    steps = np.ceil(reach_mm / np.linalg.norm(fine.affine[:3, :3], axis=0)).astype(int) + POINTS_PER_EDGE + 1
    return fine.like(ndimage.maximum_filter(inside.reshape(fine.shape), tuple(2 * steps + 1)))


def _look_up(image: SpatialMap, points: Array) -> Array:
    """Return the values of the voxels that world points lie in, shape (m, 3) -> (m,), the edge's beyond the edge."""
    voxels = np.rint(image.voxels(points)).astype(np.intp)
    return image.data[tuple(np.clip(voxels, 0, np.array(image.shape) - 1).T)]


def _voxel_means(signal: Array) -> Array:
    """Return the mean over every 2 x 2 x 2 points, which lies half a point after the first."""
    for axis in range(3):
        moved = np.moveaxis(signal, axis, 0)
        signal = np.moveaxis((moved[:-1] + moved[1:]) * np.float32(0.5), 0, axis)
    return signal


def _interpolate(image: Array, places: Array) -> Array:
    """Return an image at places, shape (3, m), by cubic B-splines; beyond its edge it goes on as at the edge."""
    coefficients = ndimage.spline_filter(image, order=3, output=np.float32)
    np.clip(places, 0, np.array(image.shape)[:, None] - 1, out=places)
    return ndimage.map_coordinates(coefficients, places, order=3, prefilter=False, output=np.float32, mode="mirror")


def _refine(grid: SpatialMap) -> SpatialMap:
    """Return the grid of the points that voxels are averaged over, with a margin for motion."""
    step = 1 / POINTS_PER_EDGE
    margin = np.ceil(MARGIN_MM / np.linalg.norm(grid.affine[:3, :3], axis=0)).astype(int)
    first = step / 2 - 0.5 - margin  # voxel coordinates of the first point
    affine = grid.affine @ np.block([[np.diag([step] * 3), first[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    shape = POINTS_PER_EDGE * (np.array(grid.shape) + 2 * margin)
    return SpatialMap(data=np.broadcast_to(np.float32(0), tuple(int(size) for size in shape)), affine=affine)


def _indices(shape: tuple[int, ...]) -> Array:
    """Return the indices of all voxels, shape (n, 3)."""
    return np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=-1)


def _noisy(data: Array, snr: float, rng: np.random.Generator) -> Array:
    """Return magnitudes with Rician noise, scaled to scanner units, shape kept, float32."""
    scale = 1000.0
    if snr:
        sigma = S0["wm"] / snr
        for n in range(data.shape[3]):
            # magnitude of a complex signal with noise in both parts
            real = data[..., n] + sigma * rng.standard_normal(data.shape[:3])
            data[..., n] = np.hypot(real, sigma * rng.standard_normal(data.shape[:3]))
    data *= scale
    return data
