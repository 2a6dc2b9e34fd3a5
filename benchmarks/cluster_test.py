"""Behavior on clusters: jobs that end, multithreaded workers, shared folders, lost processes.

python benchmarks/cluster_test.py [--python OTHER/bin/python] [--keep FOLDER] [SECTION ...]

Sections are named as the functions below (default: all). Sections that need SLURM (`sbatch`), `strace`, `unshare` or root
are skipped by name if these are missing. `--python` tests another installation, such as an older one; `--keep` keeps the
large datasets for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench_planning import write_tree

SCRIPTS = Path(__file__).parents[1] / "docs/slurm"
PATIENCE_SECONDS = 150
SIZES = (20, 2500, 20000)


@dataclass(frozen=True)
class Lab:
    """Test folder and installation."""

    python: str
    scratch: Path
    keep: Path

    def command(self, data: Path, out: Path, *options: str) -> list[str]:
        return [self.python, "-m", "bids_alps", str(data), str(out), "participant", "--skip-bids-validation", *options]

    def tree(self, participants: int, *, runs: int = 4) -> Path:
        """Return a dataset with 4 tiny runs per participant, or 1; they can be planned, and fail when processed."""
        root = self.keep / f"many{participants}x{runs}"
        if not (root / "in/dataset_description.json").exists():
            write_tree(root, participants, **({"sessions": "1", "runs": "1"} if runs == 1 else {}))
        return root / "in"

    def phantom(self, participants: int) -> Path:
        data = self.scratch / f"phantom{participants}"
        if not data.exists():
            small = ["--participants", str(participants), "--voxel-size", "4", "--directions", "6", "--b0", "1"]
            subprocess.run([self.python, "-m", "bids_alps.phantom", str(data), *small], check=True, capture_output=True)
        return data

    def out(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "out"


def conclude(program: subprocess.Popen[str], seconds: float = PATIENCE_SECONDS) -> str:
    """Wait for a program; return its exit code, the number of reported runs, and its last line."""
    begun = time.monotonic()
    try:
        output, _ = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for process in (*psutil.Process(program.pid).children(recursive=True), program):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return f"STALLED: killed after {seconds:.0f} s"
    lines = [line for line in output.splitlines() if line.strip()]
    runs = sum(line.startswith("sub-") and "_page" not in line for line in lines)
    errors = [line for line in lines[:-1] if not line.startswith(("sub-", "INFO", "WARNING"))]
    last = errors[-1][:420] if errors else ""
    return f"exit {program.returncode} after {time.monotonic() - begun:.0f} s, {runs} runs reported. {last}"


def start(command: list[str], cwd: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment, **pipe)  # type: ignore[call-overload, no-any-return]


def my_jobs() -> list[str]:
    return subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True).stdout.split()


def jobs(lab: Lab) -> None:
    """dask-jobqueue: jobs lost before a worker starts, with two workers, that never start, that all fail."""
    needs("sbatch")
    try_jobs(lab, "2 jobs, both canceled at once", cancel=True)
    try_jobs(lab, "one job of 2 processes", cores=2, processes=2)
    never = {"job_extra_directives": ["--begin=now+1hour"]}
    try_jobs(lab, "2 jobs that never start", "--worker-timeout", "0.5", **never)
    try_jobs(lab, "2 jobs that end before a worker comes", job_script_prologue=["exit 1"])


def try_jobs(lab: Lab, name: str, *options: str, cancel: bool = False, **special: object) -> None:
    asked: dict[str, object] = {"cores": 1, "processes": 1, "memory": "2GB", "walltime": "00:10:00", "interface": "lo"}
    asked |= {"log-directory": str(lab.scratch), "local-directory": str(lab.scratch), "death-timeout": 60}
    asked |= {key.replace("_", "-"): value for key, value in special.items()}
    path = lab.scratch / "jobs.yaml"
    path.write_text(json.dumps({"jobqueue": {"slurm": asked}}))
    before = set(my_jobs())
    common = ("--executor", "dask", "--dask-config", str(path), "--nprocs", "2")
    program = start(lab.command(lab.tree(20), lab.out(), *common, *options, "--participant-label", "00001", "00002"))
    if cancel:
        while program.poll() is None and len(set(my_jobs()) - before) < 2:
            time.sleep(0.2)
        subprocess.run(["scancel", *(set(my_jobs()) - before)], check=True)
    print(f"  {name}: {conclude(program)}", flush=True)
    subprocess.run(["scancel", *(set(my_jobs()) - before)], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def dask(lab: Lab, threads: int, folder: Path) -> Iterator[str]:
    """Start a scheduler and a worker; yield the address."""
    file = lab.scratch / f"scheduler{threads}.json"
    common = ["--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    scheduler = [lab.python, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *common]
    worker = [lab.python, "-m", "distributed.cli.dask_worker", "--nthreads", str(threads), "--no-dashboard", *common]
    with subprocess.Popen(scheduler, **quiet) as one:  # type: ignore[call-overload]
        while not file.exists():
            time.sleep(0.1)
        with subprocess.Popen(worker, **quiet) as two:  # type: ignore[call-overload]
            time.sleep(15)
            yield json.loads(file.read_text())["address"]
            two.terminate()
        one.terminate()
    file.unlink(missing_ok=True)


def threads(lab: Lab) -> None:
    """A worker with two threads."""
    with dask(lab, 2, lab.scratch) as address:
        options = ("--executor", "dask", "--dask-address", address, "--participant-label", "00001")
        print(f"  {conclude(start(lab.command(lab.tree(20), lab.out(), *options)))}")


def paths(lab: Lab) -> None:
    """Relative paths, and a worker started in another folder."""
    here, there = (Path(tempfile.mkdtemp(dir=lab.scratch)) for _ in range(2))
    (here / "in").symlink_to(lab.tree(20))
    with dask(lab, 1, there) as address:
        options = ("--executor", "dask", "--dask-address", address, "--participant-label", "00001")
        outcome = conclude(start(lab.command(Path("in"), Path("out"), *options), cwd=here))
    left = sum(path.is_file() for path in there.rglob("*"))
    crashes = sorted((here / "out").rglob("crash-*.txt"))
    print(f"  {outcome}\n  {left} files in the worker's folder, {len(crashes)} crash files in the output")
    if crashes:
        print(f"  a run says: {crashes[-1].read_text().splitlines()[0][-150:]}")


def shared_folders(lab: Lab) -> None:
    """Calls of stat and folder listings of one task, by number of participants."""
    needs("strace")
    print("  participants    stat   getdents   CPU s")
    for size in SIZES:
        trace = lab.scratch / "strace"
        one = lab.command(lab.tree(size), lab.out(), "--dry-run", "--participant-label", "00003")
        traced = ["strace", "-f", "-c", "-o", str(trace), "-e", "trace=%%stat,getdents64", *one]
        subprocess.run(traced, check=False, capture_output=True)
        words = [line.split() for line in trace.read_text().splitlines()]
        calls = {row[-1]: int(row[3]) for row in words if len(row) > 4 and row[3].isdigit() and row[-1] != "total"}
        stats = sum(number for name, number in calls.items() if "stat" in name)
        print(f"  {size:12d} {stats:7d} {calls.get('getdents64', 0):10d} {cpu(one):7.2f}", flush=True)


def planning(lab: Lab) -> None:
    """CPU seconds of a plan of all participants, one run each, and of one of them alone."""
    for size in SIZES:
        everyone = lab.command(lab.tree(size, runs=1), lab.out(), "--dry-run")
        seconds, alone = cpu(everyone), cpu([*everyone, "--participant-label", "00003"])
        print(
            f"  {size:12d} participants {seconds:7.1f} CPU s, {1000 * (seconds - alone) / size:.1f} ms for each more;"
            f" one alone {alone:.2f} CPU s",
            flush=True,
        )


def cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def stop_while_it_writes(program: subprocess.Popen[str], out: Path) -> list[Path]:
    """Stop a program while files of a run are half-written; return their paths."""
    while program.poll() is None:
        if written := list(out.glob("sub-*/dwi/.*.tmp")):
            inside = psutil.Process(program.pid).children(recursive=True)
            for process in inside:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
            while any(map(is_running, inside)):
                time.sleep(0.05)  # what it is in the middle of may still end
            if there := [path for path in written if path.exists()]:
                return there
            for process in inside:
                process.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    raise RuntimeError("it ended before it was seen to write")


def has_begun(program: subprocess.Popen[str], out: Path) -> bool:
    """Wait until a program writes files of its own beside those of a stopped one; return whether it did."""
    logs = set(out.glob("logs/sub-*/*/bids-alps.log"))
    deadline = time.monotonic() + 4 * PATIENCE_SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        if set(out.glob("logs/sub-*/*/bids-alps.log")) - logs:
            time.sleep(20)  # what was abandoned is removed when a run begins
            return True
        time.sleep(0.2)
    return False


def half_written_files(lab: Lab) -> None:
    """Two containers on one output: the second begins while the first writes a file."""
    needs("unshare")
    data, out = lab.phantom(1), lab.out()
    contained = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*contained, *lab.command(data, out)]
    late = ["bash", "-c", 'for _ in {1..300}; do /bin/true; done; "$@" & wait', "late"]  # a PID that the second has not
    with start([*contained, *late, *lab.command(data, out)]) as first:
        there = stop_while_it_writes(first, out)
        with start(command) as second:
            begun = has_begun(second, out)
            left = [path for path in there if path.exists()]
            for program in (second, first):
                for process in (*psutil.Process(program.pid).children(recursive=True), program):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
    print(f"  half-written by the first: {len(there)}; the second has begun: {begun}; left then: {len(left)}")


def time_limit(lab: Lab) -> None:
    """One of two processes hangs (it is stopped)."""
    options = ("--nprocs", "2", "--timeout", "0.5", "--participant-label", "00001", "00002", "00003")
    program = start(lab.command(lab.tree(20), lab.out(), *options))
    stopped = False
    while not stopped and program.poll() is None:
        workers = [
            child for child in psutil.Process(program.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        if len(workers) == 2:
            workers[0].send_signal(signal.SIGSTOP)
            stopped = True
        time.sleep(0.05)
    print(f"  one process stopped: {stopped}. {conclude(program)}")


def slurm_scripts(lab: Lab) -> None:
    """Both levels with the documented scripts: 2 participants per task, one without a diffusion run."""
    needs("sbatch")
    data, out = lab.scratch / "three", lab.out()
    shutil.copytree(lab.phantom(2), data)
    shutil.copytree(data / "sub-01/anat", data / "sub-03/anat") if (data / "sub-01/anat").exists() else (
        data / "sub-03"
    ).mkdir()
    folder = Path(tempfile.mkdtemp(dir=lab.scratch))
    for path in SCRIPTS.iterdir():
        shutil.copy(path, folder)
    environment = {**os.environ, "DATA": str(data), "OUT": str(out), "CHUNK": "2", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(lab.python).parent}:{environment['PATH']}"
    before = set(my_jobs())
    command = ["bash", "submit.sh", "--skip-preprocessing", "--", "--exclude-status", "fail"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    print(f"  {ran.stdout.strip() or ran.stderr.strip()}")
    mine = sorted(set(my_jobs()) - before)
    while set(my_jobs()) & set(mine):
        time.sleep(2)
    for job in mine:
        output = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True).stdout
        for line in output.splitlines():
            print("  " + " ".join(word for word in line.split() if word.split("=")[0] in
                  ("JobId", "ArrayTaskId", "JobName", "JobState", "ExitCode")))  # fmt: skip
    table = out / "group_alps.tsv"
    print(f"  runs in group_alps.tsv: {len(table.read_text().splitlines()) - 1 if table.exists() else 'no table'}")


def templates(lab: Lab) -> None:
    """A missing template, and an empty read-only cache as in a read-only image."""
    if os.geteuid():
        raise MissingError("the right to mount")
    cache = Path(tempfile.mkdtemp(dir=lab.scratch))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(cache)], check=True)
    try:
        command = lab.command(lab.tree(20), lab.out(), "--template", "MNI152NLin2009cAsym", "--dry-run")
        print(f"  {conclude(start(['env', f'TEMPLATEFLOW_HOME={cache}', *command]))}")
    finally:
        subprocess.run(["umount", str(cache)], check=True)


class MissingError(Exception):
    """A program that a section needs."""


def needs(program: str) -> None:
    if shutil.which(program) is None:
        raise MissingError(program)


SECTIONS: tuple[Callable[[Lab], None], ...] = (
    *(jobs, threads, paths, shared_folders, planning, half_written_files, time_limit, slurm_scripts, templates),
)


def main() -> None:
    names = [section.__name__ for section in SECTIONS]
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", choices=[*names, []], metavar="SECTION")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        lab = Lab(python=chosen.python, scratch=Path(scratch), keep=chosen.keep or Path(scratch))
        for section in SECTIONS:
            if not chosen.sections or section.__name__ in chosen.sections:
                print(f"{section.__name__}: {section.__doc__}", flush=True)
                try:
                    section(lab)
                except MissingError as error:
                    print(f"  skipped: {error} is missing")


if __name__ == "__main__":
    main()
