"""Placement of the regions and pose in simulated heads with known transforms: error of each.

Twelve heads of the phantom (rotations up to 25 degrees, warps of 2 to 4 mm, four storage orders, oblique slices, scalp; half of
them at 3 mm or slabs); scans of the second phantom with normal and enlarged ventricles. With the argument
``second`` only these are run; a number limits the heads of each kind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "registration"))

from heads import ORDERS, Head, center_errors, make_head, pose_error
from second_heads import center_distances, enlarged_heads, make_case, measure_case, register, second_heads
from second_phantom import HeadChoices, ScanChoices

from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES


def draw_heads() -> list[Head]:
    random = np.random.default_rng(12)
    heads = []
    for n in range(12):
        coarse = n % 2 == 1
        heads.append(
            Head(
                angles=tuple(random.uniform(-25, 25, 3)),
                scales=tuple(random.uniform(0.86, 1.02, 3)),
                warp_mm=float(random.uniform(2, 4)),
                voxel_mm=3.0 if coarse else 2.0,
                order=list(ORDERS)[n % 4],
                oblique_degrees=float(random.choice([0, 8, 15])),
                slab_mm=84.0 if n % 4 == 3 else None,
                scalp=n % 3 == 0,
                seed=100 + n,
            )
        )
    return heads


def main() -> None:
    number = next((int(word) for word in sys.argv[1:] if word.isdigit()), None)
    if "second" not in sys.argv:
        place_maps(draw_heads()[:number])
    place_scans("ordinary", islice(second_heads(8, seed=71), number))
    place_scans("large ventricles", islice(enlarged_heads(seed=72), number))


def place_scans(name: str, heads: Iterable[tuple[HeadChoices, ScanChoices]]) -> None:
    """Print the placement error of the published centers in scans of the second phantom, and the checks."""
    print(f"\nsecond head, {name}: ventricles, centers mm, tract shift as the check has it, status")
    distances = []
    for head, scan in heads:
        case = make_case(head, scan)
        registration = register(case)
        distances.append(center_distances(case, registration))
        found = measure_case(case, registration, "alps-sphere")
        shift = next(check.value for check in found.checks if check.name == "registration_tract_shift")
        shown = " ".join(f"{distance:.1f}" for distance in distances[-1])
        print(
            f"{head.ventricles[0]:4.1f} {head.ventricles[1]:4.1f}   {shown}   {shift:+.2f}   {found.status}", flush=True
        )
    print(f"centers: median {np.median(distances):.2f}, largest {np.max(distances):.2f} mm")


def place_maps(heads: list[Head]) -> None:
    template = read_template()
    centers = read_preset("alps").centers
    print(
        f"{'head':>4s}{'pitch roll yaw':>18s}{'warp':>6s}{'voxel':>6s}{'order':>6s}{'tilt':>6s}{'slab':>6s}"
        f"{'scalp':>6s}"
        f"{'centers, mm (worst)':>21s}{'pose, deg':>10s}{'status':>8s}{'CPU s':>7s}"
    )
    errors, poses = [], []
    for n, head in enumerate(heads):
        subject, truth = make_head(head, template)
        began = time.process_time()
        found = ENGINES["staged"].make().register(subject, template)
        seconds = time.process_time() - began
        statuses = {check.status for check in check_registration(found, subject, template, centers)}
        status = next(word for word in ("fail", "warn", "pass") if word in statuses)
        errors.append(center_errors(found.transform, truth))
        poses.append(pose_error(found.transform, truth))
        angles = " ".join(f"{angle:.0f}" for angle in head.angles)
        print(
            f"{n + 1:4d}{angles:>18s}{head.warp_mm:6.1f}{head.voxel_mm:6.1f}{head.order:>6s}{head.oblique_degrees:6.0f}"
            f"{head.slab_mm or 0:6.0f}{'yes' if head.scalp else '':>6s}"
            f"{np.median(errors[-1]):14.2f} ({errors[-1].max():.2f})"
            f"{poses[-1]:10.2f}{status:>8s}{seconds:7.1f}",
            flush=True,
        )
    print(
        f"centers: median {np.median(errors):.2f}, largest {np.max(errors):.2f} mm (aim 1.0, 2.5); "
        f"pose: median {np.median(poses):.2f}, largest {np.max(poses):.2f} degrees (aim 0.7, 2)"
    )


if __name__ == "__main__":
    main()
