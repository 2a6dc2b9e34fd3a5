"""Environment of a process: number of threads, memory allocation and writable folders."""

from __future__ import annotations

import ctypes
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bids_alps.errors import OutputError
from bids_alps.settings import Settings

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Always one: the rounding of BLAS sums depends on the number of threads, and results must not."""
_THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 1 << 29


def prepare_machine(settings: Settings) -> None:
    """Set threads, a safe import path and writable folders, before numerical libraries are imported.

    Raises
    ------
    OutputError
        If no folder for temporary files can be created.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # child processes must not import from the working directory
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
        os.environ["TEMPLATEFLOW_HOME"] = str(scratch / "templateflow")  # a container image without templates


def _keep_freed_memory() -> None:
    """Make the C library keep freed memory, instead of returning every large array to the system at once.

    Allocating it again, page by page, takes a tenth of the time of a run, and a quarter with Dask's own setting.
    """
    with suppress(OSError, AttributeError):  # not glibc
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _scratch(settings: Settings) -> Path:
    """Return the folder for temporary files: the work folder, the system's, or one inside the output."""
    folder = settings.execution.work_dir
    if folder is None:
        try:
            return Path(tempfile.gettempdir())
        except FileNotFoundError:
            folder = settings.request.output_dir / "work"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), f"cannot be created ({error.strerror})", "choose another --work-dir") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(str(folder), "cannot be written to", "choose another --work-dir")
    return folder
