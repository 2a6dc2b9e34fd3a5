"""Measures of the regions of an atlas, where the subject was scanned: no image of the subject is resampled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, SpatialMap, SpatialTransform, sample_nearest

SENTENCE = (
    "FA, mean, axial and radial diffusivity were averaged over the regions of the atlas {atlas}, in voxels of which "
    "{threshold:g} or more belongs to a region."
)
SUBDIVISIONS = 3
"""Points per voxel edge at which labels are sampled."""

_CHUNK = 20_000  # voxels at a time: half a million points, some 40 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """How much of each voxel belongs to each region.

    Parameters
    ----------
    voxels
        Voxel indices of pairs of a voxel and a region, shape (n, 3).
    labels
        Index of the region of each pair, shape (n,).
    weights
        Fraction of the voxel in the region, or its probability, 0 to 1, shape (n,).
    """

    voxels: Array
    labels: Array
    weights: Array

    def above(self, threshold: float) -> Memberships:
        """Return those with at least this weight."""
        kept = self.weights >= threshold
        return Memberships(voxels=self.voxels[kept], labels=self.labels[kept], weights=self.weights[kept])


def place_labels(labels: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> Memberships:
    """Carry a label image of the template to a subject, with the fraction of each voxel in each region.

    Parameters
    ----------
    labels
        Whole numbers in the template's space, 0 for none, shape (i, j, k).
    transform
        Subject to template.
    mask
        Brain mask on the subject's grid; voxels outside do not count.

    Returns
    -------
    Memberships
        From the nearest label at `SUBDIVISIONS` points along each edge of a voxel.
    """
    inside = np.argwhere(np.asarray(mask.data, dtype=bool))
    step = int(labels.data.max()) + 1
    pairs, counts = [], []
    for start in range(0, len(inside), _CHUNK):
        voxels = inside[start : start + _CHUNK]
        points = transform.template_from_subject(mask.points_within(voxels, SUBDIVISIONS))
        found = sample_nearest(labels, points).astype(np.int64)
        numbers = (start + np.arange(len(voxels)))[:, None] * step + found
        unique, count = np.unique(numbers[found > 0], return_counts=True)
        pairs.append(unique)
        counts.append(count)
    pair = np.concatenate(pairs) if pairs else np.zeros(0, dtype=np.int64)
    weights = np.concatenate(counts) / SUBDIVISIONS**3 if counts else np.zeros(0)
    return Memberships(voxels=inside[pair // step], labels=pair % step, weights=weights)


def place_probabilities(probabilities: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> Memberships:
    """Carry probabilities of the template to a subject, linearly interpolated at the centre of each voxel.

    Parameters
    ----------
    probabilities
        One volume a region, 0 to 1, shape (i, j, k, n); the region of volume 0 has index 1.
    transform, mask
        As in `place_labels`.
    """
    from scipy.ndimage import map_coordinates  # here, since most runs never need it

    inside = np.argwhere(np.asarray(mask.data, dtype=bool))
    where = probabilities.voxels(transform.template_from_subject(mask.world(inside))).T
    found: list[Memberships] = []
    for n in range(probabilities.data.shape[3]):
        values = map_coordinates(probabilities.data[..., n], where, order=1, mode="constant", output=np.float64)
        touched = values > 0
        labels = np.full(int(touched.sum()), n + 1)
        found.append(Memberships(voxels=inside[touched], labels=labels, weights=values[touched]))
    return Memberships(
        voxels=np.concatenate([one.voxels for one in found]),
        labels=np.concatenate([one.labels for one in found]),
        weights=np.concatenate([one.weights for one in found]),
    )


def measure_regions(
    placed: Memberships, indices: Iterable[int], maps: Mapping[str, SpatialMap]
) -> dict[int, dict[str, float]]:
    """Return the weighted mean, SD and median of maps in each region that has a voxel.

    Parameters
    ----------
    placed
        Which voxels count, and how much.
    indices
        Regions to measure.
    maps
        Measures by name, on the subject's grid.

    Returns
    -------
    dict
        By region: ``n_voxels``, and ``<name>_mean``, ``<name>_sd``, ``<name>_median`` in the unit of the map.
    """
    measured = {}
    for index in indices:
        own = placed.labels == index
        if not own.any():
            continue
        where, weights = tuple(placed.voxels[own].T), placed.weights[own]
        values: dict[str, float] = {"n_voxels": int(own.sum())}
        for name, image in maps.items():
            summary = summarise(image.data[where].astype(np.float64), weights)
            values |= {f"{name}_{kind}": value for kind, value in summary.items()}
        measured[index] = values
    return measured


def summarise(values: Array, weights: Array) -> dict[str, float]:
    """Return the weighted mean, SD (of the population) and median of values, both arrays of shape (n,).

    Examples
    --------
    >>> {kind: float(value) for kind, value in summarise(np.array([1.0, 5.0]), np.array([3.0, 1.0])).items()}
    {'mean': 2.0, 'sd': 1.7320508075688772, 'median': 1.0}
    """
    mean = float(np.average(values, weights=weights))
    order = np.argsort(values, kind="stable")
    before = np.cumsum(weights[order])
    low, high = (np.searchsorted(before, before[-1] / 2, side=side) for side in ("left", "right"))
    median = (values[order][low] + values[order][min(high, len(values) - 1)]) / 2
    return {
        "mean": mean,
        "sd": float(np.sqrt(np.average((values - mean) ** 2, weights=weights))),
        "median": float(median),
    }
