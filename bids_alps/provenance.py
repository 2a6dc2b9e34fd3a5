"""What makes a run resumable: a receipt of what its results were made of, written last.

Equal settings, versions and inputs, and outputs that still have the bytes that were written: nothing is due. The
receipt is removed before a run is done again, so a run that is killed leaves none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.identity import code_digest
from bids_alps.io.atlases import find_atlas
from bids_alps.io.derivatives import checked_label, name_pattern, participant_folder
from bids_alps.io.presets import definition_files
from bids_alps.io.templates import find_template, template_label
from bids_alps.io.temporary import remove_abandoned
from bids_alps.io.writing import write_json
from bids_alps.model import DwiRun, Statement
from bids_alps.settings import Method

_LIBRARIES = ("numpy", "scipy", "dipy", "nibabel", "SimpleITK", "picsl_greedy")
RECEIPT_END = "_desc-receipt_dwi.json"
_FIGURE = r"(?:_seg-[a-zA-Z0-9+]+)?_desc-[a-zA-Z0-9]+_dwi\.svg"
_LONGITUDINAL = re.compile(r"_desc-longitudinal[a-z]*_|_to-midpoint_")
_CHUNK = 1 << 20


def receipt_path(output_dir: Path, run: DwiRun) -> Path:
    """Return where the receipt of a run lies."""
    folder = output_dir / "logs" / f"sub-{checked_label('sub', run.participant)}"
    return folder / f"{run.name}{RECEIPT_END}"


def find_receipts(output_dir: Path, participant: str = "*") -> list[Path]:
    """Return the receipts of a participant, or of all, sorted."""
    return sorted((output_dir / "logs").glob(f"sub-{participant}/*{RECEIPT_END}"))


def read_receipt(path: Path) -> dict[str, Any]:
    """Read a receipt; empty where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def describe_provenance(run: DwiRun, method: Method) -> dict[str, Any]:
    """Return what the results of a run are made of: settings, versions, sizes and hashes of inputs.

    Raises
    ------
    OSError
        If an input cannot be read.
    """
    metadata = json.dumps(dict(run.metadata), sort_keys=True, default=str)
    making = {
        "method": describe_method(method),
        "versions": _versions(),
        "inputs": {path.name: _fingerprint(path) for path in _inputs(run, method)},
        "lesions": "not given" if run.lesions is None else run.lesions.space or "none",
        "metadata": hashlib.sha256(metadata.encode()).hexdigest(),
    }
    return json.loads(json.dumps(making, default=str))  # as a receipt on disk says it


def describe_method(method: Method) -> dict[str, Any]:
    """Return the settings as a receipt has them: files by name and content, since folders are moved and mounted."""
    chosen = asdict(method)
    named = {name: [_describe_file(one) for one in chosen[name]] for name in ("rois", "atlas")}
    return {**chosen, **named, "template": _describe_file(method.template)}


def _describe_file(name: str) -> str:
    """Return a path without its folder, a file with the start of its hash; any other name as it is."""
    path = Path(name)
    return f"{path.name} ({_hash(path)[:8]})" if path.is_file() else path.name


