"""Atlas regions with known FA in simulated heads: error per region, laterality, and CPU time of 100 regions.

A simulated atlas of caudate, putamen, pallidum and thalamus on both sides. FA values are assigned by the true transform
and measured by the estimated one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "registration"))

from heads import Head, make_head

from bids_alps.io.templates import read_template
from bids_alps.model import SpatialMap
from bids_alps.numerics.index.atlas import measure_regions, place_labels
from bids_alps.registration.engines import ENGINES

NUCLEI = {
    "caudate": ((13, 10, 12), (5, 10, 8)),
    "putamen": ((26, 4, 2), (5, 13, 8)),
    "pallidum": ((17, -3, -1), (4, 7, 5)),
    "thalamus": ((11, -18, 8), (8, 12, 8)),
}
FA = {"caudate": (0.14, 0.17), "putamen": (0.20, 0.26), "pallidum": (0.34, 0.40), "thalamus": (0.30, 0.36)}
AROUND, NOISE_SD = 0.25, 0.03
HEADS = (
    Head(angles=(8.0, -4.0, 6.0), scales=(0.95, 0.97, 0.93), warp_mm=2.5, voxel_mm=2.0, order="RAS", seed=1),
    Head(angles=(-15.0, 6.0, 12.0), scales=(0.9, 0.94, 0.96), warp_mm=3.0, voxel_mm=2.0, order="LPS", seed=2),
    Head(angles=(12.0, 3.0, -9.0), scales=(0.98, 0.92, 0.95), warp_mm=2.5, voxel_mm=3.0, order="RAS", seed=3),
)


def make_atlas(grid: SpatialMap) -> tuple[SpatialMap, dict[int, tuple[str, float]]]:
    """Return labels in template space, and the name and FA of each."""
    points = grid.world(np.stack(np.indices(grid.shape), axis=-1))
    labels, known = np.zeros(grid.shape, dtype=np.int32), {}
    for name, (center, axes) in NUCLEI.items():
        for sign, side, fa in ((-1, "left", FA[name][0]), (1, "right", FA[name][1])):
            index = len(known) + 1
            inside = (((points - np.array(center) * [sign, 1, 1]) / np.array(axes)) ** 2).sum(-1) <= 1
            labels[inside & (labels == 0)] = index
            known[index] = (f"{side} {name}", fa)
    return grid.like(labels), known


def main() -> None:
    template = read_template()
    atlas, known = make_atlas(template.wm)
    print("head\tregion\tn_voxels\ttruth\tfa_mean\tfa_median\terror_true_alignment\terror_found_alignment")
    for n, head in enumerate(HEADS, start=1):
        subject, truth = make_head(head, template)
        found = ENGINES["staged"].make().register(subject, template).transform
        fa = np.full(subject.mask.shape, AROUND)
        placed = place_labels(atlas, truth, subject.mask)
        values = np.array([AROUND] + [value for _, value in known.values()])
        np.add.at(fa, tuple(placed.voxels.T), placed.weights * (values[placed.labels] - AROUND))
        fa += np.random.default_rng(n).normal(0, NOISE_SD, fa.shape)
        maps = {"fa": subject.mask.like(fa)}
        best = measure_regions(placed.above(0.5), known, maps)
        measured = measure_regions(place_labels(atlas, found, subject.mask).above(0.5), known, maps)
        for index, (name, value) in known.items():
            row = measured[index]
            print(
                f"{n}\t{name}\t{row['n_voxels']}\t{value:.2f}\t{row['fa_mean']:.3f}\t{row['fa_median']:.3f}"
                f"\t{best[index]['fa_mean'] - value:+.3f}\t{row['fa_mean'] - value:+.3f}",
                flush=True,
            )
        right = [measured[i + 1]["fa_mean"] > measured[i]["fa_mean"] for i in range(1, len(known), 2)]
        print(f"head {n}: right above left, as painted, in {sum(right)} of {len(right)} nuclei")
    time_hundred(*make_timed(template.wm))


def make_timed(grid: SpatialMap) -> tuple[SpatialMap, int]:
    """Return an atlas that fills the template with blocks: about 100 regions."""
    block = np.array(grid.shape) / (5, 5, 4)
    index = (np.stack(np.indices(grid.shape), axis=-1) // np.ceil(block)).astype(np.int32)
    labels = 1 + index[..., 0] + 5 * index[..., 1] + 25 * index[..., 2]
    return grid.like(labels), int(labels.max())


def time_hundred(labels: SpatialMap, regions: int) -> None:
    """Print CPU seconds for a whole-brain atlas at 2 mm with four measures and a nonlinear transform."""
    head = Head(angles=(5.0, 0.0, 3.0), scales=(1.0, 1.0, 1.0), warp_mm=2.5, voxel_mm=2.0, order="RAS", seed=4)
    subject, truth = make_head(head, read_template())
    began = time.process_time()
    placed = place_labels(labels, truth, subject.mask).above(0.5)
    measure_regions(placed, range(1, regions + 1), dict.fromkeys(("fa", "md", "ad", "rd"), subject.fa))
    seconds = time.process_time() - began
    print(f"{regions} regions, {int(subject.mask.data.sum())} voxels: {seconds:.1f} CPU s (aim 10)")


if __name__ == "__main__":
    main()
