"""Reading gradient tables: FSL's ``.bval`` and ``.bvec``, and tables in world axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_alps.errors import AlpsError, GradientError, NoInputError
from bids_alps.model import Array, DwiRun, Gradients
from bids_alps.numerics.tensors.gradients import world_from_fsl

UNIT_TOLERANCE = 0.02
"""How far from 1 the length of a b-vector may be, as rounding in a text file makes it."""

NORMALISED = 0.1
"""How far from 1 it may be with a note: the vector is normalised, the b-value kept. Beyond, the length stands for b."""

PLAUSIBLE_B = (20.0, 1e5)
"""Range of the largest b-value of a series, s/mm^2; others are in other units."""


def read_gradients(
    run: DwiRun,
    affine: Array,
    *,
    volumes: int,
    b0_threshold: float = 50.0,
    notes: list[str] | None = None,
) -> Gradients:
    """Read b-values and b-vectors of a run as world directions; see `read_series` for errors and what is tolerated.

    Parameters
    ----------
    run, affine, volumes
        Its files, voxels to world mm, and the number of volumes of the image.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.
    notes
        Where to tell what was tolerated.
    """
    told = [] if notes is None else notes
    bvals = read_bvals(run.bval)
    if bvals.size != volumes:
        raise GradientError(
            str(run.bval), f"{bvals.size} b-values for {volumes} volumes", "give one b-value per volume"
        )
    _check_units(run.bval, bvals)
    in_world = run.bvec.suffix == ".b"
    bvecs = read_world_bvecs(run.bvec, bvals) if in_world else read_bvecs(run.bvec, volumes=volumes, notes=told)
    unit = _unit_vectors(run.bvec, bvecs, bvals > b0_threshold, told)
    try:
        return Gradients(bvals=bvals, bvecs=unit if in_world else world_from_fsl(unit, affine))
    except GradientError as error:
        raise error.at(str(run.bval)) from error


def _check_units(path: Path, bvals: Array) -> None:
    """Refuse b-values in other units than s/mm^2."""
    largest = float(bvals.max())
    if 0 < largest < PLAUSIBLE_B[0]:
        remedy = "write s/mm^2 (1 ms/um^2 is 1000 s/mm^2)"
    elif largest > PLAUSIBLE_B[1]:
        remedy = "write s/mm^2 (1e9 s/m^2 is 1000 s/mm^2)"
    else:
        return
    raise GradientError(str(path), f"the largest b-value is {largest:g}, implausible in s/mm^2", remedy)


def _unit_vectors(path: Path, bvecs: Array, weighted: Array, notes: list[str]) -> Array:
    """Return b-vectors of length 1, or 0 where there is none, shape (n, 3)."""
    lost = np.asarray(~np.isfinite(bvecs).all(axis=1))
    if (lost & weighted).any():
        first = np.flatnonzero(lost & weighted)[0]
        raise GradientError(str(path), f"b-vector of volume {first} is not finite", "give a unit vector")
    if lost.any():
        notes.append(f"{int(lost.sum())} b-vectors without weighting in {path.name} are not finite: read as 0")
    bvecs = np.where(lost[:, None], 0.0, bvecs)
    lengths = np.linalg.norm(bvecs, axis=1)
    short = np.flatnonzero(weighted & (lengths < 0.5))
    if short.size:
        raise GradientError(
            str(path),
            f"{short.size} of {int(weighted.sum())} diffusion-weighted volumes have a b-vector of length "
            f"{lengths[short[0]]:.3f} (first: volume {short[0]})",
            "give a unit vector for each weighted volume",
        )
    stray = np.where(weighted, np.abs(lengths - 1), 0.0)
    worst = int(np.argmax(stray))
    if stray[worst] > NORMALISED:
        raise GradientError(
            str(path),
            f"b-vector of volume {worst} has length {lengths[worst]:.3f}",
            "normalise the b-vectors (and scale the b-values where their length stood for it)",
        )
    if stray[worst] > UNIT_TOLERANCE:
        notes.append(
            f"b-vectors in {path.name} were normalised (lengths {lengths[weighted].min():.3f} to "
            f"{lengths[weighted].max():.3f}), b-values kept"
        )
    return np.divide(bvecs, lengths[:, None], out=np.zeros_like(bvecs), where=lengths[:, None] >= 0.5)


def read_bvals(path: Path) -> Array:
    """Read b-values, shape (n,), s/mm^2, from one line or one column."""
    table = _numbers(path)
    if 1 not in table.shape:
        raise GradientError(str(path), f"a table of shape {table.shape}", "write all b-values on one line")
    return table.reshape(-1)


def read_bvecs(path: Path, *, volumes: int, notes: list[str] | None = None) -> Array:
    """Read b-vectors in FSL convention, shape (n, 3), from three lines of n numbers; NaN stays.

    Where only that fits, n lines of three are read too, with a note.
    """
    table = _numbers(path, finite=False)
    if table.shape == (3, volumes):
        return table.T
    if table.shape == (volumes, 3):
        if notes is not None:
            notes.append(f"{path.name} is transposed ({volumes} lines of 3 numbers) and was read so")
        return table
    raise GradientError(
        str(path), f"a table of shape {table.shape} for {volumes} volumes", f"write 3 lines of {volumes} numbers"
    )


def read_world_bvecs(path: Path, bvals: Array) -> Array:
    """Read directions in RAS+ world axes, shape (n, 3), from MRtrix3's table of x, y, z and b, one line a volume.

    Parameters
    ----------
    path
        The table, as QSIPrep writes it beside its series.
    bvals
        b-values of the series, shape (n,), s/mm^2, which the table must repeat.

    Raises
    ------
    GradientError
        If the table has another shape, or other b-values.
    """
    table = _numbers(path)
    if table.shape != (bvals.size, 4):
        raise GradientError(str(path), f"a table of shape {table.shape}", f"write {bvals.size} lines of x, y, z and b")
    strayed = np.abs(table[:, 3] - bvals) > 1 + 0.01 * bvals
    if strayed.any():
        first = int(np.argmax(strayed))
        raise GradientError(
            str(path),
            f"b = {table[first, 3]:g} in volume {first}, {bvals[first]:g} in the .bval file",
            "give both files of one series",
        )
    return table[:, :3]


def _numbers(path: Path, *, finite: bool = True) -> Array:
    try:
        if path.stat().st_size > 2**24:
            raise GradientError(str(path), f"{path.stat().st_size} bytes", "give a text file of b-values or b-vectors")
        lines = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        table = np.array([[float(word) for word in line] for line in lines], dtype=np.float64)
    except OSError as error:
        raise not_there(path, error) from error
    except ValueError as error:
        raise GradientError(str(path), f"no table of numbers ({error})", "give numbers separated by blanks") from error
    if table.size == 0 or np.isinf(table).any() or (finite and np.isnan(table).any()):
        raise GradientError(str(path), "empty, or a value that is not finite", "give finite numbers")
    return table


def not_there(path: Path, error: OSError) -> AlpsError:
    """Return the error of a file that cannot be opened; of a link to content that was not fetched, with the remedy."""
    if path.is_symlink():
        return NoInputError(str(path), "a link to content that is not there", f"run `datalad get {path}`")
    return NoInputError(str(path), f"cannot be read ({error.strerror or error})", "check the path and its permissions")
