"""Whether the gradient table's axes fit the image: fibres go on from voxel to voxel only where they do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.linalg import polar

from bids_alps.model import Array, TensorField
from bids_alps.numerics.tensors.tensor import eigen_system, fractional_anisotropy

WHITE_MATTER_FA = 0.2
CONTINUING_DEGREES = 30.0
THICKEST = 1.3
"""Longest over shortest voxel edge from which nothing is said: with thick slices most neighbours lie within the slice,
and a table that turns fibres into it wins (with the right table .90 in simulated slices of 2 x 2 x 3 mm, .34 in slices
of 2 x 2 x 5 mm)."""

_MOST_VOXELS = 20_000
_HALF_OF_NEIGHBOURS = [np.array(step) for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReading:
    """How a gradient table is best read.

    Parameters
    ----------
    matrix
        Signed permutation, shape (3, 3): b-vectors along the voxel axes, as rows, times this are the best reading.
    lead
        Coherence of this reading over that of the next best.
    gain
        Coherence of the table as it is over its best other reading: 1 or more where it is best itself.
    """

    matrix: Array
    lead: float
    gain: float

    def apply(self, bvecs: Array, affine: Array) -> Array:
        """Return b-vectors, world axes, shape (n, 3), as this reading has them in an image of an affine."""
        turn, _ = polar(affine[:3, :3])
        return np.asarray(bvecs @ turn @ self.matrix @ turn.T)

    def __str__(self) -> str:
        """Return where the axes come from, such as ``-x y z`` for a flipped first axis."""
        rows = [int(np.argmax(np.abs(column))) for column in self.matrix.T]
        signs = ["-" if self.matrix[row, column] < 0 else "" for column, row in enumerate(rows)]
        return " ".join(f"{sign}{'xyz'[row]}" for sign, row in zip(signs, rows, strict=True))


def measure_coherence_gain(field: TensorField) -> float:
    """Return how much better fibres continue with the gradient table as it is than with its best other reading.

    A value below 1 says that another reading fits better; NaN where too little white matter is seen, or slices are
    thick. Arguments as of
    `find_reading`.
    """
    found = find_reading(field)
    return float("nan") if found is None else found.gain


def find_reading(field: TensorField) -> TableReading | None:
    """Return the reading of the gradient table with which fibres continue best; None where too little is seen.

    Nor is anything said of thick slices.

    The 24 readings flip or exchange voxel axes, as files do that were written in another convention. Schilling 2019,
    doi 10.1016/j.mri.2019.01.018.

    Parameters
    ----------
    field
        Tensors in world axes.
    """
    size = field.image.voxel_size
    if size.max() > THICKEST * size.min():
        return None
    turn, _ = polar(field.image.affine[:3, :3])
    elements = field.image.data
    white = field.mask & (fractional_anisotropy(elements) > WHITE_MATTER_FA)
    voxels = np.argwhere(white)
    voxels = voxels[((voxels > 0) & (voxels < np.array(white.shape) - 1)).all(axis=1)]
    if not len(voxels):
        return None
    voxels = voxels[:: 1 + len(voxels) // _MOST_VOXELS]
    first = np.zeros((*white.shape, 3), dtype=np.float32)
    first[white] = eigen_system(elements[white])[1][..., 0] @ turn  # components along the voxel axes
    steps = np.array(_HALF_OF_NEIGHBOURS) * size
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    neighbours = [first[tuple((voxels + step).T)] for step in _HALF_OF_NEIGHBOURS]
    here, readings = first[tuple(voxels.T)], _readings()
    found = np.array([coherence(here @ one, [other @ one for other in neighbours], steps) for one in readings])
    order = np.argsort(-found, kind="stable")
    if not found[order[1]] > 0:
        return None
    return TableReading(
        matrix=readings[order[0]],
        lead=float(found[order[0]] / found[order[1]]),
        gain=float(found[0] / found[1:].max()),
    )


def coherence(here: Array, neighbours: list[Array], steps: Array) -> float:
    """Return the share of voxels and directions in which a fibre goes on into the neighbour.

    Parameters
    ----------
    here
        Unit vectors of fibres along voxel axes, shape (n, 3).
    neighbours
        Those of each neighbour, shape (n, 3) each; zero outside white matter.
    steps
        Unit vectors towards the neighbours, shape (len(neighbours), 3).
    """
    limit = np.cos(np.radians(CONTINUING_DEGREES))
    continuing = [
        (np.abs(here @ step) > limit) & (np.abs(there @ step) > limit) & (np.abs((here * there).sum(1)) > limit)
        for there, step in zip(neighbours, steps, strict=True)
    ]
    return float(np.mean(continuing))


def _readings() -> list[Array]:
    """Return the identity and the 23 other signed permutations that differ by more than the sign of the vector."""
    flips = [np.diag(signs) for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))]
    return [np.eye(3)[list(order)] @ flip for order in permutations(range(3)) for flip in flips]
