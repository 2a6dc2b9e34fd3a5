"""Receipts, which make runs resumable: settings, versions and inputs of a run, written after all its results.

A run with equal settings, versions and inputs, and with unchanged outputs, is up to date. The receipt is removed
before a run is processed again, so a killed run has none.
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
from bids_alps.io.writing import write_json
from bids_alps.model import DwiRun, Statement
from bids_alps.settings import Method

_LIBRARIES = ("numpy", "scipy", "interpn", "dipy", "nibabel", "zlib-ng", "SimpleITK", "picsl_greedy")
RECEIPT_END = "_desc-receipt_dwi.json"
_FIGURE = r"(?:_seg-[a-zA-Z0-9+]+)?_desc-[a-zA-Z0-9]+_dwi\.svg"
_LONGITUDINAL = re.compile(r"_desc-longitudinal[a-z]*_|_to-midpoint_")
_CHUNK = 1 << 20


def receipt_path(output_dir: Path, run: DwiRun) -> Path:
    """Return the path of the receipt of a run."""
    folder = output_dir / "logs" / f"sub-{checked_label('sub', run.participant)}"
    return folder / f"{run.name}{RECEIPT_END}"


def find_receipts(output_dir: Path, participant: str = "*") -> list[Path]:
    """Return the receipts of a participant, or of all, sorted."""
    return sorted((output_dir / "logs").glob(f"sub-{participant}/*{RECEIPT_END}"))


def read_receipt(path: Path) -> dict[str, Any]:
    """Read a receipt; empty if it does not exist or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_receipts(output_dir: Path, participant: str = "*") -> dict[str, dict[str, Any]]:
    """Return the receipts of the finished runs of a participant, or of all, by the name of the run."""
    paths = find_receipts(output_dir, participant)
    return {path.name.removesuffix(RECEIPT_END): receipt for path in paths if (receipt := read_receipt(path))}


def listed_in(receipt: Mapping[str, Any], key: str) -> list[str]:
    """Return the names that a receipt lists as inputs, outputs or images; empty if it is damaged."""
    names = receipt.get(key)
    return [name for name in names if isinstance(name, str)] if isinstance(names, dict | list) else []


def describe_provenance(run: DwiRun, method: Method) -> dict[str, Any]:
    """Return the provenance of the results of a run: settings, versions, sizes and hashes of inputs.

    Raises
    ------
    OSError
        If an input cannot be read.
    """
    metadata = json.dumps(_describe_files(run), sort_keys=True, default=str)
    provenance = {
        "images": [one.image.name for one in (run, *run.partners)],
        "method": describe_method(method),
        "versions": _versions(),
        "inputs": {path.name: _fingerprint(path) for path in _inputs(run, method)},
        "lesions": "not given" if run.lesions is None else run.lesions.space or "none",
        "metadata": hashlib.sha256(metadata.encode()).hexdigest(),
    }
    return json.loads(json.dumps(provenance, default=str))  # in the form of a receipt on disk


def _describe_files(run: DwiRun) -> list[Any]:
    """Return the sidecars of a run, of its fieldmaps and of the runs merged with it, and what each file is used for."""
    fieldmaps = [
        [
            fieldmap.method,
            *(
                [[image.path.name, image.metadata] for image in images]
                for images in (fieldmap.images, fieldmap.matching)
            ),
            [path.name for path in fieldmap.magnitudes],
        ]
        for fieldmap in run.fieldmaps
    ]
    return [run.image.name, run.metadata, fieldmaps, [_describe_files(partner) for partner in run.partners]]


def describe_method(method: Method) -> dict[str, Any]:
    """Return the settings in the form of a receipt: files by name and hash, since folders may be moved or mounted."""
    values = asdict(method)
    named = {name: [_describe_file(file) for file in values[name]] for name in ("rois", "atlas")}
    return {**values, **named, "template": _describe_file(method.template)}


def _describe_file(name: str) -> str:
    """Return the name of a path, for a file with the first digits of its hash; any other text unchanged."""
    path = Path(name)
    return f"{path.name} ({_hash(path)[:8]})" if path.is_file() else path.name


