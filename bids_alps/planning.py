"""The plan: the runs of a participant that the settings select, with the files and steps of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.errors import AlpsError, AmbiguityError, UsageError
from bids_alps.io.atlases import atlas_label
from bids_alps.io.combining import combine, find_groups
from bids_alps.io.gradient_tables import read_gradients
from bids_alps.io.images import read_header
from bids_alps.io.indexing import Index, open_index
from bids_alps.io.inheritance import read_json, suffix_of
from bids_alps.io.layout import ExcludedRun, PlannedRun, UnusableRun, find_runs
from bids_alps.io.lesions import LESIONS, find_lesions
from bids_alps.io.manual_rois import ROIS, find_manual_rois, find_unused_manual_rois
from bids_alps.io.preprocessed import replace_preprocessed
from bids_alps.io.queries import Selection, read_filters
from bids_alps.io.templates import template_label
from bids_alps.io.transforms import find_transform_to
from bids_alps.model import DwiRun, Gradients
from bids_alps.numerics.tensors.gradients import choose_shells, find_shells
from bids_alps.provenance import receipt_path
from bids_alps.settings import Method, Request, Settings

LOG = logging.getLogger(__name__)
Indexes = Mapping[Path, Index]
NO_FIELD = "none: no fieldmap and no image with opposite phase encoding"
_BATCH = 32
"""Participants indexed together: most of the cost of an index and of a query does not depend on the number of files."""


def plan_participants(labels: Sequence[str], settings: Settings) -> Iterator[tuple[str, list[PlannedRun]]]:
    """Yield participants with their runs (see `plan_participant`), indexed in batches: several times as fast."""
    for first in range(0, len(labels), _BATCH):
        batch = labels[first : first + _BATCH]
        with open_indexes(batch, settings) as indexes:
            for label in batch:
                yield label, plan_participant(label, settings, indexes)


def plan_participant(participant: str, settings: Settings, indexes: Indexes | None = None) -> list[PlannedRun]:
    """Return the runs of a participant that the settings select, and those that cannot be processed.

    A run in a preprocessed dataset replaces the raw one. Runs have their lesion masks and manual ROIs, where datasets
    of these were given.

    Parameters
    ----------
    participant
        Label without ``sub-``.
    settings
        Settings of the user.
    indexes
        Open indexes of the datasets; opened here where None.
    """
    lesions, rois = lesions_of(settings), settings.request.datasets.get(ROIS)
    with open_indexes([participant], settings) if indexes is None else nullcontext(indexes) as opened:
        runs = _refuse_repeated(_select_runs(participant, settings, opened))
    if lesions is not None:
        find = partial(find_lesions, lesions, t1w_aligned=settings.method.t1w_aligned)
        runs = [_or_problem(run, lambda dwi: replace(dwi, lesions=find(dwi))) for run in runs]
    if rois is not None:
        labels = [atlas_label(name) for name in settings.method.rois]
        draw = partial(find_manual_rois, rois, labels=labels)
        runs = [_or_problem(run, lambda dwi: replace(dwi, regions=draw(dwi))) for run in runs]
        used = [image for run in runs if isinstance(run, DwiRun) for image, _ in run.regions.values()]
        for path in find_unused_manual_rois(rois, participant, used):
            LOG.warning("%s: its name matches no processed run and preset, so it is ignored. Check the name.", path)
    return runs


@contextmanager
def open_indexes(labels: Sequence[str], settings: Settings) -> Iterator[Indexes]:
    """Open the indexes of all datasets that are searched for runs, by their roots."""
    request = settings.request
    with ExitStack() as stack:
        indexes = {
            root: stack.enter_context(
                open_index(
                    root,
                    labels,
                    derivative=root != request.bids_dir or is_derivative(root),
                    # a database holds one dataset, the input
                    database=request.bids_database_dir if root == request.bids_dir else None,
                )
            )
            for root in (request.bids_dir, *_preprocessed_datasets(request).values())
        }
        yield indexes


def _preprocessed_datasets(request: Request) -> dict[str, Path]:
    return {name: root for name, root in request.datasets.items() if name not in (LESIONS, ROIS)}


def _select_runs(participant: str, settings: Settings, indexes: Indexes) -> list[PlannedRun]:
    request, method = settings.request, settings.method
    selection = Selection(
        sessions=tuple(label.removeprefix("ses-") for label in request.session_label),
        runs=request.run_label,
        filters={} if request.bids_filter_file is None else read_filters(request.bids_filter_file),
    )
    find = partial(find_runs, participant=participant, selection=selection, b0_threshold=method.b0_threshold)
    datasets = _preprocessed_datasets(request)
    preprocessed = {
        name: [
            replace(run, dataset=name) if isinstance(run, DwiRun) else run
            for run in find(root, preprocessed=True, index=indexes[root])
        ]
        for name, root in datasets.items()
    }
    runs = find(request.bids_dir, preprocessed=is_derivative(request.bids_dir), index=indexes[request.bids_dir])
    runs = [_without_ignored(run, request.ignore) for run in replace_preprocessed(runs, preprocessed)]
    if method.combine_runs is False:
        return runs
    if method.skip_preprocessing:
        same_scan = find_groups(runs, everything=False)
        return _note_groups(runs, same_scan, "not merged because of --skip-preprocessing: has the MultipartID of")
    if method.combine_runs is None:
        groups = find_groups(runs, everything=True, distortion_correction=method.distortion_correction)
        noted = _note_groups(runs, groups, "--combine-runs would merge it with")
        # runs with a MultipartID are merged without the option
        has_id = [isinstance(run, DwiRun) and "MultipartID" in run.metadata for run in runs]
        runs = [run if own else other for run, other, own in zip(runs, noted, has_id, strict=True)]
    return combine(runs, everything=bool(method.combine_runs), distortion_correction=method.distortion_correction)


def _refuse_repeated(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return runs with those of the same name, which would overwrite each other's results, replaced by a problem."""
    by_name: dict[str, list[PlannedRun]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run)
    checked = list[PlannedRun]()
    for name, same in by_name.items():
        planned = [run for run in same if not isinstance(run, ExcludedRun)]
        if len(planned) < 2:
            checked += same
            continue
        files = [str(run.image) if isinstance(run, DwiRun) else str(run.error) for run in planned]
        error = AmbiguityError(
            name,
            f"{len(files)} runs have this name ({', '.join(files)})",
            "rename the files, or select one of them with --bids-filter-file",
        )
        checked += [UnusableRun(name=name, error=error), *(run for run in same if isinstance(run, ExcludedRun))]
    return checked


