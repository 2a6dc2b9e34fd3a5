"""Anatomy of the phantom in template space: tissue fractions, and tensors in white matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from bids_alps.io.templates import read_template
from bids_alps.model import REGIONS, SIDES, Array, SpatialMap, sample_linear

Diagonal = tuple[float, float, float]

PARK_2023: Mapping[str, Mapping[str, tuple[Diagonal, Diagonal]]] = {
    "control": {
        "projection": ((0.629e-3, 0.422e-3, 1.112e-3), (0.066e-3, 0.074e-3, 0.092e-3)),
        "association": ((0.636e-3, 1.114e-3, 0.381e-3), (0.097e-3, 0.134e-3, 0.089e-3)),
        "subcortical": ((1.013e-3, 0.654e-3, 0.598e-3), (0.134e-3, 0.122e-3, 0.131e-3)),
    },
    "patient": {
        "projection": ((0.610e-3, 0.467e-3, 1.112e-3), (0.081e-3, 0.094e-3, 0.096e-3)),
        "association": ((0.627e-3, 1.159e-3, 0.384e-3), (0.095e-3, 0.130e-3, 0.083e-3)),
        "subcortical": ((0.997e-3, 0.648e-3, 0.627e-3), (0.144e-3, 0.144e-3, 0.133e-3)),
    },
}
"""Mean and SD of Dxx, Dyy, Dzz, mm^2/s: Park 2023, Table 2, doi 10.1093/sleep/zsad239."""

CALLOSUM: Diagonal = (1.40e-3, 0.45e-3, 0.45e-3)
BANDS = {"projection": (20.0, 32.0), "association": (32.0, 46.0), "subcortical": (46.0, 80.0)}
"""Range of the fibers of each region, as distance from the midline, mm; medial to them is the corpus callosum."""

CROSSING_MM = 1.0
"""Width of the transition between adjacent bands."""

PURE_WM = 0.8
"""White matter probability of the template that counts as pure white matter: deep tracts have no gray matter."""

FANNED_OUT = 0.5
"""White matter fraction below which fibers fan out in all directions, as towards the cortex."""

GM_MD, CSF_MD, SCALP_MD = 0.85e-3, 3.0e-3, 1.0e-3
S0 = {"wm": 0.70, "gm": 0.85, "csf": 1.8, "scalp": 0.45}
"""b=0 signal: T2 contrast."""
GRADIENT_ECHO = {"wm": 0.75, "gm": 0.85, "csf": 0.60, "scalp": 0.95}
"""Signal of a gradient echo with short echo time and flip angle 60 degrees: fat is bright, fluid dark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Diffusivities of one subject.

    Parameters
    ----------
    diagonals
        Dxx, Dyy, Dzz in template axes by region and side (``projection_left`` ...), mm^2/s.
    scalp
        Whether to include a scalp.
    """

    diagonals: Mapping[str, Diagonal]
    scalp: bool = True

    def tissue(self, points: Array) -> dict[str, Array]:
        """Return the fractions of ``wm``, ``gm``, ``csf`` and ``scalp`` at template points, shape (n, 3), mm."""
        fractions = {name: np.asarray(sample_linear(image, points)) for name, image in tissue_maps().items()}
        if not self.scalp:
            fractions["scalp"] = np.zeros_like(fractions["scalp"])
        return fractions

    def tensors(self, points: Array, white: Array) -> Array:
        """Return the diagonal of the white matter tensor in template axes, shape (n, 3), mm^2/s.

        Parameters
        ----------
        points
            Template points, shape (n, 3), mm.
        white
            White matter fraction, shape (n,); fibers fan out where it is mixed with other tissue.
        """
        distance, left = np.abs(points[:, 0]), points[:, 0] < 0
        edges = [BANDS[region][0] for region in REGIONS]
        # smooth steps at the edges of the bands; their differences are the fractions of callosum and of each region
        steps = [1 / (1 + np.exp(-(distance - edge) / (CROSSING_MM / 2))) for edge in edges]
        fractions = [1 - steps[0], steps[0] - steps[1], steps[1] - steps[2], steps[2]]
        by_region = [
            np.where(left[:, None], self.diagonals[f"{region}_left"], self.diagonals[f"{region}_right"])
            for region in REGIONS
        ]
        diagonals = [np.broadcast_to(CALLOSUM, points.shape), *by_region]
        mixed: Array = sum(
            fraction[:, None] * diagonal for fraction, diagonal in zip(fractions, diagonals, strict=True)
        )
        # fanned-out fibers are isotropic on average: the mean of the diagonal
        aligned = np.clip((white - FANNED_OUT) / (1 - FANNED_OUT), 0, 1)[:, None]
        return aligned * mixed + (1 - aligned) * mixed.mean(axis=1, keepdims=True)


@cache
def tissue_maps() -> dict[str, SpatialMap]:
    """Return tissue fractions of the template, 0 to 1, zero outside; their sum is at most 1."""
    template = read_template()
    inside = ndimage.binary_fill_holes(template.mask.data)
    wm, gm = template.wm.data * inside, template.gm.data * inside
    wm = np.minimum(wm / PURE_WM, 1).astype(np.float32)
    gm = np.minimum(gm, 1 - wm).astype(np.float32)
    csf = (inside - wm - gm).astype(np.float32)
    distance = ndimage.distance_transform_edt(~inside)
    rim = ((distance > 0) & (distance <= 3)).astype(np.float32)  # CSF between brain and skull
    scalp = ((distance > 8) & (distance <= 13)).astype(np.float32)
    maps = {"wm": wm, "gm": gm, "csf": csf + rim, "scalp": scalp}
    return {name: template.t1w.like(data) for name, data in maps.items()}


def draw_diagonals(group: str, rng: np.random.Generator | None = None) -> dict[str, Diagonal]:
    """Return the diffusivities of a subject by region and side; with `rng` they vary as in the group.

    Parameters
    ----------
    group
        ``control`` or ``patient``.
    rng
        Draws the deviation of the subject from the mean, equal on both sides except for a tenth.
    """
    diagonals: dict[str, Diagonal] = {}
    for region in REGIONS:
        mean, sd = (np.array(row) for row in PARK_2023[group][region])
        common = np.zeros(3) if rng is None else rng.normal(size=3)
        for side in SIDES:
            own = np.zeros(3) if rng is None else 0.1 * rng.normal(size=3)
            x, y, z = mean + sd * np.clip(common + own, -2, 2) * 0.7
            diagonals[f"{region}_{side}"] = (float(x), float(y), float(z))
    return diagonals


def true_index(diagonals: Mapping[str, Diagonal]) -> dict[str, float]:
    """Return the index left, right and bilateral for given diffusivities."""
    sides: dict[str, float] = {
        side: (diagonals[f"projection_{side}"][0] + diagonals[f"association_{side}"][0])
        / (diagonals[f"projection_{side}"][1] + diagonals[f"association_{side}"][2])
        for side in SIDES
    }
    return {**sides, "bilateral": (sides["left"] + sides["right"]) / 2}
