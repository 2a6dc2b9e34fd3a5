"""Every figure of a run: how its file is called and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import MetadataError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.writing import write_bytes
from bids_alps.report.page import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is said of a kind of figure; `labels` where it is a pair, `folded` where the reader opens it."""

    title: str
    caption: str
    alt: str
    labels: tuple[str, ...] = ()
    chart: bool = False
    folded: bool = False


_STEP = ("before", "after")
CATALOGUE: Mapping[str, Entry] = {
    "rois": Entry(
        title="Regions on the colour FA",
        caption="Projection regions should lie in blue, association regions in green, subcortical ones in red. "
        "Outlines follow half of the largest weight; a dotted one lies before or behind the plane.",
        alt="Colour-coded fractional anisotropy in axial, coronal and sagittal planes with outlines of the regions",
    ),
    "sticks": Entry(
        title="Principal directions",
        caption="One stick a voxel, in the axes of the display. They should run up and down in the white outline, "
        "front to back in the yellow one.",
        alt="Principal diffusion directions as sticks about the regions of each hemisphere",
    ),
    "registration": Entry(
        title="Alignment with the template",
        caption="The orange line is the edge of the template's white matter. It should follow that of the subject, "
        "above all beside the ventricles.",
        alt="Nine planes of the brain with the outline of the template's white matter",
        labels=("subject", "template"),
    ),
    "atlases": Entry(
        title="Regions of atlases",
        caption="A row an atlas. Outlines should follow the structures that the table names.",
        alt="Fractional anisotropy in axial, coronal and sagittal planes with outlines of the regions of each atlas",
    ),
    "headmotion": Entry(
        title="Head motion",
        caption="Position of the head in each volume, and how far it moved since the volume before (framewise "
        "displacement). The check is of its mean.",
        alt="Translations, rotations and framewise displacement of the head per volume",
        chart=True,
    ),
    "carpet": Entry(
        title="Residuals of the tensor fit",
        caption="Signal of each slice in each volume against what the tensors predict. Stripes are volumes that moved "
        "or are weighted otherwise than the table says; single dark cells are slices that lost signal.",
        alt="Residuals of the tensor fit, a column a volume and a row a slice",
        chart=True,
    ),
    "noise": Entry(
        title="Signal to noise and residuals",
        caption="From what the tensor fit leaves in each voxel. Residuals beside ventricles and at the edge of the "
        "brain are pulsation and motion; in white matter they are crossing fibres, the more the higher b is.",
        alt="Maps of signal to noise and of the residuals of the tensor fit in three planes",
    ),
    "movie": Entry(
        title="The series as a movie",
        caption="Every volume after preprocessing, at the grey scale of its b-value. The head should stand still.",
        alt="An axial and a sagittal plane of each volume, one after the other",
        folded=True,
    ),
    "denoise": Entry(
        title="Noise reduction",
        caption="One diffusion-weighted volume. Anatomy should not differ.",
        alt="A diffusion-weighted volume in three planes",
        labels=_STEP,
    ),
    "gibbs": Entry(
        title="Gibbs ringing",
        caption="Ripples beside sharp edges should have gone.",
        alt="A volume in three planes",
        labels=_STEP,
    ),
    "motion": Entry(
        title="Motion and eddy currents",
        caption="Mean of the diffusion-weighted volumes. It should be sharper afterwards.",
        alt="Mean diffusion-weighted image in three planes",
        labels=_STEP,
    ),
    "distortion": Entry(
        title="Susceptibility distortion",
        caption="Mean image without weighting. Frontal and temporal lobes should regain their form.",
        alt="Mean image without diffusion weighting in three planes",
        labels=_STEP,
    ),
}
STEPS = ("denoise", "gibbs", "motion", "distortion")


def figure_path(output_dir: Path, run_name: str, desc: str, *, preset: str = "") -> Path:
    """Return where a figure of a run goes.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    run_name
        Common beginning of the run's files, such as ``sub-01_run-2``.
    desc
        Label of the figure, as `draw_run_figures` names it.
    preset
        Label of the ROI preset that it shows, where it is not the first of the run.

    Examples
    --------
    >>> figure_path(Path("out"), "sub-01_run-2", "rois").as_posix()
    'out/sub-01/figures/sub-01_run-2_desc-rois_dwi.svg'
    """
    if "/" in run_name or not run_name.startswith("sub-"):
        raise MetadataError(run_name, "no name of a run", "begin with sub-")
    shown = f"{run_name}_seg-{preset}" if preset else run_name
    return output_dir / run_name.partition("_")[0] / "figures" / f"{shown}_desc-{desc}_dwi.svg"


def write_figures(output_dir: Path, run_name: str, figures: Mapping[str, bytes], *, preset: str = "") -> None:
    """Write the figures of a run, as `draw_run_figures` names them; see `figure_path`."""
    for desc, svg in figures.items():
        write_bytes(figure_path(output_dir, run_name, desc, preset=preset), svg)


def find_pictures(folder: Path, run_name: str) -> tuple[Picture, ...]:
    """Return the figures of a run that lie in a folder, in the order of the page."""
    found = []
    for desc, entry in CATALOGUE.items():
        names = [f"{desc}Before", f"{desc}After"] if entry.labels else [desc]
        paths = [folder / f"{run_name}_desc-{name}_dwi.svg" for name in names]
        if all(path.is_file() for path in paths):
            found.append(_picture(entry, paths))
        others = sorted(folder.glob(f"{run_name}_seg-*_desc-{desc}_dwi.svg"))
        found += [_picture(entry, [path], preset=entities_of(path.name)["seg"]) for path in others]
    return tuple(found)


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