def settings_hash(method: Method, rois: str) -> str:
    """Return eight hex digits that differ where the index of a preset is not made alike.

    They are of the version and of the settings that can change the index: other presets and atlases cannot. Files count
    by what they hold, not by where they lie.

    Parameters
    ----------
    method
        The settings.
    rois
        Which preset, as ``method.rois`` has it.
    """
    label = template_label(method.template)
    files = [path for path in definition_files(rois) if path.is_file()]
    if label != method.template:
        files += find_template(method.template).values()
    chosen = {name: sorted(value) if isinstance(value, tuple) else value for name, value in asdict(method).items()}
    for name in ("atlas", "atlas_threshold"):
        del chosen[name]
    chosen |= {"rois": Path(rois).name, "template": label, "files": [_hash(path) for path in files]}
    text = json.dumps({**chosen, "version": __version__}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def describe_longitudinal_provenance(output_dir: Path, runs: Sequence[DwiRun], method: Method) -> dict[str, Any]:
    """Return what the longitudinal results of runs are made of: settings, versions, and the receipts of the runs."""
    making = {
        "method": describe_method(method),
        "versions": _versions(),
        "inputs": {path.name: _fingerprint(path) for path in (receipt_path(output_dir, run) for run in runs)},
        "longitudinal": True,
    }
    return json.loads(json.dumps(making, default=str))


def find_longitudinal(output_dir: Path, runs: Sequence[DwiRun]) -> list[Path]:
    """Return what runs have of longitudinal results, sorted by run."""
    return [path for run in runs for path in find_outputs(output_dir, run) if _LONGITUDINAL.search(path.name)]


def _inputs(run: DwiRun, method: Method) -> Iterator[Path]:
    yield from (run.image, run.bval, run.bvec, *(path for one in run.fieldmaps for path in one.files))
    yield from (path for path in (run.mask, run.t1w if run.needs_t1w else None) if path is not None)
    template = template_label(method.template)
    if template != method.template:
        yield from find_template(method.template).values()
    if method.registrar == "precomputed" and template in run.transforms:
        yield run.transforms[template]
    yield from (path for name in method.rois for path in definition_files(name) if path.is_file())
    for files in run.regions.values():
        yield from files
    if run.lesions is not None and run.lesions.path is not None:
        yield run.lesions.path
    for name in method.atlas:
        yield from find_atlas(name, template=template)
    for partner in run.partners:
        yield from _inputs(partner, method)


def _versions() -> dict[str, str]:
    """Return what computes; results of other code are not kept, whatever its version says."""
    libraries = {name: _version(name) for name in _LIBRARIES}
    return {"bids-alps": __version__, "bids-alps code": code_digest(), **libraries}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": _hash(path)}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find_outputs(output_dir: Path, run: DwiRun) -> list[Path]:
    """Return the files of a run in the output, sorted: by name what this program writes, and nothing else."""
    patterns = {
        participant_folder(output_dir, run) / "dwi": name_pattern(run),
        output_dir / f"sub-{run.participant}" / "figures": re.compile(re.escape(run.name) + _FIGURE),
    }
    return sorted(
        path for folder, pattern in patterns.items() for path in folder.glob("sub-*") if pattern.fullmatch(path.name)
    )


def remove_half_written(output_dir: Path, run: DwiRun) -> None:
    """Remove the half-written files of a run that killed processes left."""
    participant = output_dir / f"sub-{run.participant}"
    logs = receipt_path(output_dir, run).parent
    for folder in (participant_folder(output_dir, run) / "dwi", participant / "figures", logs):
        remove_abandoned(folder, f"{run.name}_")


def write_receipt(
    output_dir: Path,
    run: DwiRun,
    making: Mapping[str, Any],
    message: str,
    *,
    statements: Sequence[Statement] = (),
    also: Sequence[Path] = (),
) -> None:
    """Write the receipt of a finished run.

    Parameters
    ----------
    output_dir, run
        Whose it is.
    making
        What `describe_provenance` says of it.
    message
        What was found, in one line.
    statements
        What its stages say of themselves for the methods text.
    also
        Outputs under other names.
    """
    paths = (*find_outputs(output_dir, run), *also)
    content = {
        **making,
        "result": message,
        "outputs": {path.relative_to(output_dir).as_posix(): _hash(path) for path in paths},
        "methods": [{name: getattr(one, name) for name in Statement.__slots__} for one in statements],
    }
    write_json(receipt_path(output_dir, run), content)


def read_statements(output_dir: Path, participant: str = "*") -> dict[str, tuple[Statement, ...]]:
    """Return what the stages of the runs of a participant, or of all, say of themselves, by the name of the run."""
    found = {path.name.removesuffix(RECEIPT_END): read_receipt(path) for path in find_receipts(output_dir, participant)}
    return {name: _statements(receipt) for name, receipt in found.items()}


def _statements(receipt: Mapping[str, Any]) -> tuple[Statement, ...]:
    """Return the statements of a receipt; none where it is of an earlier version or was changed by hand."""
    try:
        return tuple(
            Statement(stage=one["stage"], text=str(one["text"]), values=one["values"]) for one in receipt["methods"]
        )
    except (KeyError, TypeError, ValueError):
        return ()


def find_finished(output_dir: Path, run: DwiRun, making: Mapping[str, Any]) -> str | None:
    """Return the message of a run that needs no work, None where it has to be done (again)."""
    try:
        receipt = read_receipt(receipt_path(output_dir, run))
        same = all(receipt[key] == value for key, value in making.items())
        kept = receipt["outputs"] and all(_hash(output_dir / name) == told for name, told in receipt["outputs"].items())
        return str(receipt["result"]) if same and kept else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def explain_redo(output_dir: Path, run: DwiRun, making: Mapping[str, Any]) -> str:
    """Return why a run is done again, such as ``roi_radius was n/a and is 5.0``; empty where it has no results."""
    try:
        receipt = json.loads(receipt_path(output_dir, run).read_text(encoding="utf-8"))
        reasons = list(_differences(receipt, making))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "; ".join(reasons) or "its outputs were changed or removed, or --force"


def _differences(receipt: Mapping[str, Any], making: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a receipt says otherwise of settings, versions and inputs."""
    for group in ("method", "versions"):
        before, now = receipt[group], making[group]
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                yield f"{name} was {_told(before.get(name))} and is {_told(now.get(name))}"
    if receipt["inputs"] != making["inputs"] or receipt["metadata"] != making["metadata"]:
        yield "an input file or its sidecar has changed"


def _told(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_told, value)) or "n/a"
    return "n/a" if value is None else str(value)


def clear_run(output_dir: Path, run: DwiRun) -> None:
    """Remove what an earlier attempt left of a run, the receipt first, so that no stale file stays beside new ones."""
    for path in (receipt_path(output_dir, run), *find_outputs(output_dir, run)):
        with suppress(FileNotFoundError):
            path.unlink()
