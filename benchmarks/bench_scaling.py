"""Group level over many runs: CPU seconds and peak memory, from 1,000 runs to the given number.

python benchmarks/bench_scaling.py [RUNS]      # default 100,000; about 3 GB of scratch space
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_group import MADE

from bids_alps.io.result_columns import ALPS_COLUMNS, QUALITY_COLUMNS, ROI_COLUMNS
from bids_alps.io.root import write_root
from bids_alps.io.tables import table_text
from bids_alps.model import REGIONS, SIDES

TEXTS = {"roi_preset": "alps", "status": "pass"}
METHOD = {**MADE, "roi_radius": "n/a", "roi_semi_axes": "2.5 8 5", "roi_source": "template", "frame": "cross-sectional"}
"""What is the same in all runs, since runs of different methods are not compared."""
SITES, CHECKS = 20, 25


def index_rows(draw: np.random.Generator) -> list[dict[str, object]]:
    left, right = draw.normal(1.5, 0.15, 2)
    values = {"left": left, "right": right, "bilateral": (left + right) / 2}
    rows = []
    for side, alps in values.items():
        numbers = dict(zip([column.name for column in ALPS_COLUMNS], draw.gamma(20.0, 5e-5, 60), strict=False))
        named = {
            "hemisphere": side,
            "alps": alps,
            "alps_se": 0.05,
            "alps_ci_low": alps - 0.1,
            "alps_ci_high": alps + 0.1,
        }
        rows.append({**numbers, **{name: value for name, value in METHOD.items() if name in numbers}, **named, **TEXTS})
    return rows


def region_rows(draw: np.random.Generator) -> list[dict[str, object]]:
    names = [column.name for column in ROI_COLUMNS]
    regions = [f"{region}_{side}" for region in REGIONS for side in SIDES]
    return [
        dict(zip(names, draw.gamma(20.0, 5e-5, 60), strict=False)) | {"roi_preset": "alps", "roi": r} for r in regions
    ]


def quality_rows() -> list[dict[str, object]]:
    names = [column.name for column in QUALITY_COLUMNS]
    return [
        dict.fromkeys(names, "n/a") | {"roi_preset": "alps", "name": f"check{n}", "value": n, "status": "pass"}
        for n in range(CHECKS)
    ]


def write_outputs(root: Path, first: int, last: int) -> None:
    """Write the files that the group level reads, for runs `first` to `last`."""
    index, regions = [column.name for column in ALPS_COLUMNS], [column.name for column in ROI_COLUMNS]
    quality = table_text(quality_rows(), [column.name for column in QUALITY_COLUMNS])
    for number in range(first, last):
        draw = np.random.default_rng(number)
        folder = root / f"out/sub-{number:06d}/dwi"
        folder.mkdir(parents=True)
        stem = f"sub-{number:06d}"
        (folder / f"{stem}_desc-alps_scalarstats.tsv").write_text(table_text(index_rows(draw), index))
        (folder / f"{stem}_seg-alps_scalarstats.tsv").write_text(table_text(region_rows(draw), regions))
        (folder / f"{stem}_desc-quality_scalarstats.tsv").write_text(quality)


def write_participants(root: Path, runs: int) -> None:
    draw = np.random.default_rng(0)
    rows = [
        {
            "participant_id": f"sub-{n:06d}",
            "age": draw.uniform(20, 80),
            "sex": "MF"[n % 2],
            "group": "ab"[draw.integers(2)],
        }
        | {"site": f"s{draw.integers(SITES):02d}"}
        for n in range(runs)
    ]
    (root / "data").mkdir(exist_ok=True)
    (root / "data/dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.10.0"}')
    (root / "data/participants.tsv").write_text(table_text(rows, ("participant_id", "age", "sex", "group", "site")))


def run_group(root: Path) -> str:
    """Run the group level in a separate process; return a row of figures."""
    model = "alps_bilateral ~ group + age + sex"
    command = [sys.executable, "-m", "bids_alps", str(root / "data"), str(root / "out"), "group", "--model", model]
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run([*command, "--harmonize", "site"], stdout=subprocess.DEVNULL, check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tables = [root / "out/group_alps.tsv", root / "out/group_rois.tsv", root / "out/group_alps.html"]
    sizes = "  ".join(f"{path.stat().st_size / 1e6:9.1f}" for path in tables)
    return f"{code:4d}  {time.monotonic() - begun:7.1f}  {cpu:7.1f}  {after.ru_maxrss / 1000:8.0f}  {sizes}"


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as scratch:
        root, written = Path(scratch), 0
        print("   runs  exit   wall s    CPU s   peak MB  alps.tsv MB  rois.tsv MB  page MB")
        for runs in sorted({n for n in (1_000, 10_000, most) if n <= most}):
            write_outputs(root, written, runs)
            write_participants(root, runs)
            write_root(root / "out", root / "data")
            written = runs
            print(f"{runs:7d}  {run_group(root)}", flush=True)


if __name__ == "__main__":
    main()
