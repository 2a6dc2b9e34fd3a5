"""Catalogue of the figures of a run: file names, titles and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import MetadataError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.presets import preset_labels
from bids_alps.io.writing import write_bytes
from bids_alps.report.page import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Title and captions of a kind of figure; `labels` for a pair, `folded` if collapsed by default."""

    title: str
    caption: str
    alt: str
    labels: tuple[str, ...] = ()
    chart: bool = False
    folded: bool = False


_STEP = ("before", "after")
CATALOGUE: Mapping[str, Entry] = {
    "rois": Entry(
        title="Regions on the color FA",
        caption="Projection regions should lie in blue, association regions in green, subcortical regions in red "
        "tracts. "
        "Outlines are drawn at half of the maximum weight; dotted outlines lie in front of or behind the plane.",
        alt="Color-coded fractional anisotropy in axial, coronal and sagittal planes with outlines of the regions",
    ),
    "sticks": Entry(
        title="Principal directions",
        caption="One stick per voxel, in display axes. Sticks should run inferior-superior in the white outlines and "
        "anterior-posterior in the yellow outlines.",
        alt="Principal diffusion directions as sticks around the regions of each hemisphere",
    ),
    "registration": Entry(
        title="Registration to the template",
        caption="The orange line is the boundary of the template's white matter. It should follow the subject's "
        "white matter, "
        "in particular next to the ventricles.",
        alt="Nine planes of the brain with the outline of the template's white matter",
        labels=("subject", "template"),
    ),
    "atlases": Entry(
        title="Regions of atlases",
        caption="One row per atlas. Outlines should follow the structures named in the table.",
        alt="Fractional anisotropy in axial, coronal and sagittal planes with outlines of the regions of each atlas",
    ),
    "headmotion": Entry(
        title="Head motion",
        caption="Estimated head motion by volume, and displacement relative to the previous volume (framewise "
        "displacement, FD). The quality check applies to the mean FD.",
        alt="Translations, rotations and framewise displacement of the head per volume",
        chart=True,
    ),
    "carpet": Entry(
        title="Residuals of the tensor fit",
        caption="Signal of each slice and volume relative to the tensor prediction. Stripes indicate volumes with "
        "residual motion "
        "or errors in the gradient table; single dark cells indicate slices with signal dropout.",
        alt="Residuals of the tensor fit, one column per volume and one row per slice",
        chart=True,
    ),
    "noise": Entry(
        title="Signal-to-noise ratio and residuals",
        caption="Estimated from the residuals of the tensor fit. Residuals near the ventricles and at the edge of the "
        "brain arise from pulsation and motion; those in white matter from crossing fibers, increasingly so at high "
        "b-values.",
        alt="Maps of the signal-to-noise ratio and of the residuals of the tensor fit in three planes",
    ),
    "movie": Entry(
        title="Movie of the series",
        caption="All volumes after preprocessing, with one gray scale per b-value. The head should not move.",
        alt="An axial and a sagittal slice of each volume, shown in sequence",
        folded=True,
    ),
    "denoise": Entry(
        title="Denoising",
        caption="One diffusion-weighted volume. The anatomy should be unchanged.",
        alt="A diffusion-weighted volume in three planes",
        labels=_STEP,
    ),
    "gibbs": Entry(
        title="Gibbs ringing correction",
        caption="Ripples next to sharp edges should have disappeared.",
        alt="A volume in three planes",
        labels=_STEP,
    ),
    "motion": Entry(
        title="Head motion and eddy current correction",
        caption="Mean of the diffusion-weighted volumes. It should be sharper after correction.",
        alt="Mean diffusion-weighted image in three planes",
        labels=_STEP,
    ),
    "distortion": Entry(
        title="Susceptibility distortion correction",
        caption="Mean b=0 image. The frontal and temporal lobes should regain their anatomical shape.",
        alt="Mean b=0 image in three planes",
        labels=_STEP,
    ),
}
STEPS = ("denoise", "gibbs", "motion", "distortion")


def figure_path(output_dir: Path, run_name: str, desc: str, *, preset: str = "") -> Path:
    """Return the path of a figure of a run.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    run_name
        Common prefix of the run's files, such as ``sub-01_run-2``.
    desc
        Label of the figure, as `draw_run_figures` names it.
    preset
        Label of the ROI preset, if it is not the first of the run.

    Examples
    --------
    >>> figure_path(Path("out"), "sub-01_run-2", "rois").as_posix()
    'out/sub-01/figures/sub-01_run-2_desc-rois_dwi.svg'
    """
    if "/" in run_name or not run_name.startswith("sub-"):
        raise MetadataError(run_name, "not a run name", "begin with sub-")
    shown = f"{run_name}_seg-{preset}" if preset else run_name
    return output_dir / run_name.partition("_")[0] / "figures" / f"{shown}_desc-{desc}_dwi.svg"


def write_figures(output_dir: Path, run_name: str, figures: Mapping[str, bytes], *, preset: str = "") -> None:
    """Write the figures of a run, as `draw_run_figures` names them; see `figure_path`."""
    for desc, svg in figures.items():
        write_bytes(figure_path(output_dir, run_name, desc, preset=preset), svg)


def find_pictures(folder: Path, run_name: str, presets: tuple[str, ...] = ()) -> tuple[Picture, ...]:
    """Return the figures of a run in a folder, in the order of the page; figures of further presets by their names."""
    names_of_labels = dict(zip(preset_labels(presets), presets, strict=True))
    pictures = []
    for desc, entry in CATALOGUE.items():
        names = [f"{desc}Before", f"{desc}After"] if entry.labels else [desc]
        paths = [folder / f"{run_name}_desc-{name}_dwi.svg" for name in names]
        if all(path.is_file() for path in paths):
            pictures.append(_picture(entry, paths))
        others = sorted(folder.glob(f"{run_name}_seg-*_desc-{desc}_dwi.svg"))
        labels = [(path, entities_of(path.name)["seg"]) for path in others]
        pictures += [_picture(entry, [path], preset=names_of_labels.get(label, label)) for path, label in labels]
    return tuple(pictures)


def _picture(entry: Entry, paths: Sequence[Path], *, preset: str = "") -> Picture:
    return Picture(
        title=f"{entry.title}: {preset}" if preset else entry.title,
        caption=entry.caption,
        alt=entry.alt,
        svg=tuple(path.read_bytes() for path in paths),
        labels=entry.labels,
        chart=entry.chart,
        folded=entry.folded,
    )
