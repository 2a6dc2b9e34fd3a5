"""Group level: gather the results of all participants, run the statistics, write tables and the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import UsageError
from bids_alps.group.atlases import gather_atlases, join_atlases
from bids_alps.group.datasets import DerivativeDataset, open_datasets
from bids_alps.group.exclusions import exclusion_rows, find_problems
from bids_alps.group.gather import (
    columns_of,
    describe_entity,
    describe_region,
    gather,
    gather_changes,
    gather_regions,
    mark_repeated,
)
from bids_alps.group.outputs import GroupOutputs
from bids_alps.group.phenotype import JoinedPhenotype, find_roots, join_phenotype
from bids_alps.group.ratings import add_ratings
from bids_alps.group.script import script_table
from bids_alps.io.changes import CHANGE_COLUMNS
from bids_alps.io.lesions import LESIONS
from bids_alps.io.manual_rois import ROIS
from bids_alps.io.ratings import read_ratings
from bids_alps.io.tables import Column, fill_rows
from bids_alps.report.cohort import render_cohort
from bids_alps.report.failures import find_all_failures
from bids_alps.settings import Request, Settings
from bids_alps.statistics.comparability import METHOD
from bids_alps.statistics.comparison import group_names
from bids_alps.statistics.dictionary import DESCRIPTIONS
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan, choose_reference, find_columns
from bids_alps.statistics.presets import analyze_presets
from bids_alps.statistics.variables import Variable, infer_variables

LOG = logging.getLogger(__name__)


def run_group(settings: Settings) -> Path:
    """Write ``group_*.tsv`` with their dictionaries and ``group_alps.html``; return the path of the first table.

    Raises
    ------
    NoInputError
        If there are no results.
    UsageError
        If an option names an unknown group, column or condition; nothing is written.
    MetadataError
        If a table of participants or sessions cannot be read; raised after all outputs are written without it.
    """
    request = settings.request
    folders = _datasets(request)
    datasets = open_datasets(folders)
    rows = gather(datasets, longitudinal=request.longitudinal)
    columns = columns_of(rows)
    runs = pd.DataFrame(rows).reindex(columns=[column.name for column in columns])
    runs, rated, unknown = add_ratings(mark_repeated(runs), read_ratings(request.ratings))
    columns += rated
    joined = join_phenotype(runs, find_roots(folders, request.bids_dir))
    joined.notes += [*unknown, *(note for dataset in datasets for note in dataset.notes())]
    atlases = gather_atlases(datasets)
    table, outcomes = join_atlases(joined.table, atlases)
    categories = [name for name in (request.group_column, request.harmonize) if name is not None and name in table]
    table, variables = infer_variables(table, joined.names, joined.dictionary, categories=categories)
    plan = _plan(table, variables, outcomes, settings)
    findings_by_preset = analyze_presets(table, plan)
    outputs = GroupOutputs(request.output_dir)
    # options have been checked; from here on, an interrupted call leaves no receipt
    previous = outputs.begin()
    columns += _phenotype_columns(joined, variables)
    written = fill_rows(_records(table), columns)
    outputs.write_table("alps", written, columns)
    regions, region_columns = gather_regions(datasets)
    outputs.write_table("rois", regions, region_columns)
    outputs.write_text("group_alps-sh.csv", script_table(table))
    if request.longitudinal:
        _write_changes(outputs, datasets[0])
    _write_atlases(outputs, atlases)
    _write_findings(outputs, findings_by_preset, [str(name) for name in table])
    _write_exclusions(outputs, datasets, table, joined, findings_by_preset)
    notes = _notes(joined, variables, findings_by_preset)
    for note in notes:
        LOG.warning(note)
    try:
        page = render_cohort(
            request.output_dir, written, findings_by_preset, plan=plan, notes=notes, files=outputs.tables
        )
        outputs.write_text("group_alps.html", page)
    finally:  # the tables are complete even without the page
        outputs.end(previous, _settings_of(settings))
    if joined.errors:
        raise joined.errors[0]
    return request.output_dir / "group_alps.tsv"


def _datasets(request: Request) -> dict[str, Path]:
    """Return the derivative datasets to pool by name; the name of the output is empty."""
    pooled = {
        name: path for name, path in request.datasets.items() if name not in (LESIONS, ROIS)
    }  # these contain no results
    return {"": request.output_dir, **pooled}


def _plan(table: pd.DataFrame, variables: tuple[Variable, ...], outcomes: tuple[str, ...], settings: Settings) -> Plan:
    request = settings.request
    group = request.group_column if request.group_column in table else None
    if group is None and request.group_column != Request.__dataclass_fields__["group_column"].default:
        raise UsageError("--group-column", f"no column {request.group_column!r}", f"choose from {_listed(table)}")
    groups = group_names(table[group]) if group else []
    unknown = [name for name in request.pool_across if name not in METHOD]
    if unknown:
        raise UsageError(
            "--pool-across", f"{', '.join(unknown)}: not a column of the method", f"choose from {', '.join(METHOD)}"
        )
    if request.harmonize is not None and request.harmonize not in table:
        raise UsageError("--harmonize", f"no column {request.harmonize!r}", f"choose from {_listed(table)}")
    find_columns(request.covariates or (), table)
    return Plan(
        group=group,
        reference=choose_reference(groups, request.reference_group, group),
        variables=variables,
        outcomes=outcomes,
        formulas=request.model,
        covariates=request.covariates,
        test=request.test,
        precision=request.weights == "precision",
        margin=request.equivalence_margin,
        permutations=request.permutations,
        seed=settings.method.random_seed,
        sessions=request.sessions,
        included=request.include_status,
        subset=request.subset,
        pooled=request.pool_across,
        site=request.harmonize,
    )


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(str(column) for column in table.columns if not str(column).startswith("_"))


def _phenotype_columns(joined: JoinedPhenotype, variables: tuple[Variable, ...]) -> list[Column]:
    by_name = {variable.name: variable for variable in variables}
    columns = []
    for name in joined.names:
        entry = joined.dictionary.get(name)
        entry = entry if isinstance(entry, Mapping) else {}
        description = str(entry.get("Description") or f"{name}, from participants.tsv or sessions.tsv.")
        unit = str(entry.get("Units") or "")
        columns.append(Column(name=name, description=f"{description} ({by_name[name].kind})", unit=unit, optional=True))
    return columns


def _write_changes(outputs: GroupOutputs, dataset: DerivativeDataset) -> None:
    rows = gather_changes(dataset)
    named = {column.name for column in CHANGE_COLUMNS}
    others = dict.fromkeys(name for row in rows for name in row if name not in named)
    columns = [*(Column(name=name, description=describe_entity(name)) for name in others), *CHANGE_COLUMNS]
    outputs.write_table("change", fill_rows(rows, columns), columns)


def _write_atlases(outputs: GroupOutputs, atlases: Mapping[str, list[dict[str, Any]]]) -> None:
    for atlas, rows in atlases.items():
        names = dict.fromkeys(name for row in rows for name in row)
        columns = [Column(name=name, description=describe_region(name)) for name in names]
        outputs.write_table(f"seg-{atlas}", fill_rows(rows, columns), columns)


def _write_findings(
    outputs: GroupOutputs, findings_by_preset: Mapping[str, Findings], run_columns: Sequence[str]
) -> None:
    """Write all result tables, with the presets stacked; `run_columns`: those of the table of all runs."""
    flow = " ".join(f"{preset}: {findings.flow.sentence}" for preset, findings in findings_by_preset.items())
    steps = [
        {"roi_preset": preset, **step}
        for preset, findings in findings_by_preset.items()
        for step in findings.flow.steps
    ]
    tables = {"flow": pd.DataFrame(steps)} if steps else {}
    names = dict.fromkeys(name for findings in findings_by_preset.values() for name in findings.tables)
    for name in names:
        parts = [
            findings.tables[name].assign(roi_preset=preset)
            if "roi_preset" not in findings.tables[name]
            else findings.tables[name]
            for preset, findings in findings_by_preset.items()
            if name in findings.tables
        ]
        tables[name] = pd.concat(parts, ignore_index=True)
    for name, table in tables.items():
        columns = []
        for column in map(str, table):
            if column not in DESCRIPTIONS and column not in run_columns:
                raise KeyError(f"column {column} of a group table has no description in statistics/dictionary.py")
            description = DESCRIPTIONS.get(column, f"{column}: as in group_alps.tsv.")
            columns.append(Column(name=column, description=description))
        outputs.write_table(name, _records(table), columns, flow=flow)


def _write_exclusions(
    outputs: GroupOutputs,
    datasets: Sequence[DerivativeDataset],
    table: pd.DataFrame,
    joined: JoinedPhenotype,
    findings_by_preset: Mapping[str, Findings],
) -> None:
    crashes = {failure.run: failure.message for failure in find_all_failures(outputs.folder)}
    problems = find_problems(datasets, crashes)
    rows, columns = exclusion_rows(table, joined.absent, problems, findings_by_preset)
    outputs.write_table("exclusions", rows, columns)


def _notes(
    joined: JoinedPhenotype, variables: tuple[Variable, ...], findings_by_preset: Mapping[str, Findings]
) -> list[str]:
    notes = [str(error) for error in joined.errors] + joined.notes
    notes += [f"{variable.name}: {note}." for variable in variables for note in variable.notes]
    notes_by_preset = {preset: [*findings.banners, *findings.notes] for preset, findings in findings_by_preset.items()}
    shared = [
        note
        for note in next(iter(notes_by_preset.values()))
        if all(note in preset_notes for preset_notes in notes_by_preset.values())
    ]
    notes += shared
    notes += [
        f"{preset}: {note}"
        for preset, preset_notes in notes_by_preset.items()
        for note in preset_notes
        if note not in shared
    ]
    return list(dict.fromkeys(notes))


def _settings_of(settings: Settings) -> dict[str, Any]:
    """Return the options of the group level, for its receipt."""
    names = (
        *("group_column", "model", "include_status", "reference_group", "covariates", "subset", "sessions", "test"),
        *("weights", "equivalence_margin", "permutations", "pool_across", "harmonize", "longitudinal"),
    )
    options = asdict(settings.request)
    ratings = [path.name for path in settings.request.ratings]
    return {name: options[name] for name in names} | {"ratings": ratings, "random_seed": settings.method.random_seed}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = [name for name in table if not str(name).startswith("_")]
    return [{str(name): value for name, value in row.items()} for row in table[columns].to_dict("records")]
