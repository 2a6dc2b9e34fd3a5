"""Figures for publication from the tables and maps of a cohort."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.errors import AlpsError, NoInputError
from bids_alps.group.outputs import read_settings
from bids_alps.group.phenotype import OUTPUT
from bids_alps.io.derivatives import name_ending
from bids_alps.io.images import read_volumes
from bids_alps.io.presets import read_preset
from bids_alps.io.tables import read_table
from bids_alps.io.templates import read_template
from bids_alps.io.transforms import read_itk_matrix, resample_map
from bids_alps.io.writing import write_bytes
from bids_alps.model import SpatialMap, SpatialTransform, Template
from bids_alps.numerics.index.rois import place_preset
from bids_alps.numerics.tensors.tensor import eigen_system, fractional_anisotropy
from bids_alps.settings import Request, Settings
from bids_alps.statistics.analysis import select_people
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import INDICES, Plan
from bids_alps.statistics.repeats import MATCHED, PARTICIPANT_KEY, VISIT, Visits, find_visits, is_within
from bids_alps.statistics.selection import COMPARISON, EVERYTHING

LOG = logging.getLogger(__name__)
_SIDES = ("left", "right", "bilateral")
_GRID_MM = 2.0


def write_paper_figures(settings: Settings) -> list[Path]:
    """Write ``figures/*.svg`` and ``*.pdf`` from the results of the group level; return their paths.

    Raises
    ------
    NoInputError
        If the group level has not been run.
    """
    output_dir = settings.request.output_dir
    if not (output_dir / "group_alps.tsv").is_file():
        raise NoInputError(str(output_dir / "group_alps.tsv"), "not found", "run the group level first")
    # groups and order of sessions: those requested, otherwise those of the last group level
    request, default = settings.request, Request.__dataclass_fields__["group_column"].default
    previous = read_settings(output_dir)
    group = previous.get("group_column", default) if request.group_column == default else request.group_column
    plan = Plan(group=str(group), sessions=tuple(request.sessions or previous.get("sessions") or ()))
    written = []
    for name, files in _draw(read_analyzed(output_dir, plan.group), plan, settings):
        for extension, content in files.items():
            target = output_dir / "figures" / f"{name}.{extension}"
            write_bytes(target, content)
            written.append(target)
    return written


def read_analyzed(output_dir: Path, group: str | None = None) -> pd.DataFrame:
    """Return the runs that the last group level analyzed, with the values that it tested and groups as text.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    group
        Group column.
    """
    path = output_dir / "group_alps.tsv"
    table, texts = read_table(path), read_table(path, text=True)
    ids = list(table.columns[: list(table.columns).index("alps_left")])
    keys = list(dict.fromkeys((*ids, "roi_preset")))
    table = table.assign(**{str(name): texts[name] for name in (*keys, group) if name in texts}).copy()  # defragmented
    runs = _keys_of(table, keys)
    exclusions = _read_beside(path, "exclusions", [*keys, "excluded_from"])
    excluded = set(zip(_keys_of(exclusions, keys), exclusions["excluded_from"], strict=True))
    harmonized = _read_beside(path, "harmonized", [*keys, *INDICES])
    for name in INDICES:
        tested = dict(zip(_keys_of(harmonized, keys), harmonized[name], strict=True))
        table[name] = [float(tested.get(run, value)) for run, value in zip(runs, table[name], strict=True)]
    table[MATCHED] = [(run, COMPARISON) not in excluded for run in runs]
    return table[[(run, EVERYTHING) not in excluded for run in runs]]


def _read_beside(path: Path, name: str, columns: list[str]) -> pd.DataFrame:
    """Return columns of another table of the group level as text; empty if there is no such table."""
    other = path.with_name(f"group_{name}.tsv")
    return (read_table(other, text=True) if other.is_file() else pd.DataFrame()).reindex(columns=columns)


def _keys_of(table: pd.DataFrame, keys: list[str]) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table[keys].fillna("").astype(str).itertuples(index=False, name=None)]


def _draw(table: pd.DataFrame, plan: Plan, settings: Settings) -> Iterator[tuple[str, dict[str, bytes]]]:
    from bids_alps.report import figures_papers as draw

    presets = list(dict.fromkeys(table["roi_preset"]))
    runs = table[table["roi_preset"] == presets[0]]
    visits = find_visits(runs, plan.sessions)
    plan = replace(plan, group=plan.group if plan.group in runs else None)
    people = _people(visits, plan)
    groups = people[plan.group].astype(str).tolist() if plan.group in people else []
    indices = {side: people[f"alps_{side}"].to_numpy(dtype=float) for side in _SIDES}
    yield "distribution", draw.draw_distribution(indices, groups)
    age = next((name for name in people.columns if str(name).lower() == "age"), None)
    if age is not None and pd.to_numeric(people[age], errors="coerce").notna().sum() > 3:
        years = pd.to_numeric(people[age], errors="coerce").to_numpy(dtype=float)
        yield "age", draw.draw_age_curve(years, indices["bilateral"], groups)
    if len(visits.order) > 1:
        series = visits.runs.pivot_table("alps_bilateral", PARTICIPANT_KEY, VISIT)
        by_person = {str(name): dict(row.dropna()) for name, row in series.iterrows()}
        yield "sessions", draw.draw_sessions(by_person, list(visits.order))
    for other in presets[1:]:
        values = _people(find_visits(table[table["roi_preset"] == other], plan.sessions), plan)["alps_bilateral"]
        pair = people["alps_bilateral"].align(values, join="inner")
        label = "".join(letter for letter in other if letter.isalnum())
        first, second = (values.to_numpy(dtype=float) for values in pair)
        yield f"agreement-{label}", draw.draw_agreement(first, second, (presets[0], other))
    own = runs[runs["dataset"] == OUTPUT] if "dataset" in runs else runs
    yield from _draw_regions(own, presets[0], settings)


def _people(visits: Visits, plan: Plan) -> pd.DataFrame:
    """Return one row per participant, those whom the group level compared."""
    within = plan.group is not None and is_within(visits.runs, plan.group)[0]
    people = select_people(visits, plan, Findings(), within=within)
    return people.set_index(PARTICIPANT_KEY) if len(people) else people


def _draw_regions(runs: pd.DataFrame, preset: str, settings: Settings) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Draw the regions on the mean color FA of participants with maps in the output."""
    from bids_alps.report.figures_papers import draw_mean_regions
    from bids_alps.report.slices import find_display

    template = read_template(settings.method.template)
    mean, count = mean_colors(settings.request.output_dir, sorted(set(runs["participant_id"])), template)
    if not count:
        LOG.warning("figure of the regions not drawn: no maps with a transform to %s in the output", template.name)
        return
    try:
        regions = read_preset(preset, template=template.name)
    except AlpsError as error:
        LOG.warning("figure of the regions not drawn: %s", error)
        return
    grid = mean.like(np.ones(mean.shape[:3], dtype=bool))
    identity = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))  # the maps are in template space
    rois = [roi for roi in place_preset(regions, identity, grid) if roi.weights.size]
    brain = mean.like(mean.data.max(-1) > 0.05)
    yield "regions", draw_mean_regions(mean, rois, find_display(brain, np.eye(4)), count)


def mean_colors(output_dir: Path, participants: list[str], template: Template) -> tuple[SpatialMap, int]:
    """Return the mean color FA in template space (first run of each participant), and the number of participants.

    Colors are computed in native space, from principal directions rotated to template axes by the rigid part of the
    registration, and resampled to the template. Averaging colors avoids the sign ambiguity of directions.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    participants
        Labels with ``sub-``.
    template
        Template that defines the space.
    """
    grid, tensor = coarse_grid(template.mask, _GRID_MM), name_ending("tensor")
    total, count = np.zeros((*grid.shape, 3)), 0
    for participant in participants:
        for path in sorted((output_dir / participant).glob(f"**/dwi/*{tensor}"))[:1]:
            run = path.name.removesuffix(tensor)
            rigid, warp = (
                path.with_name(run + name_ending(key, template=template.name)) for key in ("xfm_rigid", "xfm")
            )
            if rigid.is_file() and warp.is_file():
                colors = read_colors(path, rigid)
                for n in range(3):
                    total[..., n] += resample_map(colors.like(colors.data[..., n]), warp, grid).data
                count += 1
    return grid.like((total / max(count, 1)).astype(np.float32)), count


def coarse_grid(image: SpatialMap, step_mm: float) -> SpatialMap:
    """Return an empty isotropic image with the axes and field of view of another image."""
    scale = step_mm / image.voxel_size
    shape = tuple(int(n) for n in np.ceil(np.array(image.shape[:3]) / scale))
    affine = image.affine.copy()
    affine[:3, :3] = image.affine[:3, :3] * scale
    affine[:3, 3] = (
        image.affine[:3, :3] @ ((scale - 1) / 2) + image.affine[:3, 3]
    )  # keep the outer corner of the first voxel
    return SpatialMap(data=np.zeros(shape, dtype=np.float32), affine=affine)


def read_colors(tensor: Path, rigid: Path) -> SpatialMap:
    """Return the color FA of a scan in its own space, in template axes, shape (i, j, k, 3), 0 to 1."""
    image = read_volumes(tensor)
    inside = np.abs(image.data).max(-1) > 0
    _, vectors = eigen_system(image.data[inside])
    # color FA: |x|, |y| and |z| of the fiber direction as red, green and blue; saturated from FA 0.8 on
    rotated = np.abs(vectors[..., 0] @ _rotation(rigid).T)
    brightness = np.clip(fractional_anisotropy(image.data[inside]) / 0.8, 0, 1)
    colors = np.zeros((*inside.shape, 3), dtype=np.float32)
    colors[inside] = np.clip(rotated * brightness[:, None], 0, 1)
    return image.like(colors)


def _rotation(rigid: Path) -> np.ndarray[Any, Any]:
    """Return the rotation from scan to template; the ITK file holds the inverse (resampling) direction."""
    return np.linalg.inv(read_itk_matrix(rigid))[:3, :3]
