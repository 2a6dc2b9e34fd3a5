"""Report pages of participants, generated from the derivatives on disk."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.consistency import describe_choices
from bids_alps.errors import AlpsError, NoInputError
from bids_alps.io.writing import write_text
from bids_alps.model import STATUSES, Check, Status, worst_status
from bids_alps.provenance import RECEIPT_END, read_receipt, read_statements
from bids_alps.report.alternatives import compare_alternatives
from bids_alps.report.catalog import find_pictures
from bids_alps.report.changes import read_changes
from bids_alps.report.failures import find_failures
from bids_alps.report.html import render_participant, words
from bids_alps.report.lesions import lesion_notes, lesion_tables
from bids_alps.report.links import find_tables
from bids_alps.report.methods import write_methods
from bids_alps.report.page import (
    Failure,
    IndexValue,
    MethodsText,
    ParticipantPage,
    RunSection,
    Table,
)
from bids_alps.report.reference import find_reference
from bids_alps.report.run_tables import (
    Row,
    atlas_table,
    number_in,
    provenance_tables,
    read_rows,
    region_tables,
    text_in,
)

INDEX_END = "_desc-alps_scalarstats.tsv"
_FACTS = {
    "roi_preset": "Preset",
    "roi_semi_axes": "Semi-axes of the regions (x y z), mm",
    "roi_source": "Space of the regions",
    "b_value": "b-value, s/mm²",
    "n_directions": "Directions",
    "distortion_corrected": "Susceptibility distortion correction",
    "distortion_method": "Fieldmap method",
    "pitch": "Pitch, degrees",
    "roll": "Roll, degrees",
    "yaw": "Yaw, degrees",
    "version": "bids-alps version",
    "settings_hash": "Settings hash",
}
_SUCCESS = re.compile(r"(?<!not )applied( \(.*\))?$|merged into this run|are one run")
"""Notes of preprocessing on successful steps."""
_EXPECTED = ("hemisphere", "alps", "alps_ci_low", "alps_ci_high", "alps_uncorrected", "status")


def write_participant_page(
    output_dir: Path,
    participant: str,
    *,
    neighbors: tuple[str, str] = ("", ""),
) -> Path:
    """Write the page of a participant from the derivatives in the output folder; return its path.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    participant
        Label without ``sub-``.
    neighbors
        Labels of the previous and next participant, for links; empty if there is none.

    Raises
    ------
    NoInputError
        If there is neither a result nor an error for this participant.
    """
    path = output_dir / f"sub-{participant}.html"
    page = read_participant_page(output_dir, participant)
    page = replace(page, before=neighbors[0], after=neighbors[1])
    write_text(path, render_participant(page))
    return path


def read_participant_page(
    output_dir: Path,
    participant: str,
    *,
    failures: Sequence[Failure] = (),
) -> ParticipantPage:
    """Read the content of the page of a participant from the output folder.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    participant
        Label without ``sub-``.
    failures
        Runs that failed in this session, in addition to those with crash files in the logs.

    Raises
    ------
    NoInputError
        If there is neither a result nor an error for this participant.
    """
    tables = sorted((output_dir / f"sub-{participant}").glob(f"**/dwi/*{INDEX_END}"))
    runs, failed_runs = [], list(failures)
    for table in tables:
        try:
            runs.append(read_run_section(output_dir, participant, table))
        except (AlpsError, OSError, ValueError) as error:
            name = table.name.removesuffix(INDEX_END)
            failed_runs.append(Failure(run=name, message=f"The results on disk cannot be read: {error}"))
    reported = {failure.run for failure in failed_runs}
    failed_runs += [failure for failure in find_failures(output_dir, participant) if failure.run not in reported]
    if not runs and not failed_runs:
        raise NoInputError(
            f"sub-{participant}", "no results and no errors to report on", "run the participant level first"
        )
    return ParticipantPage(
        participant=participant,
        version=__version__,
        runs=tuple(runs),
        failures=tuple(failed_runs),
        changes=read_changes(output_dir / f"sub-{participant}"),
        methods=write_methods(read_statements(output_dir, participant)) if runs else MethodsText(),
    )


def read_run_section(output_dir: Path, participant: str, table: Path) -> RunSection:
    """Read the report section of one run, starting from its table of the index."""
    name = table.name.removesuffix(INDEX_END)
    rows = read_rows(table)
    notes: list[str] = []
    checks: tuple[Check, ...] = ()
    regions: tuple[Table, ...] = ()
    presets = tuple(dict.fromkeys(text_in(row, "roi_preset") for row in rows))
    missing = [column for column in _EXPECTED if rows and column not in rows[0]]
    if missing:
        notes.append(
            f"These results were written by another version: {', '.join(missing)} missing. Rerun to update them."
        )
    quality, regional = (table.with_name(f"{name}_{kind}_scalarstats.tsv") for kind in ("desc-quality", "seg-alps"))
    if quality.exists():
        checks = _checks(read_rows(quality))
    else:
        notes.append(f"The table of checks is missing ({quality.name}): data quality is unknown.")
    if regional.exists():
        by_region = read_rows(regional)
        regions = (*region_tables(by_region), *lesion_tables(rows, by_region))
    else:
        notes.append(f"The table of regions is missing ({regional.name}).")
    others = sorted(path for path in table.parent.glob(f"{name}_seg-*_scalarstats.tsv") if path != regional)
    regions += tuple(atlas_table(path.name.removeprefix(f"{name}_seg-"), read_rows(path)) for path in others)
    notes += [*_withheld_notes(rows, checks), *lesion_notes(rows, checks)]
    sidecar = _read_sidecar(table.with_name(f"{name}_desc-brain_mask.json"))
    processing_notes = [str(note) for note in sidecar.get("Notes", [])]
    notes += [note[:1].upper() + note[1:] for note in processing_notes if not _SUCCESS.search(note)]
    receipt = read_receipt(output_dir / "logs" / f"sub-{participant}" / f"{name}{RECEIPT_END}")
    pictures = find_pictures(output_dir / f"sub-{participant}" / "figures", name, presets)
    if not pictures:
        notes.append("The figures of this run are missing; rerun it to create them.")
    # tables of earlier versions lack the status: that of the checks, then
    stated = [row["status"] for row in rows if row.get("status") in STATUSES]
    status: Status = worst_status(stated or [check.status for check in checks])
    return RunSection(
        name=name,
        status="warn" if status == "pass" and (missing or not checks) else status,
        index=tuple(_index_value(row, several=len(presets) > 1) for row in rows),
        checks=checks,
        regions=regions,
        pictures=pictures,
        provenance=provenance_tables(receipt),
        facts=_facts(rows, sidecar, receipt),
        notes=tuple(notes),
        scan=_scan(rows),
        remarks=tuple(note[:1].upper() + note[1:] for note in processing_notes if _SUCCESS.search(note)),
        alternatives=compare_alternatives(rows),
        files=find_tables(output_dir, table.parent, name),
        reference=find_reference(output_dir, number_in(rows[0], "b_value") if rows else math.nan),
    )


def _facts(rows: Sequence[Row], sidecar: Mapping[str, Any], receipt: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return title and text of the facts on a run: of its rows, of the image header, and settings."""
    facts = [
        (title, ", ".join(dict.fromkeys(_format_value(row.get(key)) for row in rows)))
        for key, title in _FACTS.items()
        if rows and key in rows[0]
    ]
    codes = [str(sidecar[name]) for name in ("SformCode", "QformCode") if name in sidecar]
    facts += [("sform_code, qform_code", ", ".join(codes))] if codes else []
    method = receipt.get("method")
    return (*facts, *([("Settings", describe_choices(method))] if isinstance(method, dict) else ()))


