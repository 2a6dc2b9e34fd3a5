"""The methods text claims what ran and nothing else."""

import re
import tomllib
from importlib.resources import files

import pytest

from bids_alps.registration.engines import ENGINES
from bids_alps.report.methods import write_citation, write_methods

LIBRARY = tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text())
SETTINGS = {"template": "MNI152NLin2009aSym", "registrar": "staged", "pose_correction": True, "random_seed": 7}
FACTS = {"roi_preset": "alps", "roi_semi_axes": "2.5 8 5", "b_value": 1000.0, "n_directions": 32, "interval": True}
ALL_STEPS = ("denoise", "gibbs", "motion", "distortion")


def told(**how):
    return " ".join(write_methods(**how).paragraphs)


def test_what_the_data_decided_is_told():
    text = told(settings=SETTINGS, facts=FACTS)
    for words in ("32 directions at b = 1000", "2.5 by 8 by 5 mm", "preset alps", "seed 7", "MNI152NLin2009aSym"):
        assert words in text


@pytest.mark.parametrize(
    ("step", "words"),
    [("denoise", "noise was"), ("gibbs", "Gibbs"), ("motion", "head motion"), ("distortion", "opposite phase")],
)
def test_a_step_is_told_if_and_only_if_it_ran(step, words):
    assert words in told(settings=SETTINGS, steps=(step,))
    assert words not in told(settings=SETTINGS, steps=tuple(set(ALL_STEPS) - {step}))
    assert "without preprocessing" not in told(settings=SETTINGS, steps=(step,))


def test_preprocessing_is_told_only_where_it_is_known():
    assert "without preprocessing" in told(settings=SETTINGS, steps=())
    assert "preprocessing" not in told(settings=SETTINGS)


def test_switches_change_the_text():
    assert "left in scanner axes" in told(settings={**SETTINGS, "pose_correction": False})
    assert "greedy" in told(settings=SETTINGS)
    assert "greedy" not in told(settings={**SETTINGS, "registrar": "identity"})
    assert "share of its tissue" in told(settings={**SETTINGS, "roi_weighting": "tissue"})
    assert "bootstrap" not in told(settings=SETTINGS)
    assert "Reuter" in told(settings=SETTINGS, facts={**FACTS, "sessions_compared": True})
    assert "Reuter" not in told(settings=SETTINGS, facts=FACTS)
    assert "lesion mask touched were left out" in told(settings={**SETTINGS, "exclude_lesions": True})
    assert "lesion" not in told(settings=SETTINGS)


def test_missing_facts_leave_no_holes():
    text = told(settings={}, facts={"b_value": float("nan"), "n_directions": None})
    assert not re.search(r"nan|None|@|\[|\{", text)


def test_every_citation_has_its_reference_and_none_is_idle():
    methods = write_methods(SETTINGS, steps=ALL_STEPS, facts={**FACTS, "sessions_compared": True})
    text = " ".join(methods.paragraphs)
    cited = [entry for entry in LIBRARY.values() if entry["cite"] in text]
    assert len(cited) == len(methods.references) == methods.bibtex.count("@article")
    assert all(any(entry["doi"] in reference for reference in methods.references) for entry in cited)
    assert list(methods.references) == sorted(methods.references)


def test_every_reference_of_the_bibliography_is_cited_by_some_choice():
    texts = [
        write_methods({**SETTINGS, "registrar": name}, steps=ALL_STEPS, facts={**FACTS, "sessions_compared": True})
        for name in ENGINES
    ]
    cited = {reference for methods in texts for reference in methods.references}
    assert len(cited) == len(LIBRARY)


def test_bibtex_names_every_author_apart():
    methods = write_methods(SETTINGS, facts=FACTS)
    leemans = write_methods(SETTINGS, steps=("motion",)).bibtex
    assert "author = {Leemans, A. and Jones, D. K.}" in leemans
    assert all("&" not in line for line in methods.bibtex.splitlines() if "author" in line)


def test_citation_files(tmp_path):
    write_citation(tmp_path, write_methods(SETTINGS, facts=FACTS))
    assert {path.name for path in tmp_path.iterdir()} == {"CITATION.md", "CITATION.bib", "CITATION.html"}
    assert "## References" in (tmp_path / "CITATION.md").read_text()
    assert "Taoka" in (tmp_path / "CITATION.html").read_text()
