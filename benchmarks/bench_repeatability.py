"""Repeatability of the index: real scans of one head in several poses, storage orders and phase encodings.

Requires real scans in the folder ALPS_REAL_DATA. With the
word ``default`` the scans are not measured without preprocessing as well.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.alps_sh import measure_alps_sh
from bids_alps.stages.index import measure
from bids_alps.stages.prepare import prepare
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

METHOD = Method(keep_failed=True)
CALIBRATED = replace(METHOD, gradient_calibration=True)
WAYS = {
    "default": ("alps", METHOD),
    "without pose correction": ("alps", replace(METHOD, pose_correction=False)),
    "with gradient calibration": ("alps", CALIBRATED),
    "weights by tissue": ("alps", replace(METHOD, roi_weighting="tissue")),
    "spheres of 2.5 mm": ("alps-sphere", METHOD),
    "spheres, with calibration": ("alps-sphere", CALIBRATED),
    "spheres of 4 mm": ("alps", replace(METHOD, roi_radius=4.0)),
    "spheres of 5 mm": ("alps", replace(METHOD, roi_radius=5.0)),
    "alps.sh": ("alps.sh", METHOD),
    "alps.sh, 5 mm": ("alps.sh-5mm", METHOD),
}
SIDES = ("left", "right", "bilateral")


def main() -> None:
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        sys.exit("skipped: ALPS_REAL_DATA names no folder of real scans")
    for skip in (False,) if "default" in sys.argv else (False, True):
        print(f"\n{'Without preprocessing' if skip else 'With preprocessing (default)'}")
        found = {
            name: measure_dataset(Path(folder) / name, skip=skip)
            for name in ("canon_galan", "siemens_xa30", "siemens_prisma_sag")
        }
        print(
            f"{'six scans of one head (Canon)':32s}{'CV %, left':>12s}{'right':>8s}{'bilateral':>11s}{'mean':>8s}"
            f"{'AP-PA % (XA30)':>17s}{'AP-HF % (Prisma)':>18s}"
        )
        for way in WAYS:
            values = np.array(found["canon_galan"][way])
            cv = 100 * values.std(axis=0, ddof=1) / values.mean(axis=0)
            pairs = [relative(found[name][way]) for name in ("siemens_xa30", "siemens_prisma_sag")]
            print(
                f"{way:32s}{cv[0]:12.1f}{cv[1]:8.1f}{cv[2]:11.1f}{values[:, 2].mean():8.3f}"
                f"{pairs[0]:17.1f}{pairs[1]:18.1f}"
            )


def relative(values: list[list[float]]) -> float:
    """Return the difference of the bilateral index between two scans, percent of their mean."""
    one, other = (row[2] for row in values)
    return 200 * (one - other) / (one + other)


def measure_dataset(root: Path, *, skip: bool) -> dict[str, list[list[float]]]:
    """Return left, right and bilateral index of every run by way of measuring."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    template = read_template(METHOD.template)
    for run in find_runs(root, "01"):
        with tempfile.TemporaryDirectory() as scratch:
            prepared = prepare(run, replace(METHOD, skip_preprocessing=skip), Path(scratch))
        fits = {one: fit(prepared, one) for one in (METHOD, CALIBRATED)}
        registration = ENGINES[METHOD.registrar].make().register(subject_maps(fits[METHOD], run), template)
        pose = registration.pose
        for way, (name, method) in WAYS.items():
            preset = read_preset(name, template=METHOD.template, radius_mm=method.roi_radius)
            fitted = fits[CALIBRATED if method.gradient_calibration else METHOD]
            aligned = AlignedRun(fitted=fitted, registration=registration, method=method)
            if preset.conventions == "alps.sh":
                aligned = measure_alps_sh(prepared, aligned, (subject_maps(fits[METHOD], run), template))
            measured = measure(aligned, preset)
            found[way].append([measured.result.alps[side] for side in SIDES])
        checks = {check.name: check.value for check in measured.checks}
        print(
            f"{run.name:40s}default {found['default'][-1][2]:.3f}  pitch {pose.pitch:5.1f} roll {pose.roll:5.1f} "
            f"yaw {pose.yaw:5.1f}  spread of the weighting {checks['gradient_spread']:.1f} %",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
