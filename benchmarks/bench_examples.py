"""Folders of public BIDS trees: the runs that a plan finds in each, those that it refuses and why, and the seconds.

ALPS_BIDS_EXAMPLES=FOLDER ALPS_QSIPREP_LISTS=FOLDER python benchmarks/bench_examples.py

ALPS_BIDS_EXAMPLES names a folder of datasets such as bids-standard/bids-examples. Its images are empty files: each
dataset is planned as it is, where every run must be refused with a reason, and again with a small image in place of
each empty one. ALPS_QSIPREP_LISTS names a folder of `*_outputs.txt`, the lists of files that QSIPrep's tests expect;
the trees are built from them and read as preprocessed input. What is not set is skipped by name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_alps.cli import main as bids_alps
from bids_alps.errors import AlpsError
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, find_inherited

DIRECTIONS = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)], float)
"""One b=0 volume and 6 directions, which are scaled to unit length."""


@dataclass(kw_only=True)
class Plan:
    """What the command said: exit code, a plan of each run, its error message, a traceback where there was one."""

    exit_code: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0

    def count(self, *states: str) -> int:
        return sum(run["state"] in states for run in self.runs)

    def reasons(self) -> list[str]:
        """Return why runs were refused or set aside, without paths, with the number of runs, most frequent first."""
        said = Counter(
            run["reason"].split(": ", 1)[-1] for run in self.runs if run["state"] in ("skipped", "set aside")
        )
        return [f"{number} x {reason}" for reason, number in said.most_common()] or [self.error] * bool(self.error)


def plan(root: Path) -> Plan:
    """Plan a dataset as a user would."""
    out, err, made, begun = io.StringIO(), io.StringIO(), Plan(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(root), f"{scratch}/out", "participant", "--dry-run=json"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                made.exit_code = bids_alps(command)
            except SystemExit as error:
                made.exit_code = int(error.code or 0)
            except Exception:  # noqa: BLE001 -- this is what is looked for
                made.traceback = traceback.format_exc()
    made.seconds = time.monotonic() - begun
    text = out.getvalue()
    if "[" in text and "]" in text:
        with contextlib.suppress(ValueError):
            made.runs = json.loads(text[text.index("[") : text.rindex("]") + 1])
    words = [line for line in err.getvalue().splitlines() if line.strip()]
    made.error = words[-1].partition(": ")[2] or words[-1] if made.exit_code and words else ""
    if "Traceback" in err.getvalue() + text:
        made.traceback = err.getvalue() + text
    return made


def series_of(root: Path) -> list[Path]:
    """Return the diffusion images of a raw dataset, by the names of the files alone."""
    found = [path for pattern in ("sub-*/dwi/*_dwi.nii*", "sub-*/ses-*/dwi/*_dwi.nii*") for path in root.glob(pattern)]
    return sorted(
        path for path in found if not any(f"_part-{part}_" in path.name for part in ("phase", "real", "imag"))
    )


def write_image(path: Path, volumes: int) -> None:
    shape = (4, 4, 4, volumes) if volumes else (4, 4, 4)
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)


def fill(root: Path, target: Path) -> None:
    """Write a copy of links to a dataset, with small images in place of empty ones."""
    for folder, _, names in os.walk(root):
        here = target / Path(folder).relative_to(root)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = Path(folder) / name
            if not name.endswith(IMAGE_EXTENSIONS) or (path.exists() and path.stat().st_size):
                (here / name).symlink_to(path)
            else:
                write_image(here / name, volumes_of(path, root) if name.split(".")[0].endswith("_dwi") else 0)


def volumes_of(image: Path, root: Path) -> int:
    """Return the number of b-values that apply to an image; of its directions where there are none."""
    try:
        return len(find_inherited(image, ".bval", root).read_text().split()) or len(DIRECTIONS)
    except (AlpsError, OSError):
        return len(DIRECTIONS)


def walk_examples(folder: Path) -> Iterator[str]:
    """Yield a line for each dataset of a folder, and the reasons of what is refused."""
    roots = sorted(path.parent for path in folder.glob("*/dataset_description.json"))
    yield f"{'dataset':24s}{'people':>7s}{'images':>8s}{'told':>6s}{'found':>7s}{'refused':>9s}{'aside':>7s}{'exit':>6s}{'s':>7s}"
    total: Counter[str] = Counter()
    for root in roots:
        images, people = len(series_of(root)), len(list(root.glob("sub-*")))
        empty = plan(root)
        with tempfile.TemporaryDirectory() as scratch:
            filled = Path(scratch) / root.name
            fill(root.resolve(), filled)
            whole = plan(filled)
        for title, made in ((root.name, empty), ("  with images", whole)):
            numbers = (len(made.runs), made.count("due", "done"), made.count("skipped"), made.count("set aside"))
            yield (
                f"{title:24s}{people:7d}{images:8d}{numbers[0]:6d}{numbers[1]:7d}{numbers[2]:9d}{numbers[3]:7d}"
                f"{made.exit_code:6d}{made.seconds:7.2f}"
            )
            yield from (f"    {reason[:150]}" for reason in made.reasons())
            yield from made.traceback.splitlines()
        total.update(
            datasets=1, images=images, found=whole.count("due"), told=len(whole.runs),
            tracebacks=bool(empty.traceback) + bool(whole.traceback), lost=images != len(whole.runs),
        )  # fmt: skip
    yield (
        f"{total['datasets']} datasets: {total['images']} diffusion images, {total['told']} told of, {total['found']} found "
        f"as runs; {total['lost']} datasets with another count, {total['tracebacks']} tracebacks"
    )


def build_tree(names: list[str], root: Path) -> list[Path]:
    """Build the tree of a list of files; return its preprocessed series."""
    directions = DIRECTIONS / np.maximum(np.linalg.norm(DIRECTIONS, axis=1, keepdims=True), 1)
    bvals = np.where(directions.any(1), 1000, 0)
    text = {
        "bval": " ".join(map(str, bvals)),
        "bvec": "\n".join(" ".join(f"{value:.4f}" for value in axis) for axis in directions.T),
        "b": "\n".join(" ".join(f"{v:.4f}" for v in (*row, b)) for row, b in zip(directions, bvals, strict=True)),
        "json": "{}",
    }
    by = {"Name": "QSIPrep", "Version": "unknown"}
    described = {"Name": "QSIPrep", "BIDSVersion": "1.9.0", "DatasetType": "derivative", "GeneratedBy": [by]}
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stem, _, extension = path.name.partition(".")
        if name.endswith(IMAGE_EXTENSIONS):
            write_image(path, len(bvals) if stem.endswith("_dwi") else 0)
        else:
            path.write_text(text.get(extension, ""))
    (root / "dataset_description.json").write_text(json.dumps(described))
    return [root / name for name in names if name.endswith("_desc-preproc_dwi.nii.gz")]


def walk_lists(folder: Path) -> Iterator[str]:
    """Yield a line for each list of files of QSIPrep."""
    yield f"{'list':36s}{'series':>8s}{'found':>7s}{'by .b':>7s}{'mask':>6s}{'transform':>11s}{'exit':>6s}{'s':>7s}"
    right = 0
    paths = sorted(folder.glob("*_outputs.txt"))
    for path in paths:
        lines = [line.strip().removeprefix("qsiprep/") for line in path.read_text().splitlines()]
        names = [line for line in lines if line.startswith("sub-") and "." in line and not line.endswith(".html")]
        with tempfile.TemporaryDirectory() as scratch:
            series = build_tree(names, Path(scratch))
            made = plan(Path(scratch))
        due = [run for run in made.runs if run["state"] == "due"]
        by_world_table = sum(run["bvec"].endswith(".b") for run in due)
        masks = sum(run["mask"] != "to be estimated" for run in due)
        right += len(due) == len(series) == by_world_table == masks and not made.traceback
        yield (
            f"{path.name.removesuffix('_outputs.txt'):36s}{len(series):8d}{len(due):7d}{by_world_table:7d}{masks:6d}"
            f"{sum(bool(run['transform']) for run in due):11d}{made.exit_code:6d}{made.seconds:7.2f}"
        )
        yield from (f"    {reason[:150]}" for reason in made.reasons())
        yield from made.traceback.splitlines()
    yield f"{right} of {len(paths)} lists: every series found, with its table in world coordinates and its mask"


def main() -> None:
    walks = {"ALPS_BIDS_EXAMPLES": walk_examples, "ALPS_QSIPREP_LISTS": walk_lists}
    for variable, walk in walks.items():
        folder = os.environ.get(variable)
        if not folder:
            print(f"skipped: {variable} names no folder")
            continue
        for line in walk(Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