def _scan(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the scan parameters from the first row of the table of the index."""
    row = rows[0] if rows else {}
    parts = {
        "scanner": "{}",
        "field_strength": "{} T",
        "b_value": "b = {} s/mm²",
        "n_directions": "{} directions",
        "n_b0": "{} b=0 volumes",
        "voxel_size": "voxels of {} mm",
        "echo_time": "echo time {} s",
    }
    values = ((template, _format_value(row.get(key))) for key, template in parts.items())
    return tuple(
        template.format(value.replace(" ", " × ") if "voxels" in template else value).removesuffix("s" * (value == "1"))
        for template, value in values
        if value not in ("n/a", "None", "")
    )


def _withheld_notes(rows: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """Return notes on presets whose index is withheld."""
    presets = dict.fromkeys(
        text_in(row, "roi_preset") for row in rows if math.isfinite(number_in(row, "alps_unreliable"))
    )
    failed = ", ".join(words(check.name) for check in checks if check.status == "fail")
    return [
        f"The index of {preset} is withheld because checks failed ({failed}). Its value is in the column "
        "alps_unreliable of the table; use --keep-failed to report it in the column alps."
        for preset in presets
    ]


def _read_sidecar(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "n/a"
    return str(value)


def _index_value(row: Row, *, several: bool) -> IndexValue:
    preset = f", {text_in(row, 'roi_preset')}" if several else ""
    return IndexValue(
        hemisphere=f"{text_in(row, 'hemisphere')}{preset}",
        alps=number_in(row, "alps"),
        low=number_in(row, "alps_ci_low"),
        high=number_in(row, "alps_ci_high"),
        se=number_in(row, "alps_se"),
        withheld=math.isfinite(number_in(row, "alps_unreliable")) and not math.isfinite(number_in(row, "alps")),
    )


def _checks(rows: Sequence[Row]) -> tuple[Check, ...]:
    """Return the checks; those that differ between presets have the preset in front of their reason."""
    by_content: dict[str, list[Row]] = {}
    for row in rows:
        by_content.setdefault(str([value for key, value in row.items() if key != "roi_preset"]), []).append(row)
    n_presets = len({text_in(row, "roi_preset") for row in rows})
    checks = []
    for duplicates in by_content.values():
        check, presets = _check(duplicates[0]), ", ".join(text_in(row, "roi_preset") for row in duplicates)
        checks.append(check if len(duplicates) == n_presets else replace(check, reason=f"{presets}: {check.reason}"))
    return tuple(checks)


def _check(row: Row) -> Check:
    status, direction = text_in(row, "status"), text_in(row, "direction")
    if direction not in ("above", "below", "outside"):  # a table of an earlier version
        direction = "below" if number_in(row, "fail") < number_in(row, "warn") else "above"
    return Check(
        name=text_in(row, "name") or "unnamed",
        value=number_in(row, "value"),
        unit=text_in(row, "unit"),
        warn=number_in(row, "warn"),
        fail=number_in(row, "fail"),
        status=status if status in ("pass", "warn", "fail") else "warn",  # type: ignore[arg-type]
        direction=direction,  # type: ignore[arg-type]
        reason=text_in(row, "reason"),
    )
