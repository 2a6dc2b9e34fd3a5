"""Reads gradient tables: FSL's ``.bval`` and ``.bvec``, and tables in world axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_alps.errors import AlpsError, GradientError, NoInputError
from bids_alps.model import Array, DwiRun, Gradients
from bids_alps.numerics.tensors.gradients import world_from_fsl

UNIT_TOLERANCE = 0.02
"""Allowed deviation of the length of a b-vector from 1, by rounding in the text file."""

NORMALIZED = 0.1
"""Deviation up to which b-vectors are normalized, with a note, and b-values kept. Beyond, the length may encode b."""

PLAUSIBLE_B = (20.0, 1e5)
"""Range of the largest b-value of a series, s/mm²; values outside are in other units."""


def read_gradients(
    run: DwiRun,
    affine: Array,
    *,
    volumes: int,
    b0_threshold: float = 50.0,
    notes: list[str] | None = None,
) -> Gradients:
    """Read b-values and b-vectors (in world axes) of a run; see `read_series` for errors and accepted deviations.

    Parameters
    ----------
    run, affine, volumes
        Run, voxel-to-world affine (mm), and number of volumes of the image.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm².
    notes
        List to which remarks on accepted deviations are added.
    """
    remarks = [] if notes is None else notes
    bvals = read_bvals(run.bval)
    if bvals.size != volumes:
        raise GradientError(
            str(run.bval), f"{bvals.size} b-values for {volumes} volumes", "give one b-value per volume"
        )
    largest = float(bvals.max())
    if 0 < largest < PLAUSIBLE_B[0] or largest > PLAUSIBLE_B[1]:
        known = "1 ms/µm² is 1000 s/mm²" if largest < PLAUSIBLE_B[0] else "1e9 s/m² is 1000 s/mm²"
        what = f"the largest b-value is {largest:g}, implausible in s/mm²"
        raise GradientError(str(run.bval), what, f"write s/mm² ({known})")
    in_world = run.bvec.suffix == ".b"
    bvecs = read_world_bvecs(run.bvec, bvals) if in_world else read_bvecs(run.bvec, volumes=volumes, notes=remarks)
    unit = _unit_vectors(run.bvec, bvecs, bvals > b0_threshold, remarks)
    try:
        return Gradients(bvals=bvals, bvecs=unit if in_world else world_from_fsl(unit, affine))
    except GradientError as error:
        raise error.at(str(run.bval)) from error


def _unit_vectors(path: Path, bvecs: Array, weighted: Array, notes: list[str]) -> Array:
    """Return b-vectors of length 1, or 0 for b=0, shape (n, 3)."""
    not_finite = np.asarray(~np.isfinite(bvecs).all(axis=1))
    if (not_finite & weighted).any():
        first = np.flatnonzero(not_finite & weighted)[0]
        raise GradientError(str(path), f"b-vector of volume {first} is not finite", "give a unit vector")
    if not_finite.any():
        notes.append(f"{int(not_finite.sum())} b-vectors of b=0 volumes in {path.name} are not finite: set to 0")
    bvecs = np.where(not_finite[:, None], 0.0, bvecs)
    lengths = np.linalg.norm(bvecs, axis=1)
    short = np.flatnonzero(weighted & (lengths < 0.5))
    if short.size:
        raise GradientError(
            str(path),
            f"{short.size} of {int(weighted.sum())} diffusion-weighted volumes have a b-vector of length "
            f"{lengths[short[0]]:.3f} (first: volume {short[0]})",
            "give a unit vector for each weighted volume",
        )
    deviation = np.where(weighted, np.abs(lengths - 1), 0.0)
    worst = int(np.argmax(deviation))
    if deviation[worst] > NORMALIZED:
        raise GradientError(
            str(path),
            f"b-vector of volume {worst} has length {lengths[worst]:.3f}",
            "normalize the b-vectors (and scale the b-values if the length encodes them)",
        )
    if deviation[worst] > UNIT_TOLERANCE:
        notes.append(
            f"b-vectors in {path.name} were normalized (lengths {lengths[weighted].min():.3f} to "
            f"{lengths[weighted].max():.3f}), b-values kept"
        )
    # vectors shorter than 0.5 belong to b=0 volumes here, and become 0
    return np.divide(bvecs, lengths[:, None], out=np.zeros_like(bvecs), where=lengths[:, None] >= 0.5)


def read_bvals(path: Path) -> Array:
    """Read b-values, shape (n,), s/mm², from one line or one column."""
    table = _numbers(path)
    if 1 not in table.shape:
        raise GradientError(str(path), f"a table of shape {table.shape}", "write all b-values on one line")
    return table.reshape(-1)


def read_bvecs(path: Path, *, volumes: int, notes: list[str] | None = None) -> Array:
    """Read b-vectors in FSL convention, shape (n, 3), from three lines of n numbers; NaN is kept.

    A transposed table, n lines of three numbers, is also read, with a note.
    """
    table = _numbers(path, finite=False)
    if table.shape == (3, volumes):
        return table.T
    if table.shape == (volumes, 3):
        if notes is not None:
            notes.append(f"{path.name} is transposed ({volumes} lines of 3 numbers) and was read accordingly")
        return table
    raise GradientError(
        str(path), f"a table of shape {table.shape} for {volumes} volumes", f"write 3 lines of {volumes} numbers"
    )


def read_world_bvecs(path: Path, bvals: Array) -> Array:
    """Read directions in RAS+ world axes, shape (n, 3), from an MRtrix3 table of x, y, z and b, one line per volume.

    Parameters
    ----------
    path
        The table, as written by QSIPrep.
    bvals
        b-values of the series, shape (n,), s/mm², which must agree with the table.

    Raises
    ------
    GradientError
        If the shape or the b-values of the table differ.
    """
    table = _numbers(path)
    if table.shape != (bvals.size, 4):
        raise GradientError(str(path), f"a table of shape {table.shape}", f"write {bvals.size} lines of x, y, z and b")
    # rounding of the text files: 1 s/mm², or 1 %
    differs = np.abs(table[:, 3] - bvals) > 1 + 0.01 * bvals
    if differs.any():
        first = int(np.argmax(differs))
        raise GradientError(
            str(path),
            f"b = {table[first, 3]:g} in volume {first}, {bvals[first]:g} in the .bval file",
            "give both files of the same series",
        )
    return table[:, :3]


def _numbers(path: Path, *, finite: bool = True) -> Array:
    try:
        # no table is so large: an image given by mistake
        if path.stat().st_size > 2**24:
            raise GradientError(str(path), f"{path.stat().st_size} bytes", "give a text file of b-values or b-vectors")
        lines = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        table = np.array([[float(word) for word in line] for line in lines], dtype=np.float64)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise GradientError(
            str(path), f"not a table of numbers ({error})", "give numbers separated by spaces"
        ) from error
    if table.size == 0 or np.isinf(table).any() or (finite and np.isnan(table).any()):
        raise GradientError(str(path), "empty, or a value that is not finite", "give finite numbers")
    return table


def unreadable(path: Path, error: OSError) -> AlpsError:
    """Return the error for a file that cannot be opened, such as a link to content that is not available."""
    if path.is_symlink():
        return NoInputError(str(path), "a link to content that is not available", f"run `datalad get {path}`")
    return NoInputError(str(path), f"cannot be read ({error.strerror or error})", "check the path and its permissions")
