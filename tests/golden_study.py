"""A small study of both levels; its tables are kept in `tests/golden`.

python tests/golden_study.py     runs the study, prints the changes, and keeps the new tables
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_alps import cli
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map
from bids_alps.phantom import PhantomSettings, write_phantom

SETTINGS = PhantomSettings(
    participants=2, voxel_size=3.0, directions=15, b0=2, snr=30.0, storage=("RAS", "sagittal"), oblique=6.0
)
GOLDEN = Path(__file__).parent / "golden"
VOLATILE = {"settings_hash", "version"}
"""Columns that change with every release or setting, and no number with them."""

RELATIVE, ABSOLUTE, DIFFUSIVITY = 0.02, 0.02, 2e-5
"""Two numbers agree within 2 % of the old one or 0.02, and where both lie below 0.0025 within 2e-5 (mm^2/s)."""


def run_study(root: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """Write data and lesion mask, run both levels into ``root/out``; return exit codes and the truth of each head."""
    data, out = root / "data", root / "out"
    truth = write_phantom(data, SETTINGS)
    write_lesion(root / "lesions")
    options = ["-d", f"lesions={root / 'lesions'}", "--rois", "alps"]
    codes = [cli.main([str(data), str(out), level, *options]) for level in ("participant", "group")]
    return codes, truth


def write_lesion(root: Path) -> None:
    """Write a mask of sub-01 in the template that takes the lower half of the left projection region."""
    mask = read_template().mask
    points = mask.world(np.stack(np.indices(mask.shape), axis=-1))
    x, y, z = read_preset("alps").centers["projection_left"]
    box = (np.abs(points - [x, y, z - 10]) < [6, 20, 10]).all(axis=-1)
    path = root / "sub-01" / "anat" / "sub-01_space-MNI152NLin2009aSym_label-lesion_mask.nii.gz"
    write_map(path, mask.like(box), sidecar={}, dtype=np.uint8)


def tables_of(out: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a derivative dataset as text, by path."""
    paths = sorted(path for path in out.rglob("*.tsv") if path.parent.name != "logs")
    read = {str(path.relative_to(out)): pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in paths}
    return {name: table.drop(columns=VOLATILE & set(table)) for name, table in read.items()}


def differences(old: dict[str, pd.DataFrame], new: dict[str, pd.DataFrame]) -> Iterator[str]:
    """Describe the differences between two sets of tables beyond the tolerances."""
    yield from (f"{name}: a new table" for name in sorted(new.keys() - old.keys()))
    yield from (f"{name}: the table is gone" for name in sorted(old.keys() - new.keys()))
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        yield from (f"{name}: a new column {column}" for column in after if column not in before)
        yield from (f"{name}: the column {column} is gone" for column in before if column not in after)
        if len(before) != len(after):
            yield f"{name}: {len(before)} rows became {len(after)}"
            continue
        for column in (column for column in before if column in after):
            for row, (one, other) in enumerate(zip(before[column], after[column], strict=True), start=1):
                if not agree(one, other):
                    yield f"{name}: {column} of row {row} ({label_of(after, row)}): {one} became {other}"


def label_of(table: pd.DataFrame, row: int) -> str:
    """Return the label of a row: its first two columns."""
    return " ".join(table.iloc[row - 1, :2])


def agree(one: str, other: str) -> bool:
    """Tell whether two entries are the same, numbers within the tolerances."""
    try:
        old, new = float(one), float(other)
    except ValueError:
        return one == other
    small = max(abs(old), abs(new)) < 0.0025
    return abs(new - old) <= max(RELATIVE * abs(old), DIFFUSIVITY if small else ABSOLUTE)


def main() -> None:
    """Run the study, print what changed, keep its tables."""
    with tempfile.TemporaryDirectory() as folder:
        codes, _ = run_study(Path(folder))
        new = tables_of(Path(folder) / "out")
    changed = list(differences(tables_of(GOLDEN), new))
    for name, table in new.items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, sep="\t", index=False)
    for name in tables_of(GOLDEN).keys() - new.keys():
        (GOLDEN / name).unlink()
    summary = "\n".join(changed) or "nothing changed beyond the tolerances"
    print(f"{summary}\nexit codes {codes}; {len(new)} tables in {GOLDEN}")


if __name__ == "__main__":
    main()
