"""Half-written files: those of the living stay, wherever they live; those of the dead go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_alps.io.temporary import create_temporary, remove_abandoned
from bids_alps.io.writing import write_text

WRITER = """
import sys, time
from pathlib import Path
from bids_alps.io.temporary import create_temporary
print(create_temporary(Path(sys.argv[1]))[1].name, flush=True)
time.sleep(float(sys.argv[2]))
"""


def start_writer(target: Path, seconds: float, *prefix: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that begins to write a file; return it with the path of the file."""
    command = [*prefix, sys.executable, "-c", WRITER, str(target), str(seconds)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert program.stdout is not None
    return program, target.with_name(program.stdout.readline().strip())


def in_the_past(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_file_of_a_running_process_stays_and_one_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    program, path = start_writer(tmp_path / "sub-01_dwi.nii.gz", 600)
    with program:
        in_the_past(path, 3600)
        remove_abandoned(tmp_path)
        assert path.exists()
        program.kill()
    remove_abandoned(tmp_path, "sub-02")
    assert path.exists()
    remove_abandoned(tmp_path, "sub-01_")
    assert not path.exists()


def test_a_file_whose_process_id_was_reused_is_removed(tmp_path: Path) -> None:
    handle, path = create_temporary(tmp_path / "a.tsv")
    os.close(handle)
    remove_abandoned(tmp_path)
    assert path.exists()
    begin, pid, _ = path.name.rsplit("-", 2)
    earlier = path.rename(path.with_name(f"{begin}-{pid}-17.0123abcd.tmp"))
    remove_abandoned(tmp_path)
    assert not earlier.exists()


def test_a_recent_file_of_another_container_is_kept(tmp_path: Path) -> None:
    """The kernel is the same and so may be the host's name; the PID belongs to nobody here."""
    unshare = shutil.which("unshare")
    command = [str(unshare), "--pid", "--fork", "--kill-child"]
    if unshare is None or os.geteuid() or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("PID namespaces are root's")
    program, path = start_writer(tmp_path / "a.tsv", 600, *command)
    with program:
        remove_abandoned(tmp_path)
        assert path.exists()
        in_the_past(path, 3600)
        remove_abandoned(tmp_path)
        assert not path.exists()
        program.kill()


@pytest.mark.parametrize("name", [".notes.tmp", ".a.tsv.node7-99.abc.tmp", ".a.tsv.mine.0123abcd.tmp"])
def test_temporary_files_of_other_programs_are_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mine")
    in_the_past(path, 1e6)
    remove_abandoned(tmp_path)
    assert path.read_text() == "mine"


def test_a_recent_file_of_another_machine_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".a.tsv.0123456789ab-4026531836-1-17.0123abcd.tmp"
    path.write_text("half")
    remove_abandoned(tmp_path)
    assert path.exists()
    in_the_past(path, 601)
    remove_abandoned(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_have_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "whole")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
