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
from bids_alps.io.atlases import find_atlas
from bids_alps.io.derivatives import checked_label, participant_folder
from bids_alps.io.inheritance import entities_of
from bids_alps.io.presets import definition_files
from bids_alps.io.templates import find_template, template_label
from bids_alps.io.temporary import remove_abandoned
from bids_alps.io.writing import write_json
from bids_alps.model import DwiRun
from bids_alps.settings import Method

_LIBRARIES = ("numpy", "scipy", "dipy", "nibabel", "SimpleITK", "picsl_greedy", "nilearn")
_OURS = {"model", "param", "seg", "from", "to", "mode", "label", "desc"}
_LONGITUDINAL = re.compile(r"_desc-longitudinal[a-z]*_|_to-midpoint_")
_CHUNK = 1 << 20


def receipt_path(output_dir: Path, run: DwiRun) -> Path:
    """Return where the receipt of a run lies."""
    folder = output_dir / "logs" / f"sub-{checked_label('sub', run.participant)}"
    return folder / f"{run.name}_desc-receipt_dwi.json"


def describe_provenance(run: DwiRun, method: Method) -> dict[str, Any]:
    """Return what the results of a run are made of: settings, versions, sizes and hashes of inputs.

    Raises
    ------
    OSError
        If an input cannot be read.
    """
    metadata = json.dumps(dict(run.metadata), sort_keys=True, default=str)
    making = {
        "method": asdict(method),
        "versions": {"bids-alps": __version__, **{name: _version(name) for name in _LIBRARIES}},
        "inputs": {path.name: _fingerprint(path) for path in _inputs(run, method)},
        "lesions": "not given" if run.lesions is None else run.lesions.space or "none",
        "metadata": hashlib.sha256(metadata.encode()).hexdigest(),
    }
    return json.loads(json.dumps(making, default=str))  # as a receipt on disk says it


def describe_longitudinal_provenance(output_dir: Path, runs: Sequence[DwiRun], method: Method) -> dict[str, Any]:
    """Return what the longitudinal results of runs are made of: settings, versions, and the receipts of the runs."""
    making = {
        "method": asdict(method),
        "versions": {"bids-alps": __version__, **{name: _version(name) for name in _LIBRARIES}},
        "inputs": {path.name: _fingerprint(path) for path in (receipt_path(output_dir, run) for run in runs)},
        "longitudinal": True,
    }
    return json.loads(json.dumps(making, default=str))


def find_longitudinal(output_dir: Path, runs: Sequence[DwiRun]) -> list[Path]:
    """Return what runs have of longitudinal results, sorted by run."""
    return [path for run in runs for path in find_outputs(output_dir, run) if _LONGITUDINAL.search(path.name)]


def _inputs(run: DwiRun, method: Method) -> Iterator[Path]:
    yield from (run.image, run.bval, run.bvec, *run.reverse_phase)
    yield from (path for path in (run.mask, run.t1w) if path is not None)
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
    if run.partner is not None:
        yield from _inputs(run.partner, method)


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
    """Return the files of a run in the output, sorted; never those of another run whose name begins alike."""
    folders = (participant_folder(output_dir, run) / "dwi", output_dir / f"sub-{run.participant}" / "figures")
    return sorted(
        path
        for folder in folders
        for path in folder.glob(f"{run.name}_*")
        if {key: label for key, label in entities_of(path.name).items() if key not in _OURS} == run.entities
    )


def remove_half_written(output_dir: Path, run: DwiRun) -> None:
    """Remove the half-written files of a run that killed processes left."""
    participant = output_dir / f"sub-{run.participant}"
    logs = receipt_path(output_dir, run).parent
    for folder in (participant_folder(output_dir, run) / "dwi", participant / "figures", logs):
        remove_abandoned(folder, f"{run.name}_")


def write_receipt(
    output_dir: Path, run: DwiRun, making: Mapping[str, Any], message: str, *, also: Sequence[Path] = ()
) -> None:
    """Write the receipt of a finished run; `also` are outputs under other names."""
    paths = (*find_outputs(output_dir, run), *also)
    outputs = {path.relative_to(output_dir).as_posix(): _hash(path) for path in paths}
    write_json(receipt_path(output_dir, run), {**making, "result": message, "outputs": outputs})


def find_finished(output_dir: Path, run: DwiRun, making: Mapping[str, Any]) -> str | None:
    """Return the message of a run that needs no work, None where it has to be done (again)."""
    try:
        receipt = json.loads(receipt_path(output_dir, run).read_text())
        same = all(receipt[key] == value for key, value in making.items())
        kept = receipt["outputs"] and all(_hash(output_dir / name) == told for name, told in receipt["outputs"].items())
        return str(receipt["result"]) if same and kept else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def clear_run(output_dir: Path, run: DwiRun) -> None:
    """Remove what an earlier attempt left of a run, the receipt first, so that no stale file stays beside new ones."""
    for path in (receipt_path(output_dir, run), *find_outputs(output_dir, run)):
        with suppress(FileNotFoundError):
            path.unlink()