def _note_groups(runs: list[PlannedRun], groups: Sequence[Sequence[DwiRun]], note: str) -> list[PlannedRun]:
    """Return runs with a note that names the other runs of their group."""
    others = {run.name: [other.name for other in group if other is not run] for group in groups for run in group}
    return [
        replace(run, notes=(*run.notes, f"{note} {', '.join(others[run.name])}"))
        if isinstance(run, DwiRun) and run.name in others
        else run
        for run in runs
    ]


def _without_ignored(run: PlannedRun, ignored: Sequence[str]) -> PlannedRun:
    """Return a run without the images to ignore."""
    if not isinstance(run, DwiRun) or not ignored:
        return run
    fieldmaps = run.fieldmaps
    if "fieldmaps" in ignored:
        fieldmaps = ()
    elif "sbref" in ignored:
        fieldmaps = tuple(fieldmap for fieldmap in fieldmaps if suffix_of(fieldmap.images[0].path.name) != "sbref")
    note = (f"ignored by --ignore: {', '.join(ignored)}",)
    return replace(run, fieldmaps=fieldmaps, t1w=None if "t1w" in ignored else run.t1w, notes=(*run.notes, *note))


def lesions_of(settings: Settings) -> Path | None:
    """Return the dataset of lesion masks, if one was given.

    Raises
    ------
    UsageError
        If lesions are to be excluded and no dataset was given.
    """
    dataset = settings.request.datasets.get(LESIONS)
    if dataset is None and settings.method.exclude_lesions:
        raise UsageError("--exclude-lesions", "no dataset of lesion masks", f"give one: -d {LESIONS}=PATH")
    return dataset


