"""Sessions of one head: is the index more repeatable, and as accurate, when all are measured in one frame?

Eight heads of known index, three poses each: undistorted, and with uncorrected susceptibility distortion of up to
8 mm. Regions at their true position show the effect of noise and voxels alone. Then six real scans of one head in several
poses, storage orders and phase encodings (folder ALPS_REAL_DATA), where placement is compared with the registration of the
sessions to each other.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun, DwiSeries, SpatialTransform
from bids_alps.numerics.index.change import measure_change, measure_sensitivity
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import make_subject
from bids_alps.registration.base import Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.within_subject import average_maps, find_midpoint, transfer_registration, within_error
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import Measurement, measure
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import PreparedSeries, prepare
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import TensorFit, fit
from bids_alps.stages.uncertainty import blurred_means, prepare_means

METHOD = Method()
HEADS, POSES = 8, 3
SIDES = ("left", "right", "bilateral")
STRAIGHT = PhantomSettings(seed=11, voxel_size=2.5, directions=20, b0=2, snr=25, rotation=12, group_effect=True)
MADE = {"made heads": STRAIGHT, "made heads, bent by 8 mm": replace(STRAIGHT, susceptibility=8.0)}
PRESET = read_preset("alps")
USED = np.array([center for name, center in PRESET.centers.items() if not name.startswith("subcortical")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Results of one head: index by method, scan and side; standard errors of changes; positions of regions, mm."""

    found: dict[str, list[list[float]]]
    changes: list[tuple[float, float, float]]
    apart: dict[str, float]
    true: list[float]


def measure_head(scans: list[tuple[TensorFit, DwiRun]], truths: list[SpatialTransform], true: list[float]) -> Head:
    """Measure the scans of one head separately, in one frame, and at the true position of the regions if known."""
    template, engine = read_template(), ENGINES[METHOD.registrar].make()
    maps = [subject_maps(fitted, run) for fitted, run in scans]
    alone = [engine.register(one, template) for one in maps]
    midpoint = find_midpoint(maps, [way.transform for way in alone], template)
    frame = engine.register(average_maps(maps, midpoint), template)
    edges = [float(np.prod(one.mask.voxel_size)) ** (1 / 3) for one in maps]
    carried = [
        transfer_registration(frame, way, edge) for way, edge in zip(midpoint.frame_from_scan, edges, strict=True)
    ]
    ways = {"separately": alone, "in one frame": carried}
    if truths:
        ways["at the true position"] = [replace(way, transform=truth) for way, truth in zip(alone, truths, strict=True)]
    found = {
        name: [
            measure(AlignedRun(fitted=fitted, registration=way, method=METHOD), PRESET)
            for (fitted, _), way in zip(scans, given, strict=True)
        ]
        for name, given in ways.items()
    }
    head_from_scan = [truth.rigid for truth in truths] or list(midpoint.frame_from_scan)
    return Head(
        found={
            name: [[one.result.alps[side] for side in SIDES] for one in measured] for name, measured in found.items()
        },
        changes=find_changes([fitted for fitted, _ in scans], found, carried, frame),
        apart={
            name: spread_of_places(given, head_from_scan) for name, given in ways.items() if truths or given is alone
        },
        true=true,
    )


def find_changes(
    fits: list[TensorFit], found: dict[str, list[Measurement]], carried: list[Registration], frame: Registration
) -> list[tuple[float, float, float]]:
    """Return for each pair the bilateral change, its standard error, and that of two independent indices."""
    sensitivities = []
    for fitted, one, way in zip(fits, found["in one frame"], carried, strict=True):
        own = within_error(float(np.prod(fitted.fa.voxel_size)) ** (1 / 3))
        errors = (frame.placement_se_mm, frame.pose.se_degrees), own
        means = prepare_means(aligned := AlignedRun(fitted=fitted, registration=way, method=METHOD), PRESET)
        blurred = blurred_means(aligned, one.rois)
        sensitivities.append(measure_sensitivity(one.result.interval, means, errors, blurred, seed=METHOD.random_seed))
    changes = []
    for i, j in combinations(range(len(fits)), 2):
        change = measure_change(sensitivities[i], sensitivities[j], "bilateral")
        alone = [found["separately"][n].result.interval["bilateral"].se for n in (i, j)]
        changes.append((change.difference, change.se, float(np.hypot(*alone))))
    return changes


