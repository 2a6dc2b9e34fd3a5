"""What a process needs from its surroundings before it computes: threads, and folders that it may write to."""

from __future__ import annotations

import ctypes
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bids_alps.errors import OutputError
from bids_alps.settings import Settings

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Always one: sums of BLAS depend on how work is split, and results must not."""
_THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 1 << 29


def prepare_machine(settings: Settings) -> None:
    """Set threads, a safe import path, and folders that libraries may write to; before libraries are imported.

    Raises
    ------
    OutputError
        If there is no folder for scratch files.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that are started import nothing from the working directory
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    os.environ.update(dict.fromkeys(_THREADS, str(settings.execution.omp_nthreads)))
    _keep_freed_memory()
    scratch = _scratch(settings)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    if not os.access(Path(os.environ.get("HOME", "/nonexistent")), os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(scratch / "matplotlib"))
        os.environ.setdefault("TEMPLATEFLOW_HOME", str(scratch / "templateflow"))
    cache = Path(os.environ.get("TEMPLATEFLOW_HOME", "/"))
    if cache.is_dir() and not os.access(cache, os.W_OK) and not any(cache.iterdir()):
        os.environ["TEMPLATEFLOW_HOME"] = str(scratch / "templateflow")  # an image without templates of its own


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed instead of giving every large array back to the system at once.

    Fetching it again, page by page, costs a tenth of a run, and a quarter under Dask, which asks for the opposite.
    """
    with suppress(OSError, AttributeError):  # not glibc
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _scratch(settings: Settings) -> Path:
    """Return a folder to write to: the work folder, the system's, or one inside the output."""
    chosen = settings.execution.work_dir
    if chosen is None:
        try:
            return Path(tempfile.gettempdir())
        except FileNotFoundError:
            chosen = settings.request.output_dir / "work"
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(chosen), f"cannot be made ({error.strerror})", "choose another --work-dir") from error
    if not os.access(chosen, os.W_OK | os.X_OK):
        raise OutputError(str(chosen), "cannot be written to", "choose another --work-dir")
    return chosen