def is_derivative(bids_dir: Path) -> bool:
    """Whether the description of a dataset says that it is a derivative, such as the output of QSIPrep."""
    return read_json(bids_dir / "dataset_description.json").get("DatasetType") == "derivative"


def _or_problem(run: PlannedRun, add: Callable[[DwiRun], DwiRun]) -> PlannedRun:
    """Return a run with what `add` adds to it, or the problem that it raised."""
    if not isinstance(run, DwiRun):
        return run
    try:
        return add(run)
    except AlpsError as error:
        return UnusableRun(name=run.name, error=error)


def describe_plan(run: PlannedRun, settings: Settings) -> dict[str, Any]:
    """Return the files and steps of a run as plain values, to print or to write as JSON.

    Gradient tables and image headers are read, so that errors in them are found.

    Parameters
    ----------
    run
        Run as returned by `plan_participant`.
    settings
        Settings of the user.
    """
    if isinstance(run, ExcludedRun):
        return {"run": run.name, "state": "set aside", "reason": run.reason, "exit_code": 0}
    if isinstance(run, DwiRun):
        try:
            return _describe_run(run, settings)
        except AlpsError as error:
            run = UnusableRun(name=run.name, error=error)
    return {"run": run.name, "state": "skipped", "reason": str(run.error), "exit_code": run.error.exit_code}


def _describe_run(run: DwiRun, settings: Settings) -> dict[str, Any]:
    method, notes = settings.method, [*run.notes]
    header = read_header(run.image)
    gradients = read_gradients(
        run, header.affine, volumes=header.shape[3], b0_threshold=method.b0_threshold, notes=notes
    )
    fitted = choose_shells(gradients, wanted=method.shells, b0_threshold=method.b0_threshold)
    if not header.left_right_known:
        notes.append("the header does not define left and right: only the bilateral index will be reported")
    if method.registrar == "precomputed":
        find_transform_to(run, template_label(method.template))
    unused = " (not used: no lesion mask is drawn on it)" if run.t1w is not None and not run.needs_t1w else ""
    has_result = not settings.request.force and receipt_path(settings.request.output_dir, run).exists()
    plan: dict[str, Any] = {
        "run": run.name,
        "state": "has a result" if has_result else "due",
        "exit_code": 0,
        "image": str(run.image),
        "bval": str(run.bval),
        "bvec": str(run.bvec),
        "sidecar": f"{len(run.metadata)} fields",
        "volumes": _describe_shells(gradients, method.b0_threshold),
        "fit": _describe_shells(gradients.take(fitted), method.b0_threshold),
        "mask": str(run.mask or "to be estimated"),
        "steps": ", ".join(_steps(run, method)),
        "field": [f"{field.method}: {', '.join(str(image.path) for image in field.images)}" for field in run.fieldmaps]
        or NO_FIELD,
        "T1w": f"{run.t1w or 'none'}{unused}",
        "lesions": "" if run.lesions is None else str(run.lesions.path or "none"),
        "transform": [f"{path} to {template}" for template, path in run.transforms.items()],
        "regions": [f"{image} for {label}" for label, (image, _) in run.regions.items()],
        "merged": [str(partner.image) for partner in run.partners],
        "note": notes,
    }
    return plan


def _describe_shells(gradients: Gradients, b0_threshold: float) -> str:
    """Return the number of volumes of each b-value, such as ``2 at b = 0, 30 at b = 1000``."""
    shells = find_shells(gradients.bvals, b0_threshold=b0_threshold)
    values, counts = np.unique(shells.round(-1), return_counts=True)
    return ", ".join(f"{count} at b = {value:.0f}" for value, count in zip(values, counts, strict=True))


def _steps(run: DwiRun, method: Method) -> Iterator[str]:
    """Yield the steps of a run in order."""
    if run.preprocessed:
        yield "preprocessed input"
    elif not method.skip_preprocessing:
        steps = {
            "denoising": method.denoising,
            "unringing": method.unringing,
            "motion and eddy currents": method.motion_correction,
            "susceptibility distortion": method.distortion_correction and bool(run.fieldmaps),
        }
        yield from (name for name, wanted in steps.items() if wanted)
    yield from ("tensor", f"registration ({method.registrar})", f"index ({', '.join(method.rois)})")
