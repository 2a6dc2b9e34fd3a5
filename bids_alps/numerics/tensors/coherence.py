"""Fiber coherence check of the gradient table: with correct axes, fibers continue from voxel to voxel."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.linalg import polar

from bids_alps.model import Array, TensorField
from bids_alps.numerics.tensors.tensor import eigen_system, fractional_anisotropy

WHITE_MATTER_FA = 0.2
CONTINUING_DEGREES = 30.0
MAX_ANISOTROPY = 1.3
"""Voxel anisotropy (longest over shortest edge) above which only the axes within the slice are checked: with thick
slices most neighbors are within the slice, which favors tables that rotate fibers into it (correct table: 0.90 in
simulated slices of 2 x 2 x 3 mm, 0.34 in slices of 2 x 2 x 5 mm)."""

MIN_OBLIQUE_DEGREES = 25.0
"""Angle of slices to the scanner axes above which a table that ignores it can be told from a correct one: real scans
with 28 and 38 degrees 1.05 to 1.06 against 0.93 to 0.95, a simulated head with 21 degrees 0.99 against 0.98."""

_MAX_VOXELS = 20_000
_HALF_OF_NEIGHBORS = [np.array(step) for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisConvention:
    """Axis convention of a gradient table with the highest fiber coherence.

    Parameters
    ----------
    matrix
        Signed permutation, shape (3, 3), to right-multiply b-vectors (rows, voxel axes).
    lead
        Coherence relative to the next best convention.
    gain
        Coherence of the table as given relative to the best alternative; 1 or more if it is the best.
    """

    matrix: Array
    lead: float
    gain: float

    def apply(self, bvecs: Array, affine: Array) -> Array:
        """Return b-vectors (world axes, shape (n, 3)) in this convention, for an image with an affine."""
        turn, _ = polar(affine[:3, :3])
        # world to voxel axes, exchanged or flipped there, and back
        return np.asarray(bvecs @ turn @ self.matrix @ turn.T)

    def __str__(self) -> str:
        """Return the permutation as text, such as ``-x y z`` for a flipped first axis."""
        rows = [int(np.argmax(np.abs(column))) for column in self.matrix.T]
        signs = ["-" if self.matrix[row, column] < 0 else "" for column, row in enumerate(rows)]
        return " ".join(f"{sign}{'xyz'[row]}" for sign, row in zip(signs, rows, strict=True))


def measure_coherence_gain(field: TensorField) -> float:
    """Return the fiber coherence of the gradient table relative to its best alternative convention.

    Values below 1 mean that another convention fits better; NaN with too little white matter, or if pixels are not
    square. With thick slices the alternatives flip or exchange the two axes of the slice only, and fibers are followed
    within slices. With oblique slices the table in scanner axes, and rotated twice, are two more. Arguments as in
    `find_axis_convention`.
    """
    size = field.image.voxel_size
    slice_axis = int(np.argmax(size))
    pixel = np.delete(size, slice_axis)
    if size.max() <= MAX_ANISOTROPY * size.min():
        conventions = axis_conventions() + _conventions_of_oblique_slices(field.image.affine)
        convention = _best_convention(field, _HALF_OF_NEIGHBORS, conventions)
    elif pixel.max() <= MAX_ANISOTROPY * pixel.min():
        steps = [step for step in _HALF_OF_NEIGHBORS if step[slice_axis] == 0]
        convention = _best_convention(field, steps, _conventions_within_slice(slice_axis))
    else:
        convention = None
    return float("nan") if convention is None else convention.gain


def find_axis_convention(field: TensorField) -> AxisConvention | None:
    """Return the axis convention of the gradient table with the highest fiber coherence.

    None with too little white matter or thick slices.

    The 24 conventions flip or permute voxel axes, as in files written in another convention. Schilling 2019,
    doi 10.1016/j.mri.2019.01.018.

    Parameters
    ----------
    field
        Tensors in world axes.
    """
    size = field.image.voxel_size
    if size.max() > MAX_ANISOTROPY * size.min():
        return None
    return _best_convention(field, _HALF_OF_NEIGHBORS, axis_conventions())


def _best_convention(field: TensorField, offsets: list[Array], conventions: list[Array]) -> AxisConvention | None:
    """Return the best of several conventions, the first of which is the table as given.

    `offsets` lead from a voxel to the neighbors in which its fiber may continue.
    """
    turn, _ = polar(field.image.affine[:3, :3])
    elements = field.image.data
    white = field.mask & (fractional_anisotropy(elements) > WHITE_MATTER_FA)
    voxels = np.argwhere(white)
    # all neighbors exist
    voxels = voxels[((voxels > 0) & (voxels < np.array(white.shape) - 1)).all(axis=1)]
    if not len(voxels):
        return None
    voxels = voxels[:: 1 + len(voxels) // _MAX_VOXELS]
    first = np.zeros((*white.shape, 3), dtype=np.float32)
    first[white] = eigen_system(elements[white])[1][..., 0] @ turn  # components along the voxel axes
    steps = np.array(offsets) * field.image.voxel_size
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    neighbors = [first[tuple((voxels + offset).T)] for offset in offsets]
    here = first[tuple(voxels.T)]
    scores = np.array(
        [
            coherence(here @ convention, [neighbor @ convention for neighbor in neighbors], steps)
            for convention in conventions
        ]
    )
    order = np.argsort(-scores, kind="stable")
    if not scores[order[1]] > 0:
        return None
    return AxisConvention(
        matrix=conventions[order[0]],
        lead=float(scores[order[0]] / scores[order[1]]),
        # the first convention is the table as given
        gain=float(scores[0] / scores[1:].max()),
    )


def coherence(here: Array, neighbors: list[Array], steps: Array) -> float:
    """Return the fraction of voxels and directions in which a fiber continues into the neighbor.

    Parameters
    ----------
    here
        Unit vectors of fibers along voxel axes, shape (n, 3).
    neighbors
        Unit vectors of each neighbor, shape (n, 3) each; zero outside white matter.
    steps
        Unit vectors towards the neighbors, shape (len(neighbors), 3).
    """
    limit = np.cos(np.radians(CONTINUING_DEGREES))
    counts = []
    for neighbor, step in zip(neighbors, steps, strict=True):
        # both fibers are aligned with the step, and with each other (axial vectors: sign ignored)
        along = np.flatnonzero(np.abs(here @ step) > limit)
        along = along[np.abs(neighbor[along] @ step) > limit]
        counts.append(np.count_nonzero(np.abs((here[along] * neighbor[along]).sum(axis=1)) > limit))
    return sum(counts) / (len(here) * len(steps))


def axis_conventions() -> list[Array]:
    """Return the 24 signed permutations that are distinct up to the sign of the vector, identity first."""
    flips = [np.diag(signs) for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))]
    return [np.eye(3)[list(order)] @ flip for order in permutations(range(3)) for flip in flips]


def _conventions_within_slice(slice_axis: int) -> list[Array]:
    """Return the conventions that differ within a slice: as given, one axis flipped, axes exchanged, both."""
    first, second = (axis for axis in range(3) if axis != slice_axis)
    flipped, exchanged = np.eye(3), np.eye(3)
    flipped[first, first] = -1.0
    exchanged[[first, second]] = exchanged[[second, first]]
    return [np.eye(3), flipped, exchanged, exchanged @ flipped]


def _conventions_of_oblique_slices(affine: Array) -> list[Array]:
    """Return the conventions of a table in scanner axes and of one rotated twice; none for straight slices."""
    turn, _ = polar(affine[:3, :3])
    straight = max(axis_conventions(), key=lambda axes: abs(float(np.sum(axes * turn))))
    oblique = straight.T @ turn
    oblique *= np.sign(np.trace(oblique))  # the conventions are given up to their sign
    degrees = np.degrees(np.arccos(np.clip((np.trace(oblique) - 1) / 2, -1, 1)))
    return [oblique, oblique.T] if degrees > MIN_OBLIQUE_DEGREES else []
