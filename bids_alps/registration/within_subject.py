"""Several scans of one head: the frame midway between them, their mean in it, and the way from it to the template.

No scan is the reference: scans are aligned with each other in pairs, both ways, and the frame is where the mean of
the rotations and translations that lead from it to the scans is the identity. Maps of the scans are resampled for
their mean alone; what is measured later are the tensors where each scan left them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template, sample_linear
from bids_alps.numerics.tissue_contrast import subject_contrast
from bids_alps.registration.base import Registration, pose_of
from bids_alps.registration.linear import RIGID, LinearFit, Pair, fit_linear
from bids_alps.registration.staged import inner_brain

SENTENCE = (
    "The sessions of a participant were also measured in one unbiased frame: they were aligned rigidly with each "
    "other in pairs and averaged midway ([@reuter2012]), the mean alone was aligned with the template, and "
    "regions and pose were carried from it to each session. Intervals of the change between sessions leave out "
    "what the sessions share of the errors of place and pose."
)
_STEPS_MM = (4.0, 2.0)
_MARGIN_MM = 6.0
_LEAST_SHARE = 0.5  # of the scans that must hold a point of the brain of their mean
_VOXEL_SHARE, _TURN_SE_DEGREES = 0.05, 0.1  # of a scan against the others: made heads that susceptibility bends


@dataclass(frozen=True, slots=True, kw_only=True)
class Midpoint:
    """The frame midway between the scans of one head.

    Parameters
    ----------
    frame_from_scan
        Rigid matrix of each scan: its RAS+ mm to those of the frame, shape (4, 4) each.
    similarity
        Correlation of each scan with the others where they were aligned, on average.
    """

    frame_from_scan: tuple[Array, ...]
    similarity: tuple[float, ...]


def find_midpoint(scans: Sequence[SubjectMaps], alignments: Sequence[SpatialTransform], template: Template) -> Midpoint:
    """Return the frame midway between scans of one head; the order in which they are given changes nothing.

    Parameters
    ----------
    scans
        Two or more.
    alignments
        Of each scan with the template, to a few degrees: where the search begins.
    template
        Tells which part of the brain is compared: the deep one, which echo-planar scans leave in shape.
    """
    ranks = sorted(range(len(scans)), key=lambda n: (scans[n].fa.data.tobytes(), scans[n].fa.affine.tobytes()))
    with threadpool_limits(limits=1):  # sums of BLAS depend on how work is parted
        found = _between([scans[n] for n in ranks], [alignments[n] for n in ranks], template)
    order = np.argsort(ranks)
    return Midpoint(
        frame_from_scan=tuple(found.frame_from_scan[n] for n in order),
        similarity=tuple(found.similarity[n] for n in order),
    )


def _between(scans: Sequence[SubjectMaps], alignments: Sequence[SpatialTransform], template: Template) -> Midpoint:
    inner = template.mask.like(inner_brain(template.mask).astype(np.float32))
    contrasts = [subject_contrast(scan) for scan in scans]
    regions = [_carried(inner, align, scan.mask) for align, scan in zip(alignments, scans, strict=True)]
    centres = [scan.mask.world(np.argwhere(region)).mean(0) for scan, region in zip(scans, regions, strict=True)]
    motions, similar = {}, np.zeros((len(scans), len(scans)))
    for i, j in permutations(range(len(scans)), 2):
        fit = _start(np.linalg.inv(alignments[j].rigid) @ alignments[i].rigid, centres[i])
        for step in _STEPS_MM:
            fit = fit_linear(Pair(contrasts[i], contrasts[j], regions[i], step), fit, RIGID)
        motions[i, j], similar[i, j] = fit.subject_from_template, fit.similarity
    matrices = solve_midpoint(motions, centres)
    others = len(scans) - 1
    means = (similar.sum(0) + similar.sum(1)) / (2 * others)
    return Midpoint(
        frame_from_scan=tuple(np.linalg.inv(matrix) for matrix in matrices), similarity=tuple(means.tolist())
    )


def _carried(region: SpatialMap, alignment: SpatialTransform, mask: SpatialMap) -> Array:
    """Return a region of the template on a scan's grid, inside its mask, bool."""
    inside = np.argwhere(mask.data)
    share = sample_linear(region, alignment.template_from_subject(mask.world(inside)))
    carried: Array = np.zeros(mask.shape, dtype=bool)
    carried[tuple(inside[share > 0.5].T)] = True
    return carried


def _start(matrix: Array, centre: Array) -> LinearFit:
    turn = Rotation.from_matrix(matrix[:3, :3]).as_rotvec()
    return LinearFit(
        parameters=np.concatenate([np.zeros(3), turn, np.zeros(6)]),
        centre=centre,
        target=matrix[:3, :3] @ centre + matrix[:3, 3],
    )


