"""From raw series to the index, beside the conventional chain: CPU seconds, memory, errors and repeatability.

The conventional chain (`conventional_chain.py`): MRtrix3's dwidenoise and mrdegibbs, rigid motion correction by ANTs,
dwi2tensor, ANTs SyN of the FA to the white matter of the template, spheres of 2.5 mm, tensors in scanner axes. It needs
MRtrix3, and a Python with antspyx and nibabel in the environment variable ANTSPYX_PYTHON; where one is missing, only our
rows are printed. Everything runs on one thread.

The scans: a simulated head at 3 mm with head motion, eddy currents and susceptibility distortion, and where
ALPS_REAL_DATA names a folder, the scans of two of its datasets. One of them has a head twice, with opposite phase
encoding: without errors both indices would be equal.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.model import DwiRun
from bids_alps.phantom import PhantomSettings, write_phantom

HEAD = PhantomSettings(
    seed=5, voxel_size=3.0, directions=20, b0=2, snr=20, motion=0.3, eddy=1.0, susceptibility=6.0, participants=1
)
DATASETS = ("siemens_xa30", "philips_achieva_dstream_15dir")
TEMPLATE = files("bids_alps.resources") / "brain" / "tpl-MNI152NLin2009aSym_res-1_label-WM_probseg.nii.gz"
PINNED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
SIDES = ("left", "right", "bilateral")
PYBIDS = {"acq": "acquisition", "dir": "direction", "run": "run"}
CHAINS = ("MRtrix3 + ANTs", "bids-alps")


def conventional(run: DwiRun) -> dict[str, float]:
    """Return the index of a run by side."""
    centers = {name: [float(mm) for mm in point] for name, point in read_preset("alps-sphere").centers.items()}
    with tempfile.TemporaryDirectory() as folder:
        words = [run.image, run.bval, run.bvec, TEMPLATE, json.dumps(centers), folder]
        done = subprocess.run(
            [os.environ["ANTSPYX_PYTHON"], Path(__file__).with_name("conventional_chain.py"), *words],
            env=os.environ | PINNED,
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def ours(dataset: Path, run: DwiRun) -> dict[str, float]:
    """Return the index of a run by side, from the tables that the command line writes."""
    entities = {PYBIDS[name]: value for name, value in run.entities.items() if name in PYBIDS}
    with tempfile.TemporaryDirectory() as folder:
        only = Path(folder) / "filter.json"
        only.write_text(json.dumps({"dwi": entities}))
        out = Path(folder) / "out"
        words = [dataset, out, "participant", "--participant-label", run.entities["sub"], "--keep-failed"]
        subprocess.run(
            [sys.executable, "-m", "bids_alps", *words, "--bids-filter-file", only, "--nprocs", "1"],
            env=os.environ | PINNED,
            check=False,  # an index with a failed check is an exit code too
            capture_output=True,
        )
        (table,) = out.rglob(f"{run.name.removesuffix('_dwi')}_*desc-alps_scalarstats.tsv")
        rows = pd.read_table(table).drop_duplicates("hemisphere").set_index("hemisphere")
    return {side: float(rows["alps"][side]) for side in SIDES}


def with_cost(work: Callable[..., dict[str, float]], *arguments: Any) -> tuple[dict[str, float], float, float]:
    """Return the index, and CPU seconds and largest memory, MiB, of the programs that were started."""
    index = work(*arguments)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return index, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def measure(dataset: Path, run: DwiRun, truth: float | None, chains: tuple[str, ...]) -> dict[str, float]:
    """Print the row of each chain, and return the bilateral index by chain."""
    found = {}
    for chain in chains:
        work = (conventional, run) if chain == CHAINS[0] else (ours, dataset, run)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # a new one: it counts its programs
            index, seconds, peak = pool.submit(with_cost, *work).result()
        found[chain] = index["bilateral"]
        sides = " ".join(f"{index[side]:10.3f}" for side in SIDES)
        error = "" if truth is None else f"{found[chain] - truth:+8.3f}"
        name = run.name if truth is None else "simulated, 3 mm"
        print(f"{name:24}{chain:16}{seconds:7.0f}{peak:7.0f} {sides}{error}", flush=True)
    return found


def main() -> None:
    chains = CHAINS if shutil.which("dwidenoise") and "ANTSPYX_PYTHON" in os.environ else CHAINS[1:]
    if len(chains) == 1:
        print("conventional chain: skipped, it needs MRtrix3 and ANTSPYX_PYTHON")
    print(f"{'scan':24}{'chain':16}{'CPU s':>7}{'MiB':>7} " + " ".join(f"{side:>10}" for side in SIDES) + "   error")
    with tempfile.TemporaryDirectory() as scratch:
        truth = write_phantom(Path(scratch), HEAD)[0]["alps_bilateral"]
        (run,) = find_runs(Path(scratch), "01")
        measure(Path(scratch), run, truth, chains)
    if "ALPS_REAL_DATA" not in os.environ:
        print("real scans: skipped, ALPS_REAL_DATA names no folder")
        return
    for name in DATASETS:
        dataset = Path(os.environ["ALPS_REAL_DATA"]) / name
        runs = [run for run in find_runs(dataset, "01") if isinstance(run, DwiRun)]
        found = [measure(dataset, run, None, chains) for run in runs]
        for chain in chains if len(runs) == 2 else ():
            one, two = (values[chain] for values in found)
            print(f"one head twice, {chain}: {abs(one - two):.3f} apart, {200 * abs(one - two) / (one + two):.1f} %")


if __name__ == "__main__":
    main()
