"""Pages from derivatives on disk, so that they can be made again without computing anything."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.consistency import describe_choices
from bids_alps.errors import AlpsError, NoInputError
from bids_alps.io.tables import read_table
from bids_alps.io.writing import write_text
from bids_alps.model import STATUSES, Check, Status, worst_status
from bids_alps.provenance import RECEIPT_END, read_receipt, read_statements
from bids_alps.report.catalogue import find_pictures
from bids_alps.report.changes import read_changes
from bids_alps.report.html import number, render_participant, words
from bids_alps.report.lesions import lesion_notes, lesion_tables
from bids_alps.report.links import find_tables
from bids_alps.report.methods import write_methods
from bids_alps.report.otherwise import compare_choices
from bids_alps.report.page import (
    Failure,
    IndexValue,
    MethodsText,
    ParticipantPage,
    RunSection,
    Table,
)
from bids_alps.report.reference import find_reference

Row = Mapping[str, Any]
INDEX_END = "_desc-alps_scalarstats.tsv"
_FACTS = {
    "roi_preset": "Preset",
    "roi_semi_axes": "Half-lengths of the regions (x y z), mm",
    "roi_source": "Regions defined in the",
    "b_value": "b-value, s/mm²",
    "n_directions": "Directions",
    "distortion_corrected": "Susceptibility distortion corrected",
    "distortion_method": "Susceptibility field from",
    "pitch": "Pitch, degrees",
    "roll": "Roll, degrees",
    "yaw": "Yaw, degrees",
    "version": "Version of bids-alps",
    "settings_hash": "Hash of the settings",
}
_DIFFUSIVITIES = ("dxx", "dyy", "dzz", "md", "ad", "rd")
_CONFOUNDS = ("n_voxels", "fa", "mode", "free_water", "lambda2_lambda3", "v1_angle", "off_tract_fraction", "coverage")
_SUCCESS = re.compile(r"(?<!not )applied( \(.*\))?$|merged into this run|are one run")
"""Notes of preprocessing that tell of what was done, not of what could not be."""
_EXPECTED = ("hemisphere", "alps", "alps_ci_low", "alps_ci_high", "alps_uncorrected", "status")


def write_participant_page(
    output_dir: Path,
    participant: str,
    *,
    neighbours: tuple[str, str] = ("", ""),
) -> Path:
    """Write the page of a participant from what the output folder holds; return its path.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    participant
        Label without ``sub-``.
    neighbours
        Labels of the participants before and after, to link to; empty where there is none.

    Raises
    ------
    NoInputError
        If there is neither a result nor an error of this participant to tell of.
    """
    path = output_dir / f"sub-{participant}.html"
    page = read_participant_page(output_dir, participant)
    page = replace(page, before=neighbours[0], after=neighbours[1])
    write_text(path, render_participant(page))
    return path


def read_participant_page(
    output_dir: Path,
    participant: str,
    *,
    failures: Sequence[Failure] = (),
) -> ParticipantPage:
    """Read what stands on the page of a participant from the output folder.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    participant
        Label without ``sub-``.
    failures
        Runs that gave no result in this session, beside those whose crash files lie in the logs.

    Raises
    ------
    NoInputError
        If there is neither a result nor an error of this participant to tell of.
    """
    tables = sorted((output_dir / f"sub-{participant}").glob(f"**/dwi/*{INDEX_END}"))
    runs, broken = [], list(failures)
    for table in tables:
        try:
            runs.append(read_run_section(output_dir, participant, table))
        except (AlpsError, OSError, ValueError) as error:
            name = table.name.removesuffix(INDEX_END)
            broken.append(Failure(run=name, message=f"The results on disk cannot be read: {error}"))
    told = {failure.run for failure in broken}
    broken += [failure for failure in find_failures(output_dir, participant) if failure.run not in told]
    if not runs and not broken:
        raise NoInputError(
            f"sub-{participant}", "no results and no errors to report on", "run the participant level first"
        )
    return ParticipantPage(
        participant=participant,
        version=__version__,
        runs=tuple(runs),
        failures=tuple(broken),
        changes=read_changes(output_dir / f"sub-{participant}"),
        methods=write_methods(read_statements(output_dir, participant)) if runs else MethodsText(),
    )


def read_run_section(output_dir: Path, participant: str, table: Path) -> RunSection:
    """Read what is told of one run, beginning from its table of the index."""
    name = table.name.removesuffix(INDEX_END)
    rows = _rows(table)
    notes: list[str] = []
    checks: tuple[Check, ...] = ()
    regions: tuple[Table, ...] = ()
    several = len({row.get("roi_preset") for row in rows}) > 1
    lacking = [column for column in _EXPECTED if rows and column not in rows[0]]
    if lacking:
        notes.append(
            f"These results were written by another version: {', '.join(lacking)} missing. Run again to have all."
        )
    quality, regional = (table.with_name(f"{name}_{kind}_scalarstats.tsv") for kind in ("desc-quality", "seg-alps"))
    if quality.exists():
        checks = _checks(_rows(quality))
    if not quality.exists():
        notes.append(f"The table of checks is missing ({quality.name}): nothing is known of the quality.")
    if regional.exists():
        regions = (*_region_tables(_rows(regional)), *lesion_tables(rows, _rows(regional)))
    else:
        notes.append(f"The table of regions is missing ({regional.name}).")
    others = sorted(path for path in table.parent.glob(f"{name}_seg-*_scalarstats.tsv") if path != regional)
    regions += tuple(_atlas_table(path.name.removeprefix(f"{name}_seg-"), _rows(path)) for path in others)
    notes += [*_withheld_notes(rows, checks), *lesion_notes(rows, checks)]
    told = _read_sidecar(table.with_name(f"{name}_desc-brain_mask.json"))
    notes += [note[:1].upper() + note[1:] for note in map(str, told.get("Notes", [])) if not _SUCCESS.search(note)]
    receipt = _receipt(output_dir, participant, name)
    pictures = find_pictures(output_dir / f"sub-{participant}" / "figures", name)
    if not pictures:
        notes.append("The figures of this run are missing; they are drawn when it is computed.")
    stated = [row["status"] for row in rows if row.get("status") in STATUSES]
    status: Status = worst_status(stated or [check.status for check in checks])
    return RunSection(
        name=name,
        status="warn" if status == "pass" and (lacking or not checks) else status,
        index=tuple(_index_value(row, several=several) for row in rows),
        checks=checks,
        regions=regions,
        pictures=pictures,
        provenance=_provenance(receipt),
        facts=(
            *((title, _distinct(rows, key)) for key, title in _FACTS.items() if rows and key in rows[0]),
            *_header_facts(told),
            *((("Settings", describe_choices(receipt["method"])),) if isinstance(receipt.get("method"), dict) else ()),
        ),
        notes=tuple(notes),
        scan=_scan(rows),
        remarks=tuple(note for note in told if _SUCCESS.search(note)),
        otherwise=compare_choices(rows),
        files=find_tables(output_dir, table.parent, name),
        reference=find_reference(output_dir, _value(rows[0], "b_value") if rows else math.nan),
    )


def _scan(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what is known of the scan, from the first row of the index."""
    row = rows[0] if rows else {}
    parts = {
        "scanner": "{}",
        "field_strength": "{} T",
        "b_value": "b = {} s/mm²",
        "n_directions": "{} directions",
        "n_b0": "{} volumes without weighting",
        "voxel_size": "voxels of {} mm",
        "echo_time": "echo time {} s",
    }
    told = ((form, _told(row.get(key))) for key, form in parts.items())
    return tuple(
        form.format(value.replace(" ", " × ") if "voxels" in form else value)
        for form, value in told
        if value not in ("n/a", "None", "")
    )


