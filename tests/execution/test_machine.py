"""What a process takes from its surroundings: threads, folders to write to, and the engine that runs it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import OutputError
from bids_alps.execution.engine import InProcess
from bids_alps.execution.local import Processes
from bids_alps.execution.machine import prepare_machine
from bids_alps.execution.study import make_engine
from bids_alps.settings import Settings


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What `prepare_machine` sets is put back afterwards."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    for name in (*threads, "TMPDIR", "MPLCONFIGDIR", "TEMPLATEFLOW_HOME"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def settings(tmp_path: Path, *arguments: str) -> Settings:
    return settings_of(parse([str(tmp_path / "in"), str(tmp_path / "out"), "participant", *arguments]))


def test_the_requested_number_of_threads_is_used(tmp_path: Path) -> None:
    prepare_machine(settings(tmp_path, "--omp-nthreads", "3"))
    assert os.environ["OMP_NUM_THREADS"] == os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"


def test_scratch_files_go_to_the_work_folder(tmp_path: Path) -> None:
    prepare_machine(settings(tmp_path, "--work-dir", str(tmp_path / "work")))
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path / "work")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        prepare_machine(settings(tmp_path, "--work-dir", str(tmp_path / "file/work")))


def test_without_a_home_folder_libraries_write_to_the_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    prepare_machine(settings(tmp_path))
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "matplotlib")
    assert os.environ["TEMPLATEFLOW_HOME"] == str(tmp_path / "templateflow")


def test_without_a_scratch_folder_the_output_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    prepare_machine(settings(tmp_path))
    assert os.environ["TMPDIR"] == str(tmp_path / "out/work")


def test_the_requested_engine_is_used(tmp_path: Path) -> None:
    assert isinstance(make_engine(settings(tmp_path)), InProcess)
    assert isinstance(make_engine(settings(tmp_path, "--nprocs", "2")), Processes)
    cluster = pytest.importorskip("bids_alps.execution.dask").Cluster
    assert isinstance(make_engine(settings(tmp_path, "--executor", "dask")), cluster)
