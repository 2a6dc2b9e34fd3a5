"""What the group level gathers: every participant's tables, and what is known of the participants."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.results import ALPS_COLUMNS, ROI_COLUMNS
from bids_alps.io.root import read_description
from bids_alps.io.tables import Column, fill_rows, read_dictionary, read_table
from bids_alps.model import SIDES

LOG = logging.getLogger(__name__)
_SIDED = ("alps", "alps_se", "alps_ci_low", "alps_ci_high", "alps_uncorrected")
_TERMS = ("dxx_projection", "dyy_projection", "dxx_association", "dzz_association")
_ID = {"sub": "participant_id", "ses": "session_id"}
_LABELS = (
    "roi_preset",
    "hemisphere",
    "frame",
    "first_session",
    "second_session",
    "status",
    "roi",
    "name",
    "unit",
    "direction",
    "reason",
    "settings_hash",
    "version",
)
_CHECK = "check_"

OUTPUT = "output"
"""Name of the output's own results where several datasets are pooled."""

PEOPLE = "participants.tsv"


def gather(datasets: Mapping[str, Path], *, longitudinal: bool = False) -> list[dict[str, Any]]:
    """Return one row per run and preset from every index table below folders, in a stable order.

    Parameters
    ----------
    datasets
        Derivative datasets by name; where there is more than one, rows have a ``dataset`` column.
    longitudinal
        Take what was measured in the frame between sessions for every run that has it; the column ``frame`` tells.
    """
    rows: list[dict[str, Any]] = []
    for name, folder in datasets.items():
        named = {"dataset": name or OUTPUT} if len(datasets) > 1 else {}
        tables = (_in_frame(path) if longitudinal else path for path in _find(folder, "desc-alps"))
        rows += [named | row for path in tables for row in _wide_rows(path)]
    if not rows:
        where = ", ".join(str(folder) for folder in datasets.values())
        raise NoInputError(
            where, "no index of any participant", "run the participant level first, with the same output"
        )
    return rows


def _in_frame(path: Path) -> Path:
    """Return the longitudinal table beside a table of the index, or that one where there is none."""
    beside = path.with_name(path.name.replace("_desc-alps_", "_desc-longitudinal_"))
    return beside if beside.exists() else path


