"""Twelve simulated patients and controls with known index, at participant and group level: estimated and true difference."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bids_alps.cli import main as bids_alps
from bids_alps.phantom import PhantomSettings, write_phantom

COHORT = PhantomSettings(
    participants=24, seed=24, voxel_size=3.0, directions=15, b0=2, snr=25, rotation=12, group_effect=True
)

MODEL = "alps_bilateral ~ group + age + sex"


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="bids-alps-cohort-"))
    bids, out = folder / "bids", folder / "out"
    write_phantom(bids, COHORT)
    began, cpu = time.perf_counter(), os.times()
    codes = [bids_alps([str(bids), str(out), "participant", "--skip-preprocessing", "--nprocs", "2", "--rois", "alps"])]
    codes.append(bids_alps([str(bids), str(out), "group", "--model", MODEL]))
    used = os.times()
    spent = sum(used[:4]) - sum(cpu[:4])
    print(f"exit codes {codes}; {time.perf_counter() - began:.0f} s, {spent:.0f} CPU s; results in {out}")
    people = read(bids / "participants.tsv").set_index("participant_id")
    truth = read(bids / "derivatives" / "truth" / "truth.tsv").set_index("participant_id")
    found = read(out / "group_alps.tsv").set_index("participant_id")
    compared = read(out / "group_comparison.tsv").set_index("outcome")
    for side in ("left", "right", "bilateral"):
        name = f"alps_{side}"
        by_group = truth[name].groupby(people["group"]).mean()
        true = by_group["patient"] - by_group["control"]
        row = compared.loc[name]
        errors = found[name] - truth[name]
        print(
            f"{side:10s} true difference {true:6.3f}, estimated {row['difference']:6.3f} "
            f"({row['difference_ci_low']:.3f} to {row['difference_ci_high']:.3f}), {row['test']}, p {row['p']:.3f}, g {row['hedges_g']:.2f}; "
            f"error of a participant: bias {errors.mean():.3f}, SD {errors.std():.3f}, r with the truth {np.corrcoef(found[name], truth.loc[found.index, name])[0, 1]:.2f}"
        )
    model = read(out / "group_models.tsv")
    print(model[["term", "estimate", "ci_low", "ci_high", "p"]].to_string(index=False))


if __name__ == "__main__":
    main()
