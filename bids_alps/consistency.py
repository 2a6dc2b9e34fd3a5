"""Results of other settings in the output: what differs, and how many runs would be done again.

`logs/settings` has one small file for each set of settings that results were made with, so that a job of one
participant need not look at the receipts of all. Only where it holds another set are the receipts read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.errors import OutputError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.writing import write_json
from bids_alps.model import DwiRun
from bids_alps.provenance import RECEIPT_END, describe_method, find_receipts, read_receipt, receipt_path
from bids_alps.settings import Method, Request

LOG = logging.getLogger(__name__)
_REMEDY = "use --force to replace them, or --output-label NAME to write to a separate dataset"

Making = Mapping[str, Any]


def making_of(method: Method) -> Making:
    """Return what must be alike in an output: the settings of the method and the version, as a receipt has them."""
    return json.loads(json.dumps({**describe_method(method), "version": __version__}, default=str))


def check_settings(request: Request, method: Method, labels: Collection[str]) -> None:
    """Check that no result in the output was made with other settings, unless those are to be replaced.

    Parameters
    ----------
    request
        Where the output is, which runs are selected, and whether they are to be done whatever is there.
    method
        The settings of this call.
    labels
        Participants that it works on.

    Raises
    ------
    OutputError
        If one was: what differs, and how many runs would be done again.
    """
    now = making_of(method)
    folder = request.output_dir / "logs" / "settings"
    others = {path.stem for path in folder.glob("*.json")} - {_label(now)}
    if not others and (folder.is_dir() or not (request.output_dir / "logs").is_dir()):
        return
    there = [(run, making) for run, making in _read_receipts(request.output_dir) if making != now]
    _tidy(folder, others - {_label(making) for _, making in there}, keep=request.dry_run)
    if not there:
        return
    again = sum(_is_selected(run, request, labels) for run, _ in there)
    what = (
        f"holds {len(there)} {'run' if len(there) == 1 else 'runs'} processed with other settings ("
        f"{describe_differences([making for _, making in there], now)}); {again} would be processed again"
    )
    if not request.force:
        raise OutputError(str(request.output_dir), what, _REMEDY)
    LOG.warning("%s: %s", request.output_dir, what)


def record_settings(output_dir: Path, method: Method) -> None:
    """Note that results of these settings are in an output, unless that is noted."""
    making = making_of(method)
    path = output_dir / "logs" / "settings" / f"{_label(making)}.json"
    if not path.exists():
        write_json(path, making)


def check_run(output_dir: Path, run: DwiRun, method: Method) -> None:
    """Check that a run has no result of other settings, such as of another job that began at the same time.

    Raises
    ------
    OutputError
        If it has.
    """
    earlier, now = _making(read_receipt(receipt_path(output_dir, run))), making_of(method)
    if earlier is not None and earlier != now:
        what = f"{run.name} was processed with other settings ({describe_differences([earlier], now)})"
        raise OutputError(str(output_dir), what, _REMEDY)


def describe_differences(there: Sequence[Making], now: Making) -> str:
    """Return which settings differ, as the options are called.

    Examples
    --------
    >>> describe_differences([{"roi_radius": None, "shells": None}, {"roi_radius": 5.0}], {"roi_radius": 4.0})
    'roi_radius: n/a or 5.0 before, 4.0 now'
    """
    told = []
    for name in sorted({name for making in (*there, now) for name in making}):
        values = dict.fromkeys(_told(making.get(name)) for making in there)
        if list(values) != [_told(now.get(name))]:
            told.append(f"{name}: {' or '.join(values)} before, {_told(now.get(name))} now")
    return "; ".join(told)


def describe_choices(method: Mapping[str, Any]) -> str:
    """Return the settings that differ from the defaults, as a receipt has them.

    Examples
    --------
    >>> describe_choices({"roi_radius": 4.0, "pose_correction": True})
    'roi_radius 4.0'
    >>> describe_choices({"pose_correction": True})
    'the defaults'
    """
    defaults = making_of(Method())
    chosen = {name: value for name, value in method.items() if name not in defaults or value != defaults[name]}
    return ", ".join(f"{name} {_told(value)}" for name, value in chosen.items()) or "the defaults"


def _told(value: Any) -> str:
    """Return a value as a configuration file has it."""
    if isinstance(value, list):
        return " ".join(map(_told, value)) or "n/a"
    return "n/a" if value is None else str(value) if isinstance(value, str) else json.dumps(value)


def _label(making: Making) -> str:
    return hashlib.sha256(json.dumps(making, sort_keys=True).encode()).hexdigest()[:16]


def _making(receipt: Mapping[str, Any]) -> Making | None:
    """Return what the result of a receipt was made with; None where it does not tell."""
    method, versions = receipt.get("method"), receipt.get("versions")
    if not isinstance(method, dict) or not isinstance(versions, dict):
        return None
    return {**method, "version": versions.get("bids-alps")}


def _read_receipts(output_dir: Path) -> Iterator[tuple[str, Making]]:
    for path in find_receipts(output_dir):
        making = _making(read_receipt(path))
        if making is not None:
            yield path.name.removesuffix(RECEIPT_END), making


def _tidy(folder: Path, unused: Collection[str], *, keep: bool) -> None:
    """Remove the notes of settings that no result has any more."""
    for label in () if keep else unused:
        with suppress(OSError):
            (folder / f"{label}.json").unlink()


def _is_selected(run: str, request: Request, labels: Collection[str]) -> bool:
    entities = entities_of(run)
    sessions = {label.removeprefix("ses-") for label in request.session_label}
    number = entities.get("run", "")
    return (
        entities.get("sub") in labels
        and (not sessions or entities.get("ses") in sessions)
        and (not request.run_label or (number.isdigit() and int(number) in request.run_label))
    )
