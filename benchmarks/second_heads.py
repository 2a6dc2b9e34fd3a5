"""Scans of the second phantom, processed by the stages of the package: shared by benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from second_phantom import Head, HeadChoices, Scan, ScanChoices, acquire, make_head, true_index

from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import SIDES, Array, DwiRun, DwiSeries, Gradients, SpatialMap, Template
from bids_alps.registration.base import Registration
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import Measurement, measure
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

METHOD = Method(keep_failed=True)
NOWHERE = DwiRun(entities={"sub": "01"}, image=None, bval=None, bvec=None)


@cache
def the_template() -> Template:
    return read_template()


def second_heads(number: int, *, seed: int) -> Iterator[tuple[HeadChoices, ScanChoices]]:
    """Return ordinary heads and scans: any index from 1.05 to 2.05, 2 to 3 mm, 15 to 32 directions, SNR 18 to 30."""
    rng = np.random.default_rng(seed)
    for n in range(number):
        middle, apart = rng.uniform(1.05, 2.05), rng.uniform(-0.1, 0.1)
        yield (
            HeadChoices(
                seed=seed * 1000 + n,
                index=(middle + apart, middle - apart),
                scale=float(rng.uniform(0.86, 0.98)),
                smooth_rms=float(rng.uniform(2, 4)),
                other_along_x=n % 3 == 1,
            ),
            ScanChoices(
                seed=n,
                voxel=((2.0, 2.0, 2.0), (2.5, 2.5, 2.5), (3.0, 3.0, 3.0))[n % 3],
                shells=((1000.0, (15, 20, 32)[n % 3]),),
                b0=(1, 2, 3)[n % 3],
                snr=float(rng.uniform(18, 30)),
                tilt=float(rng.choice([0.0, 0.0, 12.0])),
                per_edge=2,
            ),
        )


def enlarged_heads(*, seed: int) -> Iterator[tuple[HeadChoices, ScanChoices]]:
    """Return heads with large ventricles on one side or both, some with a thin cortex."""
    ratios = [(1.5, 1.5), (2.0, 2.0), (3.0, 3.0), (3.0, 1.0), (1.0, 2.5), (3.0, 2.0)]
    for n, ((head, scan), ratio) in enumerate(zip(second_heads(len(ratios), seed=seed), ratios, strict=True)):
        yield replace(head, ventricles=ratio, atrophy=(0.0, 2.0, 3.0)[n % 3], reach=(13.0, 18.0)[n % 2]), scan


def hard_heads(number: int, *, seed: int) -> Iterator[tuple[HeadChoices, ScanChoices]]:
    """Return difficult cases: tracts that end, wavering fibers, thick slices, six directions, high b, ventricles."""
    changes: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"ends": True}, {}),
        ({"waver": 12.0}, {"voxel": (2.0, 2.0, 5.0)}),
        ({}, {"shells": ((1000.0, 6),), "b0": 1}),
        ({"ventricles": (2.0, 2.5), "atrophy": 2.0}, {}),
        ({"border_sd": 1.5}, {"shells": ((2000.0, 30),), "snr": 18.0}),
        ({"lesion": 0.4}, {"noise_growth": 1.0}),
    ]
    for n, (head, scan) in enumerate(second_heads(number, seed=seed)):
        of_head, of_scan = changes[n % len(changes)]
        yield replace(head, **of_head), replace(scan, **of_scan)


@dataclass(frozen=True)
class Case:
    """A scan of a head, its index as measured by an ideal scanner, and the true positions of its regions."""

    head: Head
    scan: Scan
    truth: dict[str, float]
    prepared: PreparedSeries


def make_case(head_choices: HeadChoices, scan_choices: ScanChoices) -> Case:
    head = make_head(head_choices)
    scan = acquire(head, scan_choices)
    series = DwiSeries(
        image=SpatialMap(data=scan.data, affine=scan.affine), gradients=Gradients(bvals=scan.bvals, bvecs=scan.bvecs)
    )
    mask = find_mask(series, b0_threshold=METHOD.b0_threshold)
    prepared = PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series))
    return Case(head=head, scan=scan, truth=true_index(head, scan_choices), prepared=prepared)


def register(case: Case, engine: str = "staged") -> Registration:
    return ENGINES[engine].make().register(subject_maps(fit(case.prepared, METHOD), NOWHERE), the_template())


def measure_case(case: Case, registration: Registration, preset: str = "alps", **method: object) -> Measurement:
    """Process a case with the package; `method` changes settings."""
    chosen = replace(METHOD, **method)
    fitted = fit(case.prepared, chosen)
    regions = read_preset(preset, template=the_template().name)
    maps = subject_maps(fitted, NOWHERE), the_template()
    checks = check_registration(registration, *maps, regions.centers)
    aligned = AlignedRun(fitted=fitted, registration=registration, method=chosen, checks=checks)
    return measure(aligned, regions)


def center_distances(case: Case, registration: Registration) -> Array:
    """Return the placement error of the published centers, mm, shape (4,)."""
    centers = read_preset("alps-sphere").centers
    placed = registration.transform.subject_from_template
    return np.array(
        [np.linalg.norm(placed(np.array([centers[name]]))[0] - true) for name, true in case.head.centers().items()]
    )


def missed_by(found: Measurement, truth: dict[str, float]) -> float:
    """Return by how much an interval misses the true index in the worse hemisphere; 0 if both contain it."""
    misses = []
    for side in SIDES:
        interval = found.result.interval.get(side)
        if interval is not None:
            misses.append(max(interval.low - truth[side], truth[side] - interval.high, 0.0))
    return max(misses, default=float("nan"))
