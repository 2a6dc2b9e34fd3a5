"""What happens to the whole program when the disk is full, when it is interrupted, and when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bids_alps.phantom import PhantomSettings, write_phantom


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interruptions") / "data"
    write_phantom(folder, PhantomSettings(participants=2, voxel_size=4.0, directions=6, b0=1))
    return folder


def start(data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bids_alps", str(data), str(out), "participant", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_workers(program: subprocess.Popen[str], out: Path) -> list[psutil.Process]:
    """Return the processes at work, once both runs have begun."""
    deadline = time.monotonic() + 120
    while len(list(out.glob("logs/sub-*/*/bids-alps.log"))) < 2:
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return psutil.Process(program.pid).children(recursive=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An output folder of 600 kB."""
    folder = tmp_path / "out"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_reported_and_leaves_no_half_written_file(data: Path, small_disk: Path) -> None:
    with start(data, small_disk, "--participant-label", "01") as program:
        output, _ = program.communicate(timeout=240)
    assert program.returncode == 74, output
    assert "No space left on device" in output
    assert output.splitlines()[-1] == "bids-alps finished with errors (exit code 74)."
    assert not list(small_disk.rglob("*.tmp"))
    assert not list(small_disk.rglob("*receipt*"))
    assert (small_disk / "dataset_description.json").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process_at_once(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    with start(data, tmp_path, "--nprocs", "2") as program:
        workers = wait_for_workers(program, tmp_path)
        program.send_signal(number)
        output, _ = program.communicate(timeout=30)
    assert program.returncode == 130, output
    assert "Traceback" not in output
    assert output.splitlines()[-1] == "bids-alps finished with errors (exit code 130)."
    assert not psutil.wait_procs(workers, timeout=30)[1]


@pytest.mark.slow
def test_processes_do_not_outlive_a_killed_program(data: Path, tmp_path: Path) -> None:
    with start(data, tmp_path, "--nprocs", "2") as program:
        workers = wait_for_workers(program, tmp_path)
        program.kill()
        assert not psutil.wait_procs(workers, timeout=30)[1]


FAST = ("--participant-label", "01", "--registrar", "identity", "--skip-preprocessing", "--keep-failed")


def results(out: Path) -> dict[str, bytes]:
    """Return every file except logs, which contain times."""
    files = (path for path in out.rglob("*") if path.is_file() and "logs" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_killed_and_restarted_run_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    with start(data, tmp_path / "undisturbed", *FAST) as program:
        assert program.wait() == 0
    seconds = time.monotonic() - begun
    expected = results(tmp_path / "undisturbed")
    out = tmp_path / "killed"
    for moment in np.random.default_rng(20170617).choice(20, 5, replace=False):
        with start(data, out, *FAST) as program:
            time.sleep(seconds * (moment + 0.5) / 20)
            program.kill()
        found = results(out)
        assert {name for name in found if not name.endswith(".tmp") and found[name] != expected[name]} == set()
    with start(data, out, *FAST) as program:
        assert program.wait() == 0
    assert results(out) == expected
