"""Coverage of the 95 % intervals: simulated heads with known index, from series to interval.

Words: ``phantom`` (default) or ``second`` (the head that shares no code with the package, half of it hard: thick slices,
six directions, b = 2000, tracts that end, large ventricles, lesions), how many scans (32), seed (79). Of the phantom,
seeds 77 and 78 were looked at when the terms of the interval were set; 79 was not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import chain, product
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np
from second_heads import METHOD, NOWHERE, hard_heads, make_case, second_heads, the_template

from bids_alps.io.presets import read_preset
from bids_alps.model import DwiSeries
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import make_subject
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import measure
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

HEMISPHERES = ("left", "right", "bilateral")
SCANS = 32


def choose_settings(seed: int) -> list[PhantomSettings]:
    """Return the protocols: every one of 48 combinations in a shuffled order, the first thirty-two of them."""
    combinations = list(product((15.0, 20.0, 25.0, 30.0), (12, 20, 32, 64), (2.0, 2.5, 3.0)))
    order = np.random.default_rng(5).permutation(len(combinations))[:SCANS]
    return [
        PhantomSettings(
            seed=seed,
            snr=snr,
            directions=n,
            b0=max(1, n // 12),
            voxel_size=voxel,
            group_effect=True,
        )
        for snr, n, voxel in (combinations[k] for k in order)
    ]


def choose_phantoms(number: int, *, seed: int) -> Iterator[tuple[PreparedSeries, dict[str, float]]]:
    """Return phantoms and their index by hemisphere."""
    for n, settings in enumerate(choose_settings(seed)[:number]):
        phantom = make_subject(settings, n, group="patient" if n % 2 else "control")
        series = DwiSeries(image=phantom.image, gradients=phantom.gradients)
        mask = find_mask(series, b0_threshold=METHOD.b0_threshold)
        prepared = PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series))
        yield prepared, {**phantom.truth.alps}


def second_cases(number: int, *, seed: int) -> Iterator[tuple[PreparedSeries, dict[str, float]]]:
    """Return scans of the second head, ordinary and hard in turn, and their index by hemisphere."""
    half = number // 2
    for head, scan in chain(second_heads(number - half, seed=seed), hard_heads(half, seed=seed + 1)):
        case = make_case(head, scan)
        yield case.prepared, case.truth


def measure_one(prepared: PreparedSeries, truth: dict[str, float]) -> dict[str, Any]:
    fitted = fit(prepared, METHOD)
    registration = ENGINES[METHOD.registrar].make().register(subject_maps(fitted, NOWHERE), the_template())
    began = time.process_time()
    preset = read_preset("alps")
    checks = check_registration(registration, subject_maps(fitted, NOWHERE), the_template(), preset.centers)
    found = measure(AlignedRun(fitted=fitted, registration=registration, method=METHOD, checks=checks), preset)
    weighted = fitted.series.gradients.bvals > METHOD.b0_threshold
    return {
        "scan": f"b {fitted.series.gradients.bvals[weighted].mean():.0f} x {weighted.sum()}, "
        + " ".join(f"{size:g}" for size in fitted.fa.voxel_size),
        "seconds": time.process_time() - began,
        "status": found.status,
        "true": [truth[side] for side in HEMISPHERES],
        "found": [found.result.alps[side] for side in HEMISPHERES],
        "low": [found.result.interval[side].low for side in HEMISPHERES],
        "high": [found.result.interval[side].high for side in HEMISPHERES],
    }


def main() -> None:
    words = [*sys.argv[1:], "phantom"]
    number, seed = (int(words[n]) if len(words) > n + 1 else default for n, default in ((1, 32), (2, 79)))
    cases = (second_cases if words[0] == "second" else choose_phantoms)(number, seed=seed)
    print(f"{'scan':28s}{'true L, R':>14s}{'found':>14s}{'interval left':>16s}{'interval right':>16s}  status")
    rows = []
    for prepared, truth in cases:
        rows.append(measure_one(prepared, truth))
        print_row(rows[-1])
    print_summary("all", rows)
    print_summary("not failed", [row for row in rows if row["status"] != "fail"])


def print_summary(name: str, rows: list[dict[str, Any]]) -> None:
    true, found, low, high = (np.array([row[key] for row in rows]) for key in ("true", "found", "low", "high"))
    holds = (low <= true) & (true <= high)
    print(
        f"\n{name}: {holds[:, :2].mean():.1%} of {holds[:, :2].size} intervals of hemispheres contain the truth (aim 90 to 98 %); "
        f"bilateral: {holds[:, 2].mean():.1%} of {len(rows)}"
    )
    print(
        f"median width {np.median((high - low)[:, :2]):.3f} of a hemisphere, {np.median((high - low)[:, 2]):.3f} bilateral; "
        f"bias {np.mean((found - true)[:, 2]):.3f}, root mean square error {np.sqrt(np.mean((found - true)[:, 2] ** 2)):.3f} bilateral; "
        f"{np.median([row['seconds'] for row in rows]):.1f} CPU seconds"
    )


def print_row(row: dict[str, Any]) -> None:
    marks = [
        "" if low <= true <= high else "*" for low, true, high in zip(row["low"], row["true"], row["high"], strict=True)
    ]
    spans = [f"{low:.2f} to {high:.2f}{mark}" for low, high, mark in zip(row["low"], row["high"], marks, strict=True)]
    true, found = (" ".join(f"{value:.3f}" for value in row[key][:2]) for key in ("true", "found"))
    print(f"{row['scan']:28s}{true:>14s}{found:>14s}{spans[0]:>16s}{spans[1]:>16s}  {row['status']}", flush=True)


if __name__ == "__main__":
    main()
