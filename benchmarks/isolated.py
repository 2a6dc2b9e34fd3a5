"""Run a function in a fresh process to measure its CPU time and peak memory."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Result of a function, CPU seconds (user and system), and memory in addition to its input, MiB."""

    result: Any
    seconds: float
    peak: float


def run_isolated(work: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run `work`, a function of a module, in a separate process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, work, arguments).result()


def _measure(work: Callable[..., Any], arguments: Sequence[Any]) -> Measurement:
    done, peaks = threading.Event(), [0]
    watch = threading.Thread(target=_watch_children, args=(done, peaks))
    watch.start()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak size
    held, before = _resident("VmRSS"), _cpu_seconds()
    try:
        result = work(*arguments)
    finally:
        seconds = _cpu_seconds() - before
        done.set()
        watch.join()
    peak = max(_resident("VmHWM") - held, peaks[0])
    return Measurement(result=result, seconds=seconds, peak=peak / 2**20)


def _resident(field: str) -> int:
    """Return a size of this process, bytes; `getrusage` would include that of the parent."""
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) * 1024


def _watch_children(done: threading.Event, peaks: list[int]) -> None:
    """Record the largest resident size of child programs, twenty times per second."""
    while not done.wait(0.05):
        for child in psutil.Process().children(recursive=True):
            try:
                peaks[0] = max(peaks[0], child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


def _cpu_seconds() -> float:
    used = [resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run_mrtrix(program: str, inputs: Mapping[str, np.ndarray], options: Sequence[str], outputs: Sequence[str]) -> list:
    """Return the images written by an MRtrix3 program with one thread; file names in `options` become paths."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, data in inputs.items():
            nib.save(nib.Nifti1Image(data, np.eye(4)), folder / name)
        words = [str(folder / word) if word.endswith(".nii") else word for word in options]
        subprocess.run([program, "-quiet", "-nthreads", "0", *words], check=True)
        return [np.asarray(nib.load(folder / name).dataobj, dtype=np.float32) for name in outputs]


def is_installed(program: str) -> bool:
    """Return whether a program is installed; print its name if not."""
    if shutil.which(program) is None:
        print(f"{program}: skipped, it is not installed")
        return False
    return True
