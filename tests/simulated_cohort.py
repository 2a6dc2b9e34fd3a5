"""Made cohorts as the participant level leaves them: tables of runs, participants.tsv, no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.io.result_columns import ALPS_COLUMNS, QUALITY_COLUMNS, ROI_COLUMNS
from bids_alps.io.tables import Column, fill_rows, write_table
from bids_alps.io.writing import write_json
from bids_alps.model import REGIONS, SIDES
from bids_alps.provenance import RECEIPT_END

PARK = {  # Park 2023, Table 2: mean and SD of 51 controls and of 69 patients, 1e-3 mm^2/s
    "alps_bilateral": (1.601, 0.245, 1.481, 0.241),
    "dxx_projection": (0.629, 0.066, 0.610, 0.081),
    "dyy_projection": (0.422, 0.074, 0.467, 0.094),
    "dzz_projection": (1.112, 0.092, 1.112, 0.096),
    "dxx_association": (0.636, 0.097, 0.627, 0.095),
    "dyy_association": (1.114, 0.134, 1.159, 0.130),
    "dzz_association": (0.381, 0.089, 0.384, 0.083),
    "dxx_subcortical": (1.013, 0.134, 0.997, 0.144),
    "dyy_subcortical": (0.654, 0.122, 0.648, 0.144),
    "dzz_subcortical": (0.598, 0.131, 0.627, 0.133),
}
MADE = {  # how a run was measured
    "settings_hash": "1a2b3c4d",
    "pose_correction": "true",
    "preprocessed": "false",
    "motion_corrected": "true",
    "distortion_corrected": "true",
    "gradient_calibration": "true",
    "version": "0.1.0",
}
_REGION = {"projection": (0.62e-3, 0.44e-3, 1.11e-3), "association": (0.63e-3, 1.13e-3, 0.38e-3)}


def sample(rng: np.random.Generator, n: int, mean: float, sd: float) -> Any:
    """Return n values of exactly that mean and SD."""
    values = rng.normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def write_run(
    out: Path,
    names: Mapping[str, str],
    index: float | Mapping[str, float],
    *,
    status: str = "pass",
    more: Mapping[str, Any] | None = None,
    presets: Sequence[str] = ("alps",),
    checks: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
) -> None:
    """Write the three tables of a run, and its receipt.

    Parameters
    ----------
    out
        Root of the derivatives.
    names
        Entities of the run: ``sub``, ``ses``, ``run`` ...
    index
        Bilateral index, or that of each preset.
    status, more
        Status of the run, and further columns of the index table.
    presets
        Presets, each with its own rows.
    checks
        Rows of the quality table.
    seed
        Seed of the random values.
    """
    rng = np.random.default_rng(seed)
    stem = "_".join(f"{key}-{label}" for key, label in names.items())
    folder = out / f"sub-{names['sub']}" / (f"ses-{names['ses']}" if "ses" in names else "") / "dwi"
    side = rng.normal(0, 0.03)
    rows = []
    for preset in presets:
        value = index[preset] if isinstance(index, Mapping) else index
        shared: dict[str, Any] = {column.name: None for column in ALPS_COLUMNS} | MADE
        shared |= {
            "alps_se": 0.05 + 0.02 * rng.random(),
            "roi_preset": preset,
            "roi_semi_axes": "2.5 8 5",
            "status": status,
        }
        shared |= {"b_value": 1000.0, "n_directions": 64, "pitch": rng.normal(0, 4), "roll": rng.normal(0, 2)}
        shared |= {
            "yaw": rng.normal(0, 2),
            "fa_projection": rng.normal(0.5, 0.03),
            "fa_association": rng.normal(0.5, 0.03),
        }
        shared |= {"md_projection": rng.normal(7e-4, 2e-5), "md_association": rng.normal(7e-4, 2e-5)}
        for region in REGIONS:
            for element, middle in zip(("dxx", "dyy", "dzz"), _REGION.get(region, (1e-3, 6e-4, 6e-4)), strict=True):
                shared[f"{element}_{region}"] = middle * rng.normal(1, 0.08)
        for name, shift in (("left", side), ("right", -side), ("bilateral", 0.0)):
            reliable = status != "fail"
            rows.append(
                shared
                | {
                    "hemisphere": name,
                    "alps": value + shift if reliable else None,
                    "alps_uncorrected": value + shift - 0.02,
                }
                | {"alps_unreliable": None if reliable else value + shift}
                | {"alps_ci_low": value + shift - 0.11, "alps_ci_high": value + shift + 0.11}
                | dict(more or {})
            )
    known = {column.name for column in ALPS_COLUMNS}
    extra = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = [*ALPS_COLUMNS, *(Column(name=name, description=name) for name in extra)]
    write_table(folder / f"{stem}_desc-alps_scalarstats.tsv", fill_rows(rows, columns), columns)
    regions = [
        {"roi_preset": preset, "roi": f"{region}_{name}", "dxx": 1e-3}
        for preset in presets
        for region in REGIONS
        for name in SIDES
    ]
    write_table(folder / f"{stem}_seg-alps_scalarstats.tsv", fill_rows(regions, ROI_COLUMNS), ROI_COLUMNS)
    quality = [{"roi_preset": presets[0], **row} for row in checks]
    write_table(folder / f"{stem}_desc-quality_scalarstats.tsv", fill_rows(quality, QUALITY_COLUMNS), QUALITY_COLUMNS)
    write_receipt(out, names)


def write_receipt(out: Path, names: Mapping[str, str]) -> None:
    """Write the receipt of a run, which lists all its tables; entities as in `write_run`."""
    stem = "_".join(f"{key}-{label}" for key, label in names.items())
    tables = sorted((out / f"sub-{names['sub']}").rglob(f"{stem}_*_scalarstats.tsv"))
    listed = {path.relative_to(out).as_posix(): "" for path in tables}
    write_json(out / f"logs/sub-{names['sub']}/{stem}{RECEIPT_END}", {"outputs": listed})


def write_people(bids: Path, people: pd.DataFrame, name: str = "participants.tsv") -> None:
    """Write a table of participants."""
    bids.mkdir(parents=True, exist_ok=True)
    people.to_csv(bids / name, sep="\t", index=False, na_rep="n/a")


def write_sixty(folder: Path, *, seed: int = 60, presets: Sequence[str] = ("alps", "alps_sphere")) -> tuple[Path, Path]:
    """Write 60 participants of three groups at two sites, two sessions, five failed runs; return input and output.

    Patients lie 0.15 below controls, those with mild complaints 0.05; site b lies 0.1 above a; the second session lies
    0.03 below the first; ten participants have the first session alone, two the second alone.
    """
    bids, out = folder / "bids", folder / "out"
    rng = np.random.default_rng(seed)
    groups = np.repeat(["control", "mild", "RLS"], 20)
    n = len(groups)
    people = pd.DataFrame(
        {
            "participant_id": [f"sub-{i + 1:02}" for i in range(n)],
            "group": groups,
            "age": np.round(rng.normal(52, 11, n)).astype(int).astype(str),
            "sex": np.where(rng.random(n) < 0.6, "F", "M"),
            "site": np.where(rng.random(n) < np.where(groups == "RLS", 0.65, 0.4), "b", "a"),
            "irls": np.where(groups == "control", "n/a", np.round(rng.normal(20, 6, n)).astype(int).astype(str)),
            "comment": [f"note {i}" if i % 7 == 0 else "n/a" for i in range(n)],
        }
    )
    people.loc[3, "age"], people.loc[40, "age"] = "89+", "n/a"
    write_people(bids, people)
    age = pd.to_numeric(people["age"], errors="coerce").fillna(60).to_numpy()
    level = 1.6 - 0.004 * (age - 50) + np.select([groups == "mild", groups == "RLS"], [-0.05, -0.15], 0.0)
    level = level + 0.1 * (people["site"] == "b") + rng.normal(0, 0.12, n)
    failed = {("02", "1"), ("17", "2"), ("33", "1"), ("47", "2"), ("55", "1")}
    for i in range(n):
        label = f"{i + 1:02}"
        for session in ("1", "2"):
            if (session == "2" and i % 6 == 5) or (session == "1" and i in (9, 49)):
                continue
            value = float(level[i] - 0.03 * (session == "2") + rng.normal(0, 0.05))
            bad = (label, session) in failed
            checks = [
                {"name": "pitch", "value": 9.0 if i % 9 == 0 else 3.0, "status": "warn" if i % 9 == 0 else "pass"},
                {"name": "snr_b0", "value": 5.0 if bad else 20.0, "status": "fail" if bad else "pass"},
                {"name": "framewise_displacement", "value": float(abs(rng.normal(0.4, 0.15))), "status": "pass"},
            ]
            status = "fail" if bad else "warn" if i % 9 == 0 else "pass"
            write_run(
                out,
                {"sub": label, "ses": session},
                {preset: value - 0.1 * k + (0.5 if bad else 0.0) for k, preset in enumerate(presets)},
                status=status,
                presets=presets,
                checks=checks,
                seed=1000 * seed + 10 * i + int(session),
            )
    return bids, out
