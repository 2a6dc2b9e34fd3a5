"""The scripts for SLURM, with programs that only note how they were called in the place of sbatch and bids-alps."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

SCRIPTS = Path(__file__).parents[2] / "docs/slurm"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the scripts, a dataset of five participants, and programs that note their arguments."""
    for path in SCRIPTS.iterdir():
        shutil.copy(path, tmp_path)
    for name in ("sub-01", "sub-02", "sub-03", "sub-04", "sub-05", "derivatives"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data/sub-06.html").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "bids-alps"):
        (programs / name).write_text(
            f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/calls\necho 7\nexit ${{STATUS:-0}}\n'
        )
        (programs / name).chmod(0o755)
    return tmp_path


def run(place: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    common = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "DATA": "data", "OUT": "new/out", "TMPDIR": "/scratch"}
    return subprocess.run(
        ["bash", *command], cwd=place, env=common | environment, capture_output=True, text=True, check=False
    )


def calls(place: Path) -> list[str]:
    path = place / "calls"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("chunk", "tasks"), [("1", 5), ("2", 3), ("5", 1), ("9", 1)])
def test_an_array_has_one_task_per_chunk_followed_by_the_group_level(place: Path, chunk: str, tasks: int) -> None:
    ran = run(place, "submit.sh", "--denoising", "--", "--model", "a ~ b", CHUNK=chunk)
    assert ran.returncode == 0, ran.stderr
    assert calls(place) == [
        f"sbatch --parsable --array=1-{tasks}%200 {place}/participants.sbatch --denoising",
        f"sbatch --parsable --dependency=afterany:7 {place}/group.sbatch --model a ~ b",
    ]
    assert (place / "new/out").is_dir()
    (listed,) = place.glob("participants-*.txt")
    assert listed.read_text().split() == ["sub-01", "sub-02", "sub-03", "sub-04", "sub-05"]


def test_every_participant_is_in_one_task_even_without_a_final_newline(place: Path) -> None:
    (place / "list.txt").write_text("01\n02\n\n03\n04\n05")
    for task in "123":
        common = {"CHUNK": "2", "PARTICIPANTS": str(place / "list.txt"), "SLURM_ARRAY_TASK_ID": task}
        assert run(place, "participants.sbatch", "--denoising", **common).returncode == 0
    labels = [call.partition("--participant-label ")[2].partition(" --")[0] for call in calls(place)]
    assert labels == ["01 02", "03 04", "05"]
    assert all(call.endswith("--work-dir /scratch --skip-bids-validation --denoising") for call in calls(place))


def test_a_task_beyond_the_list_does_nothing(place: Path) -> None:
    (place / "list.txt").write_text("01\n")
    ran = run(place, "participants.sbatch", PARTICIPANTS=str(place / "list.txt"), SLURM_ARRAY_TASK_ID="2")
    assert (ran.returncode, calls(place)) == (0, [])


@pytest.mark.parametrize(("status", "ends"), [("0", 0), ("18", 0), ("1", 1), ("74", 74)])
def test_participants_without_diffusion_runs_are_not_a_failure(place: Path, status: str, ends: int) -> None:
    (place / "list.txt").write_text("01\n")
    common = {"PARTICIPANTS": str(place / "list.txt"), "SLURM_ARRAY_TASK_ID": "1", "STATUS": status}
    assert run(place, "participants.sbatch", **common).returncode == ends


def test_the_babs_configuration_zips_one_folder() -> None:
    content = yaml.safe_load((SCRIPTS / "babs.yaml").read_text())
    assert content["all_results_in_one_zip"] is True
    assert len(content["zip_foldernames"]) == 1  # babs init 0.5 refuses another key beside it