def solve_midpoint(motions: Mapping[tuple[int, int], Array], centres: Sequence[Array]) -> list[Array]:
    """Return the rigid matrices from the frame midway between scans to each of them.

    Rotations are the leading eigenvectors of the matrix of all relative rotations (Arie-Nachimson 2012,
    doi 10.1109/3DIMPVT.2012.46), translations solve the relative ones by least squares. Of all frames that differ by a
    rigid motion that one is taken whose rotations to the scans have the identity as their chordal mean, and whose
    centre, the mean of the scans' centres, goes to the scans' centres on average.

    Parameters
    ----------
    motions
        (i, j) -> rigid matrix from scan i to scan j, RAS+ mm, for every ordered pair.
    centres
        A point in the middle of each scan's brain, mm.

    Examples
    --------
    >>> turn = np.eye(4)
    >>> turn[:3, :3] = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    >>> one, other = solve_midpoint({(0, 1): turn, (1, 0): turn.T}, [np.zeros(3)] * 2)
    >>> [round(float(Rotation.from_matrix(m[:3, :3]).as_rotvec(degrees=True)[2]), 6) for m in (one, other)]
    [-10.0, 10.0]
    """
    n = len(centres)
    relative = np.tile(2 * np.eye(3), (n, n)).reshape(n, 3, n, 3).transpose(0, 2, 1, 3).copy()
    for (i, j), matrix in motions.items():
        turn = Rotation.from_matrix(matrix[:3, :3]).as_matrix()
        if i < j:
            relative[j, i] = turn + motions[j, i][:3, :3].T
            relative[i, j] = relative[j, i].T
    _, vectors = np.linalg.eigh(relative.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))
    blocks = vectors[:, -3:].reshape(n, 3, 3)
    blocks = blocks * np.sign(np.linalg.det(blocks[0]))
    turns = np.stack([_nearest_rotation(block) for block in blocks])
    turns = turns @ _nearest_rotation(turns.sum(0)).T
    shifts = _shifts(motions, turns, np.asarray(centres))
    middle = np.mean(centres, axis=0)
    matrices = []
    for turn, shift, centre in zip(turns, shifts, centres, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, centre + shift - turn @ middle
        matrices.append(matrix)
    return matrices


def _shifts(motions: Mapping[tuple[int, int], Array], turns: Array, centres: Array) -> Array:
    """Return where the middle of the frame goes in each scan, from the scan's centre, shape (n, 3), mm; mean zero."""
    n = len(centres)
    rows, right = [], []
    for (i, j), matrix in motions.items():
        turn = turns[j] @ turns[i].T
        row = np.zeros((3, n, 3))
        row[:, j], row[:, i] = np.eye(3), -turn
        rows.append(row.reshape(3, 3 * n))
        right.append(matrix[:3, :3] @ centres[i] + matrix[:3, 3] - centres[j])
    rows.append(np.tile(np.eye(3), n) * 1e3)  # the mean is zero: free of the relative ones, so its weight is no matter
    right.append(np.zeros(3))
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    return solution.reshape(n, 3)


def _nearest_rotation(matrix: Array) -> Array:
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right


def average_maps(scans: Sequence[SubjectMaps], midpoint: Midpoint) -> SubjectMaps:
    """Return the mean of the scans' maps in the frame, on a grid along its axes as fine as the finest scan.

    The signal without weighting is taken relative to its median in each brain, as its scale means nothing.
    """
    scans_from_frame = [np.linalg.inv(matrix) for matrix in midpoint.frame_from_scan]
    step = min(float(scan.mask.voxel_size.min()) for scan in scans)
    inside = [
        scan.mask.world(np.argwhere(scan.mask.data)) @ matrix[:3, :3].T + matrix[:3, 3]
        for scan, matrix in zip(scans, midpoint.frame_from_scan, strict=True)
    ]
    low = np.min([points.min(0) for points in inside], axis=0) - _MARGIN_MM
    high = np.max([points.max(0) for points in inside], axis=0) + _MARGIN_MM
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    shape = tuple(int(size) for size in np.ceil((high - low) / step) + 1)
    points = np.moveaxis(np.indices(shape), 0, -1) * step + low
    totals = {name: np.zeros(shape) for name in ("fa", "md", "b0")}
    held = np.zeros(shape)
    for scan, matrix in zip(scans, scans_from_frame, strict=True):
        places = points @ matrix[:3, :3].T + matrix[:3, 3]
        within = scan.mask.contains(places)
        share = np.where(within, sample_linear(scan.mask.like(scan.mask.data.astype(np.float32)), places), 0.0)
        scale = float(np.median(scan.b0.data[scan.mask.data])) or 1.0
        held += share
        for name, total in totals.items():
            image = getattr(scan, name)
            values = np.where(scan.mask.data, np.nan_to_num(image.data), 0).astype(np.float32)
            total += np.where(within, sample_linear(image.like(values), places), 0.0) / (scale if name == "b0" else 1)
    mask = held > _LEAST_SHARE * len(scans)
    grid = SpatialMap(data=mask, affine=affine)
    means = {
        name: grid.like(np.where(mask, total / np.maximum(held, 1e-6), 0).astype(np.float32))
        for name, total in totals.items()
    }
    return SubjectMaps(**means, mask=grid)


def transfer_registration(registration: Registration, frame_from_scan: Array, voxel_mm: float) -> Registration:
    """Return the alignment of a scan with the template from that of the frame; nothing is resampled.

    p -> affine (F p + u(F p)) with F from the scan to the frame is (affine F) (p + v(p)) with v(p) = R^T u(F p): the
    grid of the displacement moves, and its vectors turn.

    Parameters
    ----------
    registration
        Of the frame.
    frame_from_scan
        Rigid, shape (4, 4).
    voxel_mm
        Edge of a voxel of the scan.
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
    """Return the standard error of a scan's place (mm per axis) and turn (degrees) against the other scans."""
    return _VOXEL_SHARE * voxel_mm, _TURN_SE_DEGREES