def settings_hash(method: Method, rois: str) -> str:
    """Return eight hex digits that are the same for indices of a preset computed with the same settings and version.

    Only settings that can change the index are included: no other presets or atlases. Files enter by content, not by
    path.

    Parameters
    ----------
    method
        Settings of the method.
    rois
        The preset, an entry of ``method.rois``.
    """
    label = template_label(method.template)
    files = [path for path in definition_files(rois) if path.is_file()]
    if label != method.template:
        files += find_template(method.template).values()
    values = {name: sorted(value) if isinstance(value, tuple) else value for name, value in asdict(method).items()}
    for name in ("atlas", "atlas_threshold"):
        del values[name]
    values |= {"rois": Path(rois).name, "template": label, "files": [_hash(path) for path in files]}
    text = json.dumps({**values, "version": __version__}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def describe_longitudinal_provenance(output_dir: Path, runs: Sequence[DwiRun], method: Method) -> dict[str, Any]:
    """Return the provenance of longitudinal results: settings, versions, and the receipts of the runs."""
    making = {
        "method": describe_method(method),
        "versions": _versions(),
        "inputs": {path.name: _fingerprint(path) for path in (receipt_path(output_dir, run) for run in runs)},
        "longitudinal": True,
    }
    return json.loads(json.dumps(making, default=str))


def find_longitudinal(output_dir: Path, runs: Sequence[DwiRun]) -> list[Path]:
    """Return the longitudinal results of runs, sorted by run."""
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
    """Return versions of the program and libraries, with a digest of the code, which may differ within a version."""
    libraries = dict.fromkeys(_LIBRARIES, "none")
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            libraries[name] = version(name)
    return {"bids-alps": __version__, "bids-alps code": code_digest(), **libraries}


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": _hash(path)}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find_outputs(output_dir: Path, run: DwiRun) -> list[Path]:
    """Return the files of a run in the output, sorted; only those with names that this program writes."""
    patterns = {
        participant_folder(output_dir, run) / "dwi": name_pattern(run),
        output_dir / f"sub-{run.participant}" / "figures": re.compile(re.escape(run.name) + _FIGURE),
    }
    return sorted(
        path for folder, pattern in patterns.items() for path in folder.glob("sub-*") if pattern.fullmatch(path.name)
    )


def write_receipt(
    output_dir: Path,
    run: DwiRun,
    provenance: Mapping[str, Any],
    message: str,
    *,
    statements: Sequence[Statement] = (),
    also: Sequence[Path] = (),
) -> None:
    """Write the receipt of a finished run.

    Parameters
    ----------
    output_dir, run
        Output folder and run.
    provenance
        As returned by `describe_provenance`.
    message
        Result in one line.
    statements
        Statements of its stages for the methods text.
    also
        Further outputs, with names of other runs.
    """
    paths = (*find_outputs(output_dir, run), *also)
    content = {
        **provenance,
        "result": message,
        "outputs": {path.relative_to(output_dir).as_posix(): _hash(path) for path in paths},
        "methods": [{name: getattr(statement, name) for name in Statement.__slots__} for statement in statements],
    }
    write_json(receipt_path(output_dir, run), content)


def read_statements(output_dir: Path, participant: str = "*") -> dict[str, tuple[Statement, ...]]:
    """Return the statements for the methods text of the runs of a participant, or of all, by the name of the run."""
    statements: dict[str, tuple[Statement, ...]] = {}
    for name, receipt in read_receipts(output_dir, participant).items():
        try:
            statements[name] = tuple(
                Statement(stage=entry["stage"], text=str(entry["text"]), values=entry["values"])
                for entry in receipt["methods"]
            )
        except (KeyError, TypeError, ValueError):  # of an earlier version, or edited
            statements[name] = ()
    return statements


def find_finished(output_dir: Path, run: DwiRun, provenance: Mapping[str, Any]) -> str | None:
    """Return the message of a run that is up to date; None if it has to be processed (again)."""
    try:
        receipt = read_receipt(receipt_path(output_dir, run))
        same = all(receipt[key] == value for key, value in provenance.items())
        unchanged = receipt["outputs"] and all(
            _hash(output_dir / name) == digest for name, digest in receipt["outputs"].items()
        )
        return str(receipt["result"]) if same and unchanged else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def explain_reprocessing(output_dir: Path, run: DwiRun, provenance: Mapping[str, Any]) -> str:
    """Return why a run is processed again, such as ``roi_radius was n/a and is 5.0``; empty if it has no results."""
    receipt, reasons = read_receipt(receipt_path(output_dir, run)), list[str]()
    try:
        for group in ("method", "versions"):
            before, now = receipt[group], provenance[group]
            for name in sorted({*before, *now}):
                if before.get(name) != now.get(name):
                    reasons.append(f"{name} was {setting_text(before.get(name))} and is {setting_text(now.get(name))}")
        if receipt["inputs"] != provenance["inputs"] or receipt["metadata"] != provenance["metadata"]:
            reasons.append("an input file or its sidecar has changed")
    except (KeyError, TypeError, AttributeError):  # none, or damaged
        return ""
    return "; ".join(reasons) or "outputs were changed or removed, or --force was given"


def setting_text(value: Any) -> str:
    """Return the value of a setting as in a configuration file.

    Examples
    --------
    >>> setting_text([1000, 2000]), setting_text(None), setting_text(True)
    ('1000 2000', 'n/a', 'true')
    """
    if isinstance(value, list):
        return " ".join(map(setting_text, value)) or "n/a"
    return "n/a" if value is None else value if isinstance(value, str) else json.dumps(value)
