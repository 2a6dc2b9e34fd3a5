"""Methods text, written from what ran, with its references."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_alps import __version__
from bids_alps.io.writing import write_text
from bids_alps.registration.engines import ENGINES
from bids_alps.report.html import render_methods
from bids_alps.report.page import CAVEAT, MethodsText

_CITED = re.compile(r"\[@(\w+)\]")


def write_methods(
    settings: Mapping[str, Any], *, steps: Collection[str] | None = None, facts: Mapping[str, Any] | None = None
) -> MethodsText:
    """Write the methods text of what ran.

    Parameters
    ----------
    settings
        Fields of the method settings, by name.
    steps
        Steps of preprocessing that ran: ``denoise``, ``gibbs``, ``motion``, ``distortion``;
        None where that is not known, of which nothing is told then.
    facts
        What the data decided: ``roi_preset``, ``roi_semi_axes`` (mm), ``b_value`` (s/mm^2), ``n_directions``,
        ``interval`` (whether intervals were computed), ``sessions_compared`` (whether sessions were).

    Returns
    -------
    MethodsText
        Nothing is claimed that neither settings nor facts say.
    """
    facts = facts or {}
    drafts = [_beginning(facts), _preprocessing(steps), _fit(facts), _placement(settings, facts), _index(settings)]
    if facts.get("interval"):
        drafts.append(_uncertainty(settings))
    if facts.get("sessions_compared"):
        drafts.append(_sessions())
    drafts = [draft for draft in drafts if draft]
    keys = list(dict.fromkeys(key for draft in drafts for key in _CITED.findall(draft)))
    library = _library()
    paragraphs = tuple(_CITED.sub(lambda found: str(library[found[1]]["cite"]), draft) for draft in drafts)
    keys.sort(key=lambda key: str(library[key]["author"]))
    return MethodsText(
        paragraphs=paragraphs,
        references=tuple(_reference(library[key]) for key in keys),
        bibtex="\n\n".join(_bibtex(key, library[key]) for key in keys) + "\n",
    )


def write_citation(folder: Path, methods: MethodsText) -> None:
    """Write ``CITATION.md``, ``.bib`` and ``.html`` into a folder."""
    write_text(folder / "CITATION.md", methods.markdown)
    write_text(folder / "CITATION.bib", methods.bibtex)
    write_text(folder / "CITATION.html", render_methods(methods))


def _beginning(facts: Mapping[str, Any]) -> str:
    preset = f", preset {facts['roi_preset']}" if facts.get("roi_preset") else ""
    return (
        "The index of diffusion tensor image analysis along the perivascular space (DTI-ALPS; [@taoka2017]) was "
        f"computed with bids-alps {__version__}{preset}, a BIDS App ([@gorgolewski2017])."
    )


def _preprocessing(steps: Collection[str] | None) -> str:
    if steps is None:
        return ""
    told = {
        "denoise": "noise was reduced by principal component analysis with a random-matrix threshold ([@veraart2016])",
        "gibbs": "Gibbs ringing was removed by local subvoxel shifts ([@kellner2016])",
        "motion": "head motion and eddy currents were corrected by aligning each volume to the series, and the "
        "b-vectors were turned accordingly ([@leemans2009])",
        "distortion": "susceptibility distortion was corrected from images of opposite phase encoding "
        "([@andersson2003])",
    }
    ran = [sentence for step, sentence in told.items() if step in steps]
    if not ran:
        return "The diffusion images were used as they were given, without preprocessing by this program."
    return "Before the fit, " + "; ".join(ran) + "."


def _fit(facts: Mapping[str, Any]) -> str:
    shell = ""
    if _known(facts.get("b_value")) and _known(facts.get("n_directions")):
        shell = f" from {facts['n_directions']:g} directions at b = {facts['b_value']:.0f} s/mm²"
    return (
        f"Diffusion tensors were fitted{shell} by iteratively reweighted linear least squares ([@veraart2013]) in the "
        "world axes of the scanner."
    )


def _placement(settings: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    template = settings.get("template", "")
    source = " ([@fonov2011])" if "2009" in str(template) else ""
    engine = ENGINES.get(str(settings.get("registrar")))
    how = engine.sentence if engine else "aligned with the template"
    size = facts.get("roi_semi_axes")
    shape = (
        f"Regions of interest (ellipsoids of {_by(size)} mm half-length along x, y and z)"
        if isinstance(size, str) and size not in ("", "n/a")
        else "Regions of interest"
    )
    tissue = settings.get("roi_weighting") == "tissue"
    weight = "the fraction of their volume inside the region" + (", times their share of its tissue" if tissue else "")
    healthy = " Voxels that a lesion mask touched were left out." if settings.get("exclude_lesions") else ""
    return (
        f"Each subject was {how} {template}{source}. {shape} in the projection and "
        "association fibres of both hemispheres were carried into the space of the diffusion images, where voxels "
        f"count by {weight}; tensors were not resampled.{healthy}"
    )


def _by(size: Any) -> str:
    return " by ".join(str(size).split())


def _index(settings: Mapping[str, Any]) -> str:
    turned = (
        "The mean tensor of each region was turned into template axes by the rigid part of the alignment, so that the "
        "pose of the head does not enter the index ([@tatekawa2023]). "
        if settings.get("pose_correction", True)
        else "Tensors were left in scanner axes: the pose of the head enters the index. "
    )
    return (
        f"{turned}The index of a hemisphere is mean(Dxx projection, Dxx association) / mean(Dyy projection, Dzz "
        f"association), a ratio of means over regions ([@park2023]); the bilateral index is the mean of both. {CAVEAT}"
    )


def _uncertainty(settings: Mapping[str, Any]) -> str:
    seed = f" (seed {settings['random_seed']})" if "random_seed" in settings else ""
    return (
        f"Standard errors and 95 % intervals combine a wild bootstrap of the fit ([@whitcher2008]) with the effect of "
        f"the alignment's own error on place and pose{seed}."
    )


def _sessions() -> str:
    return (
        "Sessions of a participant were also measured in one unbiased frame: aligned rigidly with each other in pairs, "
        "they were averaged midway ([@reuter2012]), and the mean alone was aligned with the template; regions and pose "
        "were carried from it to each session. Intervals of the change between sessions leave out what the sessions "
        "share of the errors of place and pose."
    )


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@cache
def _library() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text(encoding="utf-8"))


def _reference(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry['author']} ({entry['year']}). {entry['title']}. {entry['journal']}, {entry['volume']}, "
        f"{entry['pages']}. https://doi.org/{entry['doi']}"
    )


def _bibtex(key: str, entry: Mapping[str, Any]) -> str:
    people = re.sub(r",? (?:& )?et al\.", " and others", str(entry["author"]))
    people = re.sub(r"(?<=\.), (?:& )?", " and ", people)
    fields = {name: entry[name] for name in ("title", "journal", "year", "volume", "pages", "doi")}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in {"author": people, **fields}.items())
    return f"@article{{{key},\n{lines}\n}}"
