"""Longitudinal registration: midway space of several scans of one head, their mean, and its registration.

No scan is the reference: scans are registered pairwise in both directions, and the midway space (frame) is chosen so
that the mean rigid motion from it to the scans is the identity. Maps are resampled only for their mean; the index is
measured from the tensors of each scan in native space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from bids_alps.model import (
    Array,
    SpatialMap,
    SpatialTransform,
    SubjectMaps,
    Template,
    sample_linear,
    transform_points,
)
from bids_alps.numerics.tissue_contrast import subject_contrast
from bids_alps.registration.base import Registration, pose_of
from bids_alps.registration.linear import RIGID, LinearFit, Pair, fit_linear
from bids_alps.registration.staged import inner_brain

SENTENCE = (
    "The sessions of a participant were also analyzed in an unbiased midway space ([@reuter2012]): sessions were "
    "registered rigidly in pairs and averaged, the mean was registered to the template, and regions and pose were "
    "transferred from it to each session. Intervals of the change between sessions exclude the errors of "
    "registration and pose that the sessions share."
)
_STEPS_MM = (4.0, 2.0)
_MARGIN_MM = 6.0
_MIN_FRACTION = 0.5  # fraction of scans that must cover a brain voxel of the mean
_VOXEL_SHARE, _TURN_SE_DEGREES = (
    0.05,
    0.1,
)  # of a scan relative to the others: simulated heads with susceptibility distortion


@dataclass(frozen=True, slots=True, kw_only=True)
class Midpoint:
    """The midway space between the scans of one head.

    Parameters
    ----------
    frame_from_scan
        Rigid matrices from the RAS+ mm of each scan to those of the frame, shape (4, 4) each.
    similarity
        Mean correlation of each registered scan with the others.
    """

    frame_from_scan: tuple[Array, ...]
    similarity: tuple[float, ...]


def find_midpoint(scans: Sequence[SubjectMaps], alignments: Sequence[SpatialTransform], template: Template) -> Midpoint:
    """Return the midway space between scans of one head, independent of their order.

    Parameters
    ----------
    scans
        Two or more scans.
    alignments
        Registration of each scan to the template, accurate to a few degrees, as starting point.
    template
        Template that defines the compared region: the deep brain, where EPI distortion is small.
    """
    ranks = sorted(range(len(scans)), key=lambda n: (scans[n].fa.data.tobytes(), scans[n].fa.affine.tobytes()))
    with threadpool_limits(limits=1):  # BLAS sums depend on the number of threads
        midpoint = _between([scans[n] for n in ranks], [alignments[n] for n in ranks], template)
    order = np.argsort(ranks)
    return Midpoint(
        frame_from_scan=tuple(midpoint.frame_from_scan[n] for n in order),
        similarity=tuple(midpoint.similarity[n] for n in order),
    )


def _between(scans: Sequence[SubjectMaps], alignments: Sequence[SpatialTransform], template: Template) -> Midpoint:
    inner = template.mask.like(inner_brain(template.mask).astype(np.float32))
    contrasts = [subject_contrast(scan) for scan in scans]
    regions = [_carried(inner, align, scan.mask) for align, scan in zip(alignments, scans, strict=True)]
    centers = [scan.mask.world(np.argwhere(region)).mean(0) for scan, region in zip(scans, regions, strict=True)]
    motions, similar = {}, np.zeros((len(scans), len(scans)))
    for i, j in permutations(range(len(scans)), 2):
        # from scan i to the template, and from there to scan j
        fit = _start(np.linalg.inv(alignments[j].rigid) @ alignments[i].rigid, centers[i])
        for step in _STEPS_MM:
            fit = fit_linear(Pair(contrasts[i], contrasts[j], regions[i], step), fit, RIGID)
        motions[i, j], similar[i, j] = fit.subject_from_template, fit.similarity
    matrices = solve_midpoint(motions, centers)
    means = (similar.sum(0) + similar.sum(1)) / (2 * (len(scans) - 1))  # both directions of each pair
    return Midpoint(
        frame_from_scan=tuple(np.linalg.inv(matrix) for matrix in matrices), similarity=tuple(means.tolist())
    )


def _carried(region: SpatialMap, alignment: SpatialTransform, mask: SpatialMap) -> Array:
    """Return a template region on the grid of a scan, within its mask, bool."""
    inside = np.argwhere(mask.data)
    share = sample_linear(region, alignment.template_from_subject(mask.world(inside)))
    carried: Array = np.zeros(mask.shape, dtype=bool)
    carried[tuple(inside[share > 0.5].T)] = True
    return carried


def _start(matrix: Array, center: Array) -> LinearFit:
    turn = Rotation.from_matrix(matrix[:3, :3]).as_rotvec()
    return LinearFit(
        parameters=np.concatenate([np.zeros(3), turn, np.zeros(6)]),
        center=center,
        target=matrix[:3, :3] @ center + matrix[:3, 3],
    )


def solve_midpoint(motions: Mapping[tuple[int, int], Array], centers: Sequence[Array]) -> list[Array]:
    """Return the rigid matrices from the midway space to each scan.

    Rotations are the leading eigenvectors of the matrix of all relative rotations (Arie-Nachimson 2012,
    doi 10.1109/3DIMPVT.2012.46), translations are the least-squares solution of the relative ones. The remaining
    rigid freedom is fixed by requiring that the chordal mean of the rotations to the scans is the identity, and that
    the center of the frame (mean of the centers of the scans) maps to the centers of the scans on average.

    Parameters
    ----------
    motions
        (i, j) -> rigid matrix from scan i to scan j, RAS+ mm, for every ordered pair.
    centers
        Center of the brain of each scan, mm.

    Examples
    --------
    >>> turn = np.eye(4)
    >>> turn[:3, :3] = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    >>> first, second = solve_midpoint({(0, 1): turn, (1, 0): turn.T}, [np.zeros(3)] * 2)
    >>> [round(float(Rotation.from_matrix(m[:3, :3]).as_rotvec(degrees=True)[2]), 6) for m in (first, second)]
    [-10.0, 10.0]
    """
    n = len(centers)
    # block (j, i) is the sum of both estimates of the rotation from i to j; on the diagonal, twice the identity
    relative = np.tile(2 * np.eye(3), (n, n)).reshape(n, 3, n, 3).transpose(0, 2, 1, 3).copy()
    for (i, j), matrix in motions.items():
        turn = Rotation.from_matrix(matrix[:3, :3]).as_matrix()
        if i < j:
            relative[j, i] = turn + motions[j, i][:3, :3].T
            relative[i, j] = relative[j, i].T
    # without errors the matrix has rank 3: its eigenvectors stack the rotations, up to a common orthogonal matrix
    _, vectors = np.linalg.eigh(relative.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))
    blocks = vectors[:, -3:].reshape(n, 3, 3)
    # eigenvectors may be mirrored: det = -1
    blocks = blocks * np.sign(np.linalg.det(blocks[0]))
    turns = np.stack([_nearest_rotation(block) for block in blocks])
    # the chordal mean of the rotations becomes the identity: no scan is the reference
    turns = turns @ _nearest_rotation(turns.sum(0)).T
    shifts = _shifts(motions, turns, np.asarray(centers))
    middle = np.mean(centers, axis=0)
    matrices = []
    for turn, shift, center in zip(turns, shifts, centers, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, center + shift - turn @ middle
        matrices.append(matrix)
    return matrices


def _shifts(motions: Mapping[tuple[int, int], Array], turns: Array, centers: Array) -> Array:
    """Return the frame center mapped to each scan, relative to the scan center, shape (n, 3), mm; zero mean."""
    n = len(centers)
    rows, right = [], []
    for (i, j), matrix in motions.items():
        # s_j - R_ij s_i = R_ij c_i + t_ij - c_j, from shift s and center c of scans i and j
        turn = turns[j] @ turns[i].T
        row = np.zeros((3, n, 3))
        row[:, j], row[:, i] = np.eye(3), -turn
        rows.append(row.reshape(3, 3 * n))
        right.append(matrix[:3, :3] @ centers[i] + matrix[:3, 3] - centers[j])
    rows.append(np.tile(np.eye(3), n) * 1e3)  # zero mean: any weight will do
    right.append(np.zeros(3))
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    return solution.reshape(n, 3)


def _nearest_rotation(matrix: Array) -> Array:
    left, _, right = np.linalg.svd(matrix)
    # the sign of the smallest singular vector makes it proper (Kabsch)
    return left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right


def average_maps(scans: Sequence[SubjectMaps], midpoint: Midpoint) -> SubjectMaps:
    """Return the mean maps of the scans in the frame, at the resolution of the finest scan.

    The b=0 signal is normalized by its median in each brain, as its scale is arbitrary.
    """
    scans_from_frame = [np.linalg.inv(matrix) for matrix in midpoint.frame_from_scan]
    step = min(float(scan.mask.voxel_size.min()) for scan in scans)
    inside = [
        transform_points(matrix, scan.mask.world(np.argwhere(scan.mask.data)))
        for scan, matrix in zip(scans, midpoint.frame_from_scan, strict=True)
    ]
    low = np.min([points.min(0) for points in inside], axis=0) - _MARGIN_MM
    high = np.max([points.max(0) for points in inside], axis=0) + _MARGIN_MM
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    shape = tuple(int(size) for size in np.ceil((high - low) / step) + 1)
    points = np.moveaxis(np.indices(shape), 0, -1) * step + low
    totals = {name: np.zeros(shape) for name in ("fa", "md", "b0")}
    coverage = np.zeros(shape)
    for scan, matrix in zip(scans, scans_from_frame, strict=True):
        places = points @ matrix[:3, :3].T + matrix[:3, 3]
        within = scan.mask.contains(places)
        share = np.where(within, sample_linear(scan.mask.like(scan.mask.data.astype(np.float32)), places), 0.0)
        scale = float(np.median(scan.b0.data[scan.mask.data])) or 1.0
        coverage += share
        for name, total in totals.items():
            image = getattr(scan, name)
            values = np.where(scan.mask.data, np.nan_to_num(image.data), 0).astype(np.float32)
            total += np.where(within, sample_linear(image.like(values), places), 0.0) / (scale if name == "b0" else 1)
    mask = coverage > _MIN_FRACTION * len(scans)
    grid = SpatialMap(data=mask, affine=affine)
    means = {
        name: grid.like(np.where(mask, total / np.maximum(coverage, 1e-6), 0).astype(np.float32))
        for name, total in totals.items()
    }
    return SubjectMaps(**means, mask=grid)


def transfer_registration(registration: Registration, frame_from_scan: Array, voxel_mm: float) -> Registration:
    """Return the registration of a scan to the template from that of the frame, without resampling images.

    p -> affine (F p + u(F p)) with F from the scan to the frame is (affine F) (p + v(p)) with v(p) = R^T u(F p): the
    grid of the displacement field is moved, and its vectors are rotated.

    Parameters
    ----------
    registration
        Registration of the frame.
    frame_from_scan
        Rigid matrix, shape (4, 4).
    voxel_mm
        Voxel size of the scan.
    """
    old, turn = registration.transform, frame_from_scan[:3, :3]
    field = old.displacement
    if field is not None:
        moved = np.linalg.inv(frame_from_scan) @ field.affine
        field = SpatialMap(data=(np.asarray(field.data) @ turn).astype(np.float32), affine=moved)
    transform = SpatialTransform(
        affine=old.affine @ frame_from_scan, rigid=old.rigid @ frame_from_scan, displacement=field
    )
    own_mm, own_degrees = within_error(voxel_mm)
    return replace(
        registration,
        transform=transform,
        pose=pose_of(transform.rotation, se_degrees=float(np.hypot(registration.pose.se_degrees, own_degrees))),
        placement_se_mm=float(np.hypot(registration.placement_se_mm, own_mm)),
        engine=f"{registration.engine}, midway between scans",
    )


def within_error(voxel_mm: float) -> tuple[float, float]:
    """Return the standard error of position (mm per axis) and rotation (degrees) of a scan relative to the others."""
    return _VOXEL_SHARE * voxel_mm, _TURN_SE_DEGREES
