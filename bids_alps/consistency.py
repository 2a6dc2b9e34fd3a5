"""Checks the output for results of other settings: what differs, and how many runs would be processed again.

`logs/settings` has one small file for each set of settings that produced results, so that a job for one participant
need not read the receipts of all. The receipts are read only if there is another set.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.errors import OutputError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.writing import write_json
from bids_alps.model import DwiRun
from bids_alps.provenance import (
    describe_method,
    read_receipt,
    read_receipts,
    receipt_path,
    setting_text,
)
from bids_alps.settings import Method, Request

LOG = logging.getLogger(__name__)
_RECORD = re.compile(r"[0-9a-f]{16}\.json")
_REMEDY = "use --force to replace them, or --output-label NAME to write to a separate dataset"

Provenance = Mapping[str, Any]


def method_provenance(method: Method) -> Provenance:
    """Return what must be the same for all results of an output, settings and version, in the form of a receipt."""
    return json.loads(json.dumps({**describe_method(method), "version": __version__}, default=str))


def check_settings(request: Request, method: Method, labels: Collection[str]) -> None:
    """Check that no result in the output was made with other settings, unless with ``--force``.

    Parameters
    ----------
    request
        Output folder, selected runs, and whether existing results are replaced.
    method
        Settings of this execution.
    labels
        Participants to process.

    Raises
    ------
    OutputError
        If one was; the message has the differences and how many runs would be processed again.
    """
    now = method_provenance(method)
    folder = request.output_dir / "logs" / "settings"
    others = {path.stem for path in folder.glob("*.json") if _RECORD.fullmatch(path.name)} - {_label(now)}
    if not others and (folder.is_dir() or not (request.output_dir / "logs").is_dir()):
        return
    existing = [
        (run, provenance)
        for run, receipt in read_receipts(request.output_dir).items()
        if (provenance := _provenance_of(receipt)) is not None and provenance != now
    ]
    unused = others - {_label(provenance) for _, provenance in existing}
    for path in (folder / f"{label}.json" for label in unused if not request.dry_run):
        with suppress(OSError):  # a record has the hash of its content as name: no other file is removed
            if _label(read_receipt(path)) == path.stem:
                path.unlink()
    if not existing:
        return
    again = sum(_is_selected(run, request, labels) for run, _ in existing)
    what = (
        f"holds {len(existing)} {'run' if len(existing) == 1 else 'runs'} processed with other settings ("
        f"{describe_differences([provenance for _, provenance in existing], now)}); {again} would be processed again"
    )
    if not request.force:
        raise OutputError(str(request.output_dir), what, _REMEDY)
    LOG.warning("%s: %s", request.output_dir, what)


def record_settings(output_dir: Path, method: Method) -> None:
    """Record that the output has results of these settings, if not recorded yet."""
    provenance = method_provenance(method)
    path = output_dir / "logs" / "settings" / f"{_label(provenance)}.json"
    if not path.exists():
        write_json(path, provenance)


def check_run(output_dir: Path, run: DwiRun, method: Method) -> None:
    """Check that a run has no result of other settings, such as from a job that started at the same time.

    Raises
    ------
    OutputError
        If it has one.
    """
    earlier, now = _provenance_of(read_receipt(receipt_path(output_dir, run))), method_provenance(method)
    if earlier is not None and earlier != now:
        what = f"{run.name} was processed with other settings ({describe_differences([earlier], now)})"
        raise OutputError(str(output_dir), what, _REMEDY)


def describe_differences(existing: Sequence[Provenance], now: Provenance) -> str:
    """Return which settings differ, by the names of the options.

    Examples
    --------
    >>> describe_differences([{"roi_radius": None, "shells": None}, {"roi_radius": 5.0}], {"roi_radius": 4.0})
    'roi_radius: n/a or 5.0 before, 4.0 now'
    """
    differences = []
    for name in sorted({name for provenance in (*existing, now) for name in provenance}):
        values = dict.fromkeys(setting_text(provenance.get(name)) for provenance in existing)
        if list(values) != [setting_text(now.get(name))]:
            differences.append(f"{name}: {' or '.join(values)} before, {setting_text(now.get(name))} now")
    return "; ".join(differences)


def describe_choices(method: Mapping[str, Any]) -> str:
    """Return the settings that differ from the defaults, in the form of a receipt.

    Examples
    --------
    >>> describe_choices({"roi_radius": 4.0, "pose_correction": True})
    'roi_radius 4.0'
    >>> describe_choices({"pose_correction": True})
    'the defaults'
    """
    defaults = method_provenance(Method())
    changed = {name: value for name, value in method.items() if name not in defaults or value != defaults[name]}
    return ", ".join(f"{name} {setting_text(value)}" for name, value in changed.items()) or "the defaults"


def _label(provenance: Provenance) -> str:
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:16]


def _provenance_of(receipt: Mapping[str, Any]) -> Provenance | None:
    """Return the settings and version of a receipt; None where the receipt lacks them."""
    method, versions = receipt.get("method"), receipt.get("versions")
    if not isinstance(method, dict) or not isinstance(versions, dict):
        return None
    return {**method, "version": versions.get("bids-alps")}


def _is_selected(run: str, request: Request, labels: Collection[str]) -> bool:
    entities = entities_of(run)
    sessions = {label.removeprefix("ses-") for label in request.session_label}
    number = entities.get("run", "")
    return (
        entities.get("sub") in labels
        and (not sessions or entities.get("ses") in sessions)
        and (not request.run_label or (number.isdigit() and int(number) in request.run_label))
    )
