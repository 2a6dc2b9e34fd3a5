"""Eight runs by one process, by two, by Dask, and by Dask with a worker killed mid-run: time, overhead, equal bytes.

Wall-clock ratios are valid on an otherwise idle machine; CPU seconds give the cost of the engines themselves.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bids_alps.phantom import PhantomSettings, write_phantom

RUNS = 8
PLANS = {
    "1 process": ("--nprocs", "1"),
    "2 processes": ("--nprocs", "2"),
    "Dask, 2 workers": ("--nprocs", "2", "--executor", "dask"),
    "Dask, one killed": ("--nprocs", "2", "--executor", "dask"),
}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busiest_worker(parent: psutil.Process) -> psutil.Process:
    """Return the worker that has computed most; Dask's own helpers hardly compute."""
    return max(parent.children(recursive=True), key=lambda child: sum(child.cpu_times()[:2]))


def kill_a_worker(program: subprocess.Popen[bytes], out: Path) -> None:
    """Kill a worker by SIGKILL once the first run has ended, so that it is in the middle of another."""
    while program.poll() is None and not list(out.glob("sub-*.html")):
        time.sleep(0.5)
    time.sleep(3)
    worker = busiest_worker(psutil.Process(program.pid))
    print(f"  killed worker {worker.pid} after {sum(worker.cpu_times()[:2]):.0f} CPU seconds")
    os.kill(worker.pid, signal.SIGKILL)


def execute(data: Path, out: Path, options: tuple[str, ...], *, kill: bool) -> tuple[float, float, int]:
    """Return wall-clock and CPU seconds, and the exit code."""
    begun, before = time.monotonic(), cpu_seconds()
    command = [sys.executable, "-m", "bids_alps", str(data), str(out), "participant", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        if kill:
            kill_a_worker(program, out)
        code = program.wait()
    return time.monotonic() - begun, cpu_seconds() - before, code


def results_of(out: Path) -> dict[str, bytes]:
    """Return every result by its path; logs carry times and are no results."""
    files = (path for path in out.rglob("*") if path.is_file() and "logs" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def main() -> None:
    settings = PhantomSettings(participants=RUNS, voxel_size=4.0, directions=8)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        write_phantom(data, settings)
        reference: dict[str, bytes] = {}
        print(f"{'':<17} wall s  CPU s  exit  speed-up  CPU, rel.  runs  same bytes as 1 process")
        for name, options in PLANS.items():
            out = Path(scratch) / name.replace(" ", "-")
            wall, cpu, code = execute(data, out, options, kill="killed" in name)
            results = results_of(out)
            if not reference:
                reference, first_wall, first_cpu = results, wall, cpu
            ended = len(list(out.glob("sub-*.html")))
            figures = f"{wall:6.1f} {cpu:6.1f}  {code:4d}  {first_wall / wall:8.2f}  {cpu / first_cpu:9.3f}  {ended:4d}"
            print(f"{name:<17} {figures}  {results == reference} ({len(results)} files)", flush=True)


if __name__ == "__main__":
    main()
