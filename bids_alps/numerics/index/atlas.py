"""Measures in atlas regions in native space, without resampling images of the subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, SpatialMap, SpatialTransform, sample_nearest

SENTENCE = (
    "FA, mean, axial and radial diffusivity were averaged over the regions of the atlas {atlas}, in voxels with a "
    "fraction of {threshold:g} or more in a region."
)
SUBDIVISIONS = 3
"""Points per voxel edge at which labels are sampled."""

_CHUNK = 20_000  # voxels per block: half a million points, about 40 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """Fraction of each voxel in each region.

    Parameters
    ----------
    voxels
        Voxel indices of (voxel, region) pairs, shape (n, 3).
    labels
        Index of the region of each pair, shape (n,).
    weights
        Fraction of the voxel in the region, or its probability, 0 to 1, shape (n,).
    """

    voxels: Array
    labels: Array
    weights: Array

    def above(self, threshold: float) -> Memberships:
        """Return the pairs with at least this weight."""
        above = self.weights >= threshold
        return Memberships(voxels=self.voxels[above], labels=self.labels[above], weights=self.weights[above])


def place_labels(labels: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> Memberships:
    """Map a label image of the template to a subject, as fractions of voxels in each region.

    Parameters
    ----------
    labels
        Integer labels in template space, 0 for background, shape (i, j, k).
    transform
        Transform from subject to template.
    mask
        Brain mask on the subject's grid; voxels outside are ignored.

    Returns
    -------
    Memberships
        Fractions from nearest-neighbor labels at `SUBDIVISIONS` points along each voxel edge.
    """
    inside = np.argwhere(np.asarray(mask.data, dtype=bool))
    step = int(labels.data.max()) + 1
    pairs, counts = [], []
    for start in range(0, len(inside), _CHUNK):
        voxels = inside[start : start + _CHUNK]
        points = transform.template_from_subject(mask.points_within(voxels, SUBDIVISIONS))
        nearest = sample_nearest(labels, points).astype(np.int64)
        # one integer per pair of voxel and label, so that np.unique counts the points of each pair
        numbers = (start + np.arange(len(voxels)))[:, None] * step + nearest
        unique, count = np.unique(numbers[nearest > 0], return_counts=True)
        pairs.append(unique)
        counts.append(count)
    pair = np.concatenate(pairs) if pairs else np.zeros(0, dtype=np.int64)
    weights = np.concatenate(counts) / SUBDIVISIONS**3 if counts else np.zeros(0)
    return Memberships(voxels=inside[pair // step], labels=pair % step, weights=weights)


def place_probabilities(probabilities: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> Memberships:
    """Map probability maps of the template to a subject, linearly interpolated at voxel centers.

    Parameters
    ----------
    probabilities
        One volume per region, 0 to 1, shape (i, j, k, n); the region of volume 0 has index 1.
    transform, mask
        As in `place_labels`.
    """
    from scipy.ndimage import map_coordinates  # imported here, since it is rarely needed

    inside = np.argwhere(np.asarray(mask.data, dtype=bool))
    where = probabilities.voxels(transform.template_from_subject(mask.world(inside))).T
    parts: list[Memberships] = []
    for n in range(probabilities.data.shape[3]):
        values = map_coordinates(probabilities.data[..., n], where, order=1, mode="constant", output=np.float64)
        touched = values > 0
        labels = np.full(int(touched.sum()), n + 1)
        parts.append(Memberships(voxels=inside[touched], labels=labels, weights=values[touched]))
    return Memberships(
        voxels=np.concatenate([part.voxels for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
    )


def measure_regions(
    placed: Memberships, indices: Iterable[int], maps: Mapping[str, SpatialMap]
) -> dict[int, dict[str, float]]:
    """Return the weighted mean, SD and median of maps in each region that has voxels.

    Parameters
    ----------
    placed
        Voxels of the regions, with weights.
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
        members = placed.labels == index
        if not members.any():
            continue
        where, weights = tuple(placed.voxels[members].T), placed.weights[members]
        values: dict[str, float] = {"n_voxels": int(members.sum())}
        for name, image in maps.items():
            summary = summarize(image.data[where].astype(np.float64), weights)
            values |= {f"{name}_{kind}": value for kind, value in summary.items()}
        measured[index] = values
    return measured


def summarize(values: Array, weights: Array) -> dict[str, float]:
    """Return the weighted mean, population SD and median of values, both arrays of shape (n,).

    Examples
    --------
    >>> {kind: float(value) for kind, value in summarize(np.array([1.0, 5.0]), np.array([3.0, 1.0])).items()}
    {'mean': 2.0, 'sd': 1.7320508075688772, 'median': 1.0}
    """
    mean = float(np.average(values, weights=weights))
    order = np.argsort(values, kind="stable")
    before = np.cumsum(weights[order])
    # where half of the weight is reached; exactly between two values, their mean
    low, high = (np.searchsorted(before, before[-1] / 2, side=side) for side in ("left", "right"))
    median = (values[order][low] + values[order][min(high, len(values) - 1)]) / 2
    return {
        "mean": mean,
        "sd": float(np.sqrt(np.average((values - mean) ** 2, weights=weights))),
        "median": float(median),
    }
