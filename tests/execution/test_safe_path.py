"""No file of the working directory, such as a downloaded dataset, is executed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_alps.phantom import PhantomSettings, write_phantom

pytestmark = pytest.mark.medium

PLANTED = ("pickle", "numpy", "sitecustomize", "usercustomize", "nibabel", "threading", "random", "dask", "json")
TWO = PhantomSettings(
    participants=2, voxel_size=6.0, slab=60.0, directions=6, b0=1, rotation=0.0, warp=0.0, scalp=False
)
FAST = ("--skip-bids-validation", "--skip-preprocessing", "--registrar", "identity", "--keep-failed")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset with modules that leave a trace when they are imported."""
    write_phantom(tmp_path / "bids", TWO)
    for name in PLANTED:
        (tmp_path / "bids" / f"{name}.py").write_text(
            f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r}); raise SystemExit({name!r})"
        )
    return tmp_path / "bids"


def run_in(dataset: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [*command, ".", "../out", "participant", *FAST, "--nprocs", "2"],
        cwd=dataset,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


COMMAND = str(Path(sys.executable).with_name("bids-alps"))
MODULE = (sys.executable, "-m", "bids_alps")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "executor"), [((COMMAND,), "local"), (MODULE, "local"), (MODULE, "dask")])
def test_no_code_of_a_dataset_runs(dataset: Path, command: tuple[str, ...], executor: str) -> None:
    if executor == "dask":
        pytest.importorskip("distributed")
        command = (*command, "--executor", "dask")
    ran = run_in(dataset, *command)
    assert not (dataset.parent / "trace").exists(), (dataset.parent / "trace").read_text()
    assert ran.returncode == 0, ran.stderr
    assert len(list((dataset.parent / "out").glob("sub-*/dwi/*_desc-alps_scalarstats.tsv"))) == 2


def test_the_trap_works(dataset: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", "import pickle"], cwd=dataset, env={}, check=False)
    assert ran.returncode
    assert (dataset.parent / "trace").read_text() == "pickle"
