"""Statistics of the group level: Park 2023's second table from its moments, and the cost of 10,000 runs."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulated_cohort import MADE, PARK, sample

from bids_alps.cli import main as bids_alps
from bids_alps.io.result_columns import ALPS_COLUMNS, QUALITY_COLUMNS, ROI_COLUMNS
from bids_alps.io.root import write_root
from bids_alps.io.tables import fill_rows, write_table
from bids_alps.model import REGIONS, SIDES
from bids_alps.statistics.comparison import compare_groups

PUBLISHED = {"alps_bilateral": "p = 0.008", "dyy_projection": "p = 0.005"}
RUNS = 10_000


def main() -> None:
    print_park()
    print_cost()


def print_park() -> None:
    """Print our comparison of a cohort whose moments are those of Park 2023, Table 2 (doi 10.1093/sleep/zsad239)."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"group": ["control"] * 51 + ["patient"] * 69})
    for name, (mean_a, sd_a, mean_b, sd_b) in PARK.items():
        table[name] = np.concatenate([sample(rng, 51, mean_a, sd_a), sample(rng, 69, mean_b, sd_b)])
    families = {"index": ["alps_bilateral"], "diffusivity": list(PARK)[1:]}
    print(
        f"{'outcome':18s}{'51 controls':>14s}{'69 patients':>14s}{'p':>9s}{'Bonferroni':>12s}{'FDR':>8s}{'g (95 %)':>24s}  published"
    )
    for row in compare_groups(table, families, "group", test="student")[1].to_dict("records"):
        effect = f"{row['hedges_g']:.3f} ({row['hedges_g_ci_low']:.2f} to {row['hedges_g_ci_high']:.2f})"
        print(
            f"{row['outcome']:18s}{row['mean_a']:8.3f} {row['sd_a']:.3f}{row['mean_b']:8.3f} {row['sd_b']:.3f}"
            f"{row['p']:9.4f}{row['p_bonferroni']:12.4f}{row['p_fdr']:8.4f}{effect:>24s}  {PUBLISHED.get(row['outcome'], '')}"
        )


def print_cost() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bids, out = Path(scratch) / "bids", Path(scratch) / "out"
        bids.mkdir()
        rng = np.random.default_rng(2)
        people = ["participant_id\tgroup\tage\tsex\tsite"]
        checks = [{"roi_preset": "alps", "name": f"check{n}", "value": 1.0, "status": "pass"} for n in range(25)]
        for n in range(RUNS // 2):
            label = f"sub-{n + 1:05}"
            people.append(
                f"{label}\t{('control', 'patient')[n % 2]}\t{20 + n % 60}\t{'FM'[n // 2 % 2]}\t{'abc'[n % 3]}"
            )
            for session in ("1", "2"):
                row = {
                    column.name: float(value)
                    for column, value in zip(ALPS_COLUMNS, rng.normal(1.5, 0.2, len(ALPS_COLUMNS)), strict=True)
                }
                row |= {"roi_preset": "alps", "roi_semi_axes": "2.5 8 5", "status": "pass", "b_value": 1000.0}
                row |= {
                    "roi_radius": None,
                    "roi_source": "template",
                    "alps_unreliable": None,
                    "frame": "cross-sectional",
                }
                row |= {name: value for name, value in MADE.items() if name in row}
                start = out / label / f"ses-{session}" / "dwi" / f"{label}_ses-{session}"
                write_table(
                    Path(f"{start}_desc-alps_scalarstats.tsv"),
                    [row | {"hemisphere": side} for side in (*SIDES, "bilateral")],
                    ALPS_COLUMNS,
                )
                regions = [
                    {"roi_preset": "alps", "roi": f"{region}_{side}", "dxx": 0.001}
                    for region in REGIONS
                    for side in SIDES
                ]
                write_table(Path(f"{start}_seg-alps_scalarstats.tsv"), fill_rows(regions, ROI_COLUMNS), ROI_COLUMNS)
                write_table(
                    Path(f"{start}_desc-quality_scalarstats.tsv"), fill_rows(checks, QUALITY_COLUMNS), QUALITY_COLUMNS
                )
        (bids / "participants.tsv").write_text("\n".join(people) + "\n")
        write_root(out, bids)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        code = bids_alps(
            [str(bids), str(out), "group", "--model", "alps_bilateral ~ group + age + sex", "--harmonize", "site"]
        )
        spent, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = (out / "group_alps.html").stat().st_size
        print(
            f"{RUNS} runs: exit code {code}, {spent:.0f} CPU s (aim 60), {peak / 1024:.0f} MiB at the peak ({before / 1024:.0f} before; aim 1000), page {size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
