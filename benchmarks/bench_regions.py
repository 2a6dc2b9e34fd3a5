"""Candidate regions compared: sensitivity to true differences, bias and repeatability of the index.

Slope, bias and root mean square error of hemispheres' indices against the truth, over heads of both simulations; and
the coefficient of variation of the bilateral index over scans of one real head (folder `ALPS_REAL_DATA`). A constant index
repeats perfectly: signal to noise is the SD of healthy adults (0.245, Park 2023) times the slope, over the SD
of repeats.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bench_coverage import choose_phantoms
from second_heads import METHOD, NOWHERE, make_case, second_heads, the_template

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.model import SIDES, Ellipsoid, RoiPreset
from bids_alps.numerics.index.alps import alps_by_hemisphere, mean_tensor
from bids_alps.numerics.index.rois import place_preset
from bids_alps.numerics.tensors.tensor import rotate_elements
from bids_alps.registration.base import Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.stages.prepare import prepare
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import TensorFit, fit

SPREAD_OF_ADULTS = 0.245
HEADS = 12
SPHERES, TRACTS = read_preset("alps-sphere"), read_preset("alps")


def of_shapes(preset: RoiPreset, **shapes: Ellipsoid) -> RoiPreset:
    return replace(preset, shapes={**preset.shapes, **shapes})


def ellipsoid(x: float, y: float, z: float, lean: float = 0.0) -> Ellipsoid:
    return Ellipsoid(semi_axes_mm=(x, y, z), lean=lean)


PROJECTION = ellipsoid(2, 6, 4)
CANDIDATES = {
    "sphere 2.5 (published)": SPHERES,
    "sphere 4": SPHERES.with_radius(4.0),
    "both 2.5 x 8 x 5": of_shapes(SPHERES, projection=ellipsoid(2.5, 8, 5), association=ellipsoid(2.5, 8, 5)),
    "both 2.5 x 8 x 3": of_shapes(SPHERES, projection=ellipsoid(2.5, 8, 3), association=ellipsoid(2.5, 8, 3)),
    "2 x 6 x 4, 3 x 8 x 3": of_shapes(SPHERES, projection=PROJECTION, association=ellipsoid(3, 8, 3)),
    "2 x 6 x 4, 3 x 8 x 3 leaning": of_shapes(SPHERES, projection=PROJECTION, association=ellipsoid(3, 8, 3, 0.25)),
    "the same on the tract (alps)": TRACTS,
    "2 x 6 x 4, 2.5 x 8 x 2.5 on it": of_shapes(TRACTS, association=ellipsoid(2.5, 8, 2.5, 0.25)),
}


@dataclass(frozen=True)
class Scan:
    """One registered scan: its group, and the true index by side if known."""

    group: str
    fitted: TensorFit
    registration: Registration
    truth: tuple[float, float] | None = None


def indices_of(scan: Scan) -> np.ndarray:
    """Return the index of each candidate, left and right, shape (candidates, 2)."""
    transform, field = scan.registration.transform, scan.fitted.field
    rows = []
    for preset in CANDIDATES.values():
        rois = place_preset(preset, transform, field.image.like(field.mask))
        means = {roi.name: rotate_elements(mean_tensor(field, roi), transform.rotation) for roi in rois}
        found = alps_by_hemisphere(means)
        rows.append([float(found[side]) for side in SIDES])
    return np.array(rows)


def print_table(scans: Iterable[Scan]) -> None:
    found: dict[str, list[np.ndarray]] = {}
    truths: dict[str, list[tuple[float, float]]] = {}
    for scan in scans:
        found.setdefault(scan.group, []).append(indices_of(scan))
        if scan.truth is not None:
            truths.setdefault(scan.group, []).append(scan.truth)
    real = [group for group in found if group not in truths]
    titles = "".join(f"{group + ': slope, bias, rms':>32s}" for group in truths)
    print(
        f"{'regions (projection, association)':34s}{titles}"
        + "".join(f"{group + ' CV %':>16s}" for group in real)
        + f"{'S/N':>6s}{'mean':>7s}"
    )
    for n, name in enumerate(CANDIDATES):
        line, slopes = f"{name:34s}", []
        for group, true in truths.items():
            x, y = np.ravel(true), np.array(found[group])[:, n].ravel()
            slopes.append(np.polyfit(x, y, 1)[0])
            line += f"{slopes[-1]:18.2f}{np.mean(y - x):+7.3f}{np.sqrt(np.mean((y - x) ** 2)):7.3f}"
        repeats = [np.array(found[group])[:, n].mean(axis=1) for group in real]
        line += "".join(f"{100 * one.std(ddof=1) / one.mean():16.1f}" for one in repeats)
        if repeats and slopes:
            noise = np.sqrt(
                sum(((one - one.mean()) ** 2).sum() for one in repeats) / sum(len(one) - 1 for one in repeats)
            )
            line += f"{SPREAD_OF_ADULTS * np.mean(slopes) / noise:6.1f}{np.mean([one.mean() for one in repeats]):7.2f}"
        print(line, flush=True)


def simulated_scans() -> Iterable[Scan]:
    for head, scan in second_heads(HEADS, seed=61):
        case = make_case(head, scan)
        yield aligned("second head", fit(case.prepared, METHOD), (case.truth["left"], case.truth["right"]))
    for prepared, truth in choose_phantoms(HEADS, seed=61):
        yield aligned("phantom", fit(prepared, METHOD), (truth["left"], truth["right"]))


def real_scans(folder: Path) -> Iterable[Scan]:
    for name in ("canon_galan", "siemens_xa30", "siemens_prisma_sag"):
        for run in find_runs(folder / name, "01"):
            with tempfile.TemporaryDirectory() as scratch:
                yield aligned(name, fit(prepare(run, METHOD, Path(scratch)), METHOD))


def aligned(group: str, fitted: TensorFit, truth: tuple[float, float] | None = None) -> Scan:
    registration = ENGINES[METHOD.registrar].make().register(subject_maps(fitted, NOWHERE), the_template())
    return Scan(group=group, fitted=fitted, registration=registration, truth=truth)


def main() -> None:
    scans = list(simulated_scans())
    if "ALPS_REAL_DATA" in os.environ:
        scans += real_scans(Path(os.environ["ALPS_REAL_DATA"]))
    else:
        print("skipped: real scans (ALPS_REAL_DATA is not set)")
    print_table(scans)


if __name__ == "__main__":
    main()