def _withheld_notes(rows: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """Return what is to be said of presets whose index is withheld."""
    presets = dict.fromkeys(_text(row, "roi_preset") for row in rows if math.isfinite(_value(row, "alps_unreliable")))
    failed = ", ".join(words(check.name) for check in checks if check.status == "fail")
    return [
        f"The index of {preset} is withheld, since checks failed ({failed}). Its value stands in the column "
        "alps_unreliable of the table; --keep-failed keeps it in alps."
        for preset in presets
    ]


def _read_sidecar(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _header_facts(sidecar: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    codes = [str(sidecar[name]) for name in ("SformCode", "QformCode") if name in sidecar]
    return (("sform_code, qform_code", ", ".join(codes)),) if codes else ()


def find_failures(output_dir: Path, participant: str) -> list[Failure]:
    """Return the last error of each run that it has not overcome since, from the crash files in the logs."""
    last: dict[str, Path] = {}
    for path in sorted((output_dir / "logs" / f"sub-{participant}").glob("**/crash-*.txt")):
        name = path.stem.removeprefix("crash-")
        if not name.endswith("_page"):  # of an earlier attempt at this very page
            last[name] = path
    found = []
    for run, path in sorted(last.items()):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        said = [line for line in text.splitlines() if line.strip()] or ["no message"]
        found.append(Failure(run=run, message=said[0], details="\n".join(said[1:])))
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in read_table(path).to_dict("records")]


def _value(row: Row, key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _told(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else "n/a" if value != value else str(value)
    )


def _distinct(rows: Sequence[Row], key: str) -> str:
    """Return what the rows say, each once."""
    return ", ".join(dict.fromkeys(_told(row.get(key)) for row in rows))


def _index_value(row: Row, *, several: bool) -> IndexValue:
    preset = f", {_text(row, 'roi_preset')}" if several else ""
    return IndexValue(
        hemisphere=f"{_text(row, 'hemisphere')}{preset}",
        alps=_value(row, "alps"),
        low=_value(row, "alps_ci_low"),
        high=_value(row, "alps_ci_high"),
        se=_value(row, "alps_se"),
        withheld=math.isfinite(_value(row, "alps_unreliable")) and not math.isfinite(_value(row, "alps")),
    )


def _checks(rows: Sequence[Row]) -> tuple[Check, ...]:
    """Return the checks; of several presets, those that differ between them begin their reason with the preset."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        alike.setdefault(str([value for key, value in row.items() if key != "roi_preset"]), []).append(row)
    several = len({_text(row, "roi_preset") for row in rows})
    checks = []
    for same in alike.values():
        check, presets = _check(same[0]), ", ".join(_text(row, "roi_preset") for row in same)
        checks.append(check if len(same) == several else replace(check, reason=f"{presets}: {check.reason}"))
    return tuple(checks)


def _check(row: Row) -> Check:
    status, side = _text(row, "status"), _text(row, "direction")
    return Check(
        name=_text(row, "name") or "unnamed",
        value=_value(row, "value"),
        unit=_text(row, "unit"),
        warn=_value(row, "warn"),
        fail=_value(row, "fail"),
        status=status if status in ("pass", "warn", "fail") else "warn",  # type: ignore[arg-type]
        direction=side if side in ("above", "below", "outside") else _side(row),  # type: ignore[arg-type]
        reason=_text(row, "reason"),
    )


def _side(row: Row) -> str:
    return "below" if _value(row, "fail") < _value(row, "warn") else "above"


def _region_tables(rows: Sequence[Row]) -> tuple[Table, ...]:
    several = len({row.get("roi_preset") for row in rows}) > 1

    def name(row: Row) -> str:
        return words(_text(row, "roi")) + (f" ({_text(row, 'roi_preset')})" if several else "")

    def table(title: str, keys: Sequence[str], scale: float, note: str = "") -> Table:
        present = [key for key in keys if any(key in row for row in rows)]
        cells = tuple((name(row), *(number(_value(row, key) * scale) for key in present)) for row in rows)
        return Table(title=title, columns=("Region", *map(words, present)), rows=cells, note=note)

    return (
        table("Diffusivities, 10⁻³ mm²/s", _DIFFUSIVITIES, 1e3, "Dxx left-right, Dyy back-front, Dzz down-up."),
        table(
            "Confounds of the index",
            _CONFOUNDS,
            1.0,
            "V1 angle in degrees to the axis that the fibres should follow; voxels counted by their weight.",
        ),
        table("Centres in the diffusion image, mm", ("x", "y", "z"), 1.0),
    )


def _atlas_table(ending: str, rows: Sequence[Row]) -> Table:
    """Return the table of an atlas from its rows and the end of its file's name."""
    shown = ("fa_mean", "fa_sd", "md_mean", "ad_mean", "rd_mean")
    cells = tuple(
        (
            _text(row, "name"),
            _text(row, "n_voxels"),
            *(number(_value(row, key) * (1 if key.startswith("fa") else 1e3)) for key in shown),
            _text(row, "reason"),
        )
        for row in rows
    )
    return Table(
        title=f"Atlas {ending.removesuffix('_scalarstats.tsv')}",
        columns=("Region", "Voxels", "FA", "SD of FA", "MD", "AD", "RD", "Remark"),
        rows=cells,
        note="Means weighted by how much of each voxel lies in the region; diffusivities in 10⁻³ mm²/s.",
    )


def _receipt(output_dir: Path, participant: str, name: str) -> dict[str, Any]:
    return read_receipt(output_dir / "logs" / f"sub-{participant}" / f"{name}{RECEIPT_END}")


def _provenance(receipt: Mapping[str, Any]) -> tuple[Table, ...]:
    """Tables of a receipt: one of its plain fields, one of each group of fields."""
    told = {key: value for key, value in receipt.items() if key != "methods"}  # it is the methods text
    plain = {key: value for key, value in told.items() if not isinstance(value, dict)}
    groups = {"": plain, **{key: value for key, value in told.items() if isinstance(value, dict)}}
    return tuple(
        Table(title=words(title) or "This run", columns=("Name", "Value"), rows=tuple(_flat(content)))
        for title, content in groups.items()
        if content
    )


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}: ")
        else:
            yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