def gather_changes(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of every table of changes below a folder, each with its participant and other entities."""
    return [_entities(path) | row for path in _find(folder, "desc-change") for row in _read_rows(path)]


def _find(folder: Path, entity: str) -> list[Path]:
    return sorted(folder.glob(f"sub-*/**/*_{entity}_scalarstats.tsv"))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a table of ours; a tenth of the time that a data frame takes, which tells over 10,000 runs."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str | None) -> Any:
    if name in _LABELS:
        return text
    try:
        return float(text) if text not in (None, "n/a") else float("nan")
    except ValueError:
        return text


def _entities(path: Path) -> dict[str, str]:
    labels = {key: label for key, label in entities_of(path.name).items() if key not in ("desc", "seg")}
    return {_ID.get(key, key): f"{key}-{label}" if key in _ID else label for key, label in labels.items()}


def _wide_rows(path: Path) -> Iterator[dict[str, Any]]:
    ends = {"_desc-alps_": "_desc-quality_", "_desc-longitudinal_": "_desc-longitudinalquality_"}
    quality = next((path.with_name(path.name.replace(a, b)) for a, b in ends.items() if a in path.name), path)
    checked = _read_rows(quality) if quality.exists() else []
    presets: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _read_rows(path):
        presets.setdefault(row["roi_preset"], {})[row["hemisphere"]] = row
    for preset, by_side in presets.items():
        if not {*SIDES, "bilateral"} <= by_side.keys():
            LOG.warning("%s: not all of left, right, bilateral. Redo the run.", path)
            continue
        wide = {
            _wide_name(name, side): by_side[side].get(name, float("nan"))
            for name in _SIDED
            for side in (*SIDES, "bilateral")
        }
        wide |= {f"{name}_{side}": by_side[side].get(name, float("nan")) for side in SIDES for name in _TERMS}
        skipped = (*_SIDED, "hemisphere")
        rest = {c.name: by_side["bilateral"].get(c.name) for c in ALPS_COLUMNS if c.name not in skipped}
        yield _entities(path) | wide | rest | _checks([row for row in checked if row.get("roi_preset") == preset])


def _checks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the value of every quality check of a run and preset, and which of them complain."""
    if not rows:
        return {"checks_failed": "n/a", "checks_warned": "n/a"}
    complaints = {
        f"checks_{past}": "; ".join(row["name"] for row in rows if row["status"] == status) or "none"
        for status, past in (("fail", "failed"), ("warn", "warned"))
    }
    return complaints | {f"{_CHECK}{row['name']}": row["value"] for row in rows}


def _wide_name(name: str, side: str) -> str:
    """Return ``alps_left_ci_low`` for ``alps_ci_low`` and ``left``."""
    return name.replace("alps", f"alps_{side}", 1)


def columns_of(rows: list[dict[str, Any]]) -> list[Column]:
    """Return the columns of the wide table with their descriptions."""
    known = {column.name: column for column in ALPS_COLUMNS}
    sided = {_wide_name(name, side): (name, side) for name in _SIDED for side in (*SIDES, "bilateral")}
    sided |= {f"{name}_{side}": (name, side) for side in SIDES for name in _TERMS}
    others = dict.fromkeys(name for row in rows for name in row if name not in known and name not in sided)
    checks = [name for name in others if name.startswith((_CHECK, "checks_"))]
    columns = [Column(name=name, description=describe_entity(name)) for name in others if name not in checks]
    columns += [
        Column(name=wide, description=f"{known[name].description} {side.capitalize()}.")
        for wide, (name, side) in sided.items()
    ]
    skipped = {*_SIDED, "hemisphere"}
    columns += [column for column in ALPS_COLUMNS if column.name not in skipped]
    return columns + [Column(name=name, description=_describe_check(name)) for name in checks]


def _describe_check(name: str) -> str:
    if name.startswith(_CHECK):
        return f"Value of the quality check {name.removeprefix(_CHECK)}."
    return f"Quality checks that {name.removeprefix('checks_')}."


def describe_entity(name: str) -> str:
    """Return the description of a column that identifies a run."""
    return "Derivative dataset." if name == "dataset" else f"BIDS entity {name.removesuffix('_id')}."


def describe_region(name: str) -> str:
    """Return the description of a column of an atlas' table."""
    known = {
        "region": "Name of the region in formulas.",
        "index": "Label of the region in the atlas.",
        "name": "Name of the region in the atlas.",
        "n_voxels": "Voxels of the region.",
        "reason": "Why nothing was measured.",
    }
    metric, _, statistic = name.rpartition("_")
    words = {"mean": "Weighted mean", "sd": "Standard deviation", "median": "Median"}
    measured = f"{words[statistic]} of {metric.upper()}." if statistic in words else describe_entity(name)
    return known.get(name, measured)


def find_roots(datasets: Mapping[str, Path], bids_dir: Path) -> dict[str, Path]:
    """Return the folder that tells the participants of each derivative dataset, by its name, where there is one.

    That of the output is `bids_dir`. Another dataset's ``participants.tsv`` lies in its own folder, in the dataset that
    it was made from (``DatasetLinks``), or in the one whose ``derivatives`` it is part of.
    """
    found = {OUTPUT: bids_dir}
    for name, folder in datasets.items():
        roots = [root for root in (folder, *_sources(folder)) if (root / PEOPLE).exists()]
        if name and roots:
            found[name] = roots[0]
    return found


def _sources(folder: Path) -> list[Path]:
    links = read_description(folder).get("DatasetLinks")
    raw = links.get("raw") if isinstance(links, dict) else None
    linked = [Path(unquote(urlparse(raw).path))] if isinstance(raw, str) and raw.startswith("file:") else []
    around = [folder.parent.parent] if folder.parent.name == "derivatives" else []
    return linked + around


def join_participants(table: pd.DataFrame, roots: Mapping[str, Path]) -> tuple[pd.DataFrame, list[Column]]:
    """Add the columns of ``participants.tsv``; those that a result has already get ``participants_`` before them.

    One label in two datasets is two people: where the table has a ``dataset`` column it is matched too.
    """
    paths = {name: root / PEOPLE for name, root in roots.items() if (root / PEOPLE).exists()}
    found = [
        _read_labelled(path, "participant_id").drop_duplicates("participant_id").assign(dataset=name)
        for name, path in paths.items()
    ]
    return _join(table, found, ["participant_id"], _dictionaries(paths.values()), "participants")


def _read_labelled(path: Path, label: str) -> pd.DataFrame:
    table = read_table(path)
    if label not in table:
        raise MetadataError(str(path), f"no column {label}", f"name its first column {label}")
    return table


def _dictionaries(paths: Iterable[Path]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for path in paths:
        told |= read_dictionary(path)
    return told


def join_sessions(table: pd.DataFrame, roots: Mapping[str, Path]) -> tuple[pd.DataFrame, list[Column]]:
    """Add the columns of every participant's ``sub-*_sessions.tsv``."""
    if "session_id" not in table:
        return table, []
    people = sorted(table["participant_id"].unique())
    paths = {(name, label): root / label / f"{label}_sessions.tsv" for name, root in roots.items() for label in people}
    paths = {key: path for key, path in paths.items() if path.exists()}
    found = [
        _read_labelled(path, "session_id").drop_duplicates("session_id").assign(dataset=name, participant_id=label)
        for (name, label), path in paths.items()
    ]
    return _join(table, found, ["participant_id", "session_id"], _dictionaries(paths.values()), "sessions")


def _join(
    table: pd.DataFrame, found: list[pd.DataFrame], keys: list[str], told: Mapping[str, Any], source: str
) -> tuple[pd.DataFrame, list[Column]]:
    if not found:
        return table, []
    other = pd.concat(found, ignore_index=True)
    if "dataset" in table:
        keys = ["dataset", *keys]
    else:
        other = other.drop(columns="dataset")
    other = other.rename(columns={name: f"{source}_{name}" for name in other if name in table and name not in keys})
    added = [
        Column(
            name=str(name), description=str(told.get(str(name), {}).get("Description", f"{name}, from {source}.tsv."))
        )
        for name in other
        if name not in keys
    ]
    return table.merge(other, on=keys, how="left"), added


def find_unmatched(table: pd.DataFrame, roots: Mapping[str, Path]) -> list[str]:
    """Return what is to be said of participants without a row in ``participants.tsv``, or with several."""
    notes = []
    for name, root in roots.items():
        if not (root / PEOPLE).exists():
            continue
        part = table[table["dataset"] == name] if "dataset" in table else table
        ids = read_table(root / PEOPLE)["participant_id"]
        where = f"{PEOPLE} of {name}" if "dataset" in table else PEOPLE
        missing = sorted(set(part["participant_id"]) - set(ids))
        twice = sorted(set(ids[ids.duplicated()]))
        notes += [f"Not in {where}: {', '.join(missing)}."] * bool(missing)
        notes += [f"More than once in {where}, the first row counts: {', '.join(twice)}."] * bool(twice)
    return notes


def find_repeated(table: pd.DataFrame) -> list[str]:
    """Return what is to be said of runs whose results stand in more than one of the pooled datasets."""
    if "dataset" not in table:
        return []
    run = [name for name in table.columns[: list(table.columns).index("alps_left")] if name != "dataset"]
    twice = table.duplicated([*run, "roi_preset", "alps_left", "alps_right"], keep="first")
    told = f"{int(twice.sum())} rows have the same results as a row of another dataset: pool each once."
    return [told] if twice.any() else []


def gather_regions(datasets: Mapping[str, Path]) -> tuple[list[dict[str, Any]], list[Column]]:
    """Return the long table of regions, one row a region, with its columns."""
    rows = [
        {"dataset": name or OUTPUT, **_entities(path), **row}
        for name, folder in datasets.items()
        for path in _find(folder, "seg-alps")
        for row in _read_rows(path)
    ]
    known = {column.name for column in ROI_COLUMNS}
    ids = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = [
        Column(name=name, description=describe_entity(name)) for name in ids if name != "dataset" or len(datasets) > 1
    ]
    columns += ROI_COLUMNS
    return fill_rows(rows, columns), columns


def gather_atlases(datasets: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Return, per atlas, the long table of its regions: one row a region, ``region`` being its name in formulas.

    The name is that of the atlas' table in lower case, with one underscore for whatever is no letter or digit; regions
    whose names become one get their label behind it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for dataset, folder in datasets.items():
        named = {"dataset": dataset or OUTPUT} if len(datasets) > 1 else {}
        for path in sorted(folder.glob("sub-*/**/*_seg-*_scalarstats.tsv")):
            atlas = entities_of(path.name)["seg"]
            if atlas != "alps":
                run = named | _entities(path)
                found.setdefault(atlas, []).extend(run | row for row in _regions(path))
    return {atlas: rows for atlas, rows in found.items() if rows}


def _regions(path: Path) -> list[dict[str, Any]]:
    rows = _read_rows(path)
    if not all({"index", "name", "fa_mean"} <= row.keys() for row in rows):
        LOG.warning("%s: no columns index, name and fa_mean. Redo the run.", path)
        return []
    names = [_plain(str(row["name"])) for row in rows]
    count = Counter(names)
    labels = [str(row["index"]).removesuffix(".0") for row in rows]
    regions = [one if count[one] == 1 else f"{one}_{label}" for one, label in zip(names, labels, strict=True)]
    return [{"region": region, **row} for region, row in zip(regions, rows, strict=True)]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_") or "region"


def join_atlases(
    table: pd.DataFrame, atlases: Mapping[str, list[dict[str, Any]]]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the mean of every metric of every region, such as ``putamen_left_fa``; return the names of these columns.

    A name that is a column already, of another atlas or of the participants, gets the atlas before it.
    """
    added: list[str] = []
    for atlas, rows in atlases.items():
        long = pd.DataFrame(rows)
        metrics = [name for name in long if str(name).endswith("_mean")]
        keys = [name for name in table.columns[: list(table.columns).index("alps_left")] if name in long]
        marked = long.fillna(dict.fromkeys(keys, ""))  # a run without a number is a run too
        wide = marked.pivot_table(metrics, keys, "region", sort=False)
        pairs = wide.columns.to_frame().astype(str).to_numpy()
        names = [f"{region}_{metric.removesuffix('_mean')}" for metric, region in pairs]
        wide.columns = pd.Index(
            [f"{_plain(atlas)}_{one}" if one in table or one[0].isdigit() else one for one in names]
        )
        added += list(wide.columns)
        matched = table[keys].fillna("").merge(wide.reset_index(), on=keys, how="left")
        table = pd.concat([table, matched[wide.columns].set_axis(table.index)], axis=1)
    return table, tuple(added)
