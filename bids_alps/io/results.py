"""Results as rows of tables: the index, the regions and the quality checks of one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_alps.io.result_columns import ALPS_COLUMNS, ELEMENTS, QUALITY_COLUMNS, ROI_COLUMNS
from bids_alps.io.tables import write_table
from bids_alps.model import REGIONS, SIDES, AlpsResult, Check, RoiDiffusivity, Status

_OF_TRACTS = ("free_water", "mode", "lambda2_lambda3", "other_tissue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """Preset and acquisition of an index, repeated in every row; sizes in mm, b-values in s/mm^2."""

    roi_preset: str
    conventions: str
    roi_radius: float
    roi_semi_axes: str
    roi_source: str
    b_value: float
    n_directions: int
    n_b0: int
    echo_time: float | None
    frame: str = "cross-sectional"
    scanner: str | None = None
    field_strength: float | None = None
    voxel_size: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """Processing of an index, repeated in every row; None if done by another program."""

    settings_hash: str
    pose_correction: bool
    preprocessed: bool
    motion_corrected: bool | None
    distortion_corrected: bool | None
    distortion_method: str | None
    gradient_calibration: bool
    version: str


def alps_rows(
    result: AlpsResult, acquisition: Acquisition, processing: Processing, status: Status
) -> list[dict[str, Any]]:
    """Return the rows left, right and bilateral of the index table."""
    return [
        {
            "hemisphere": hemisphere,
            "alps": result.alps[hemisphere],
            "alps_uncorrected": result.alps_uncorrected[hemisphere],
            "alps_unreliable": result.alps_unreliable.get(hemisphere),
            **{f"alps_{name}": values[hemisphere] for name, values in result.alternatives.items()},
            "alps_water_corrected": result.alps_water_corrected.get(hemisphere, float("nan")),
            **_interval(result, hemisphere),
            **_components(result, hemisphere),
            **_lesions(result, hemisphere),
            "pitch": result.pose.pitch,
            "roll": result.pose.roll,
            "yaw": result.pose.yaw,
            "pose_se": result.pose.se_degrees,
            **{name: getattr(acquisition, name) for name in Acquisition.__slots__},
            **{name: getattr(processing, name) for name in Processing.__slots__},
            "status": status,
        }
        for hemisphere in (*SIDES, "bilateral")
    ]


def _interval(result: AlpsResult, hemisphere: str) -> dict[str, float]:
    interval = result.interval.get(hemisphere)
    if interval is None:
        return {}
    return {
        "alps_se": interval.se,
        "alps_ci_low": interval.low,
        "alps_ci_high": interval.high,
        "alps_se_noise": interval.se_noise,
        "alps_se_placement": interval.se_placement,
        "alps_se_pose": interval.se_pose,
        "alps_se_resolution": interval.se_resolution,
        "alps_se_calibration": interval.se_calibration,
        "alps_se_noise_floor": interval.se_noise_floor,
        "alps_se_regions": interval.se_regions,
    }


def _components(result: AlpsResult, hemisphere: str) -> dict[str, float]:
    sides = SIDES if hemisphere == "bilateral" else (hemisphere,)
    components = {}
    for region in REGIONS:
        rois = [result.roi(f"{region}_{side}") for side in sides]
        for element, n in ELEMENTS.items():
            components[f"{element}_{region}"] = _mean(float(roi.tensor[n]) for roi in rois)
        for scalar in ("fa", "md", "lesion_overlap", *(_OF_TRACTS if region != "subcortical" else ())):
            components[f"{scalar}_{region}"] = _mean(roi.scalars.get(scalar, float("nan")) for roi in rois)
    return components


def _lesions(result: AlpsResult, hemisphere: str) -> dict[str, Any]:
    effect = result.lesions
    if effect is None:
        return {}
    return {
        "alps_with_lesions": effect.alps_with[hemisphere],
        "alps_without_lesions": effect.alps_without[hemisphere],
        "lesion_volume": effect.volume_ml,
        "lesion_space": effect.space,
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def roi_rows(rois: Iterable[RoiDiffusivity], preset: str) -> list[dict[str, Any]]:
    """Return one row per region and side."""
    return [
        {
            "roi_preset": preset,
            "roi": roi.name,
            **roi.scalars,
            **{name: float(roi.tensor[n]) for name, n in ELEMENTS.items()},
            **{f"{name}_uncorrected": float(roi.tensor_uncorrected[n]) for name, n in ELEMENTS.items()},
        }
        for roi in rois
    ]


def quality_rows(checks: Iterable[Check], preset: str) -> list[dict[str, Any]]:
    """Return one row per check."""
    return [{"roi_preset": preset, **{name: getattr(check, name) for name in Check.__slots__}} for check in checks]


def write_results(paths: Mapping[str, Path], rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write the tables ``alps``, ``roi_stats`` and ``quality``, whichever are given, each with its dictionary.

    Those measured in midpoint space end in ``_longitudinal``.
    """
    columns = {"alps": ALPS_COLUMNS, "roi_stats": ROI_COLUMNS, "quality": QUALITY_COLUMNS}
    for key, table in rows.items():
        write_table(paths[key], table, columns[key.removesuffix("_longitudinal")])
