"""Planning of many runs and start of the first one: seconds and peak memory.

python benchmarks/bench_planning.py [PARTICIPANTS]      # default 1,000; 4 runs in 2 sessions each
"""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

SERIES = gzip.compress(nib.Nifti1Image(np.ones((2, 2, 2, 7), np.float32), np.eye(4)).to_bytes())
DIRECTIONS = b"0 1 0 0 0.707 0.707 0\n0 0 1 0 0.707 0 0.707\n0 0 0 1 0 0.707 0.707\n"
SIDECAR = '{"EchoTime": 0.08, "PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05}'
PART = {"nii.gz": SERIES, "bval": b"0" + 6 * b" 1000" + b"\n", "bvec": DIRECTIONS, "json": SIDECAR.encode()}

LINKED = 4000


def write_tree(root: Path, participants: int, *, sessions: str = "12", runs: str = "12") -> None:
    """Write participants; each session has its runs, a T1w and 2 fieldmaps. All files are links to a few."""
    (root / "in").mkdir(parents=True)
    (root / "in/dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.10.0"}')
    for number in range(participants):
        if number % LINKED == 0:  # a file takes no more links than some 65,000
            for extension, content in PART.items():
                (root / f"part.{extension}").unlink(missing_ok=True)
                (root / f"part.{extension}").write_bytes(content)
        for session in sessions:
            stem = f"sub-{number:05d}_ses-{session}"
            folder = root / f"in/sub-{number:05d}/ses-{session}"
            names = [f"dwi/{stem}_run-{run}_dwi.{extension}" for run in runs for extension in PART]
            names += [
                f"fmap/{stem}_dir-{way}_epi.{extension}" for way in ("AP", "PA") for extension in ("nii.gz", "json")
            ]
            for name in [*names, f"anat/{stem}_T1w.nii.gz"]:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(root / f"part.{name.partition('.')[2]}", path)


def plan(root: Path) -> str:
    """Plan everything in a separate process; return a row of figures."""
    command = [sys.executable, "-m", "bids_alps", str(root / "in"), str(root / "out"), "participant", "--dry-run"]
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    runs = sum(line.startswith("sub-") for line in ran.stdout.splitlines())
    return f"{runs:7d}  {ran.returncode:4d}  {wall:6.1f}  {cpu:6.1f}  {after.ru_maxrss / 1000:7.0f}"


def start(root: Path) -> str:
    """Return seconds, wall clock and CPU, from the command to the first line in the log of a run."""
    command = [sys.executable, "-m", "bids_alps", str(root / "in"), str(root / "out"), "participant"]
    begun = time.monotonic()
    with subprocess.Popen(
        [*command, "--skip-bids-validation"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as program:
        while program.poll() is None and not list((root / "out").glob("logs/sub-*/*/bids-alps.log")):
            time.sleep(0.005)
        wall = time.monotonic() - begun
        ticks = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        program.kill()
    return f"{wall:.1f} s ({sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK'):.1f} CPU s)"


def main() -> None:
    participants = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_tree(root, participants)
        print("   runs  exit  wall s   CPU s  peak MB")
        print(plan(root))
        print(f"from the command to the first run: {start(root)}")


if __name__ == "__main__":
    main()