def spread_of_places(ways: list[Registration], head_from_scan: list[np.ndarray]) -> float:
    """Return the root-mean-square distance of regions from their mean position in the head over scans, mm."""
    places = []
    for way, matrix in zip(ways, head_from_scan, strict=True):
        points = way.transform.subject_from_template(USED)
        places.append(points @ matrix[:3, :3].T + matrix[:3, 3])
    return float(np.sqrt(((np.array(places) - np.mean(places, axis=0)) ** 2).sum(-1).mean()))


def make_scan(settings: PhantomSettings, seed: int, pose: int) -> tuple[TensorFit, SpatialTransform, list[float]]:
    phantom = make_subject(settings, seed, group="patient" if seed % 2 else "control", scan=pose)
    series = DwiSeries(image=phantom.image, gradients=phantom.gradients)
    mask = find_mask(series, b0_threshold=METHOD.b0_threshold)
    fitted = fit(PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series)), METHOD)
    return fitted, phantom.truth.transform, [phantom.truth.alps[side] for side in SIDES]


def measure_made(settings: PhantomSettings, seed: int) -> Head:
    nowhere = DwiRun(entities={"sub": "01"}, image=None, bval=None, bvec=None)
    scans = [make_scan(settings, seed, pose) for pose in range(POSES)]
    return measure_head([(fitted, nowhere) for fitted, _, _ in scans], [truth for _, truth, _ in scans], scans[0][2])


def measure_real(folder: Path) -> Head:
    scans = []
    for run in find_runs(folder, "01"):
        with tempfile.TemporaryDirectory() as scratch:
            scans.append((fit(prepare(run, METHOD, Path(scratch)), METHOD), run))
    return measure_head(scans, [], [float("nan")] * len(SIDES))


def print_table(title: str, heads: list[Head]) -> None:
    print(
        f"\n{title:34s}{'within-subject SD: left':>24s}{'right':>8s}{'bilateral':>11s}{'bias':>8s}{'rmse':>7s}{'apart, mm':>11s}"
    )
    for way in heads[0].found:
        values = np.array([head.found[way] for head in heads])
        sd = np.sqrt(values.var(axis=1, ddof=1).mean(axis=0))
        error = (values - np.array([head.true for head in heads])[:, None])[..., 2]
        apart = np.sqrt(np.mean([head.apart.get(way, np.nan) ** 2 for head in heads]))
        print(
            f"{way:34s}{sd[0]:24.4f}{sd[1]:8.4f}{sd[2]:11.4f}{error.mean():8.3f}{np.sqrt((error**2).mean()):7.3f}{apart:11.2f}"
        )
    change, se, loose = np.array([one for head in heads for one in head.changes]).T
    holds = (np.abs(change) < 1.96 * se).mean()
    print(
        f"change of the bilateral index: SD {np.sqrt((change**2).mean()):.4f}, standard error {np.median(se):.4f} "
        f"({np.median(loose):.4f} for independent sessions); {holds:.0%} of {len(change)} intervals contain no change",
        flush=True,
    )


def main() -> None:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    heads = int(sys.argv[1]) if len(sys.argv) > 1 else HEADS
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for title, settings in MADE.items():
            print_table(f"{title} ({heads} x {POSES})", list(pool.map(partial(measure_made, settings), range(heads))))
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        print("\nreal scans skipped: ALPS_REAL_DATA names no folder")
        return
    print_table("real scans (Canon, 1 x 6)", [measure_real(Path(folder) / "canon_galan")])


if __name__ == "__main__":
    main()
