"""The methods text is assembled from the statements of the stages of each run."""

import re
import tomllib
from importlib.resources import files

import pytest

from bids_alps.model import Statement
from bids_alps.report.methods import cite, write_citation, write_methods

LIBRARY = tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text())
FIT = "Tensors were fitted to {n:g} volumes ([@veraart2013])."
START = Statement(stage="start", text="The index ([@taoka2017]) was computed.")
MEAN = Statement(stage="sessions", text="Sessions were compared in one frame ([@reuter2012]).")


def fitted(volumes: float) -> Statement:
    return Statement(stage="tensors", text=FIT, values={"n": volumes})


def text_of(**runs: tuple[Statement, ...]) -> str:
    return " ".join(write_methods({name.replace("_", "-"): said for name, said in runs.items()}).paragraphs)


def test_a_sentence_common_to_all_runs_appears_once() -> None:
    text = text_of(sub_01=(START, fitted(32)), sub_02=(START, fitted(32)))
    assert text.count("The index (Taoka et al., 2017) was computed.") == 1
    assert text.count("Tensors were fitted to 32 volumes (Veraart et al., 2013).") == 1


def test_differing_numbers_are_given_as_a_range() -> None:
    text = text_of(sub_01=(START, fitted(64)), sub_02=(START, fitted(30)), sub_03=(START, fitted(32)))
    assert "fitted to 30 to 64 volumes" in text
    assert " of 3 runs" not in text


def test_a_sentence_of_some_runs_gives_their_number() -> None:
    extra = Statement(stage="quality", text="One was kept.")
    text = text_of(sub_01=(START, extra), sub_02=(START,), sub_03=(START, extra))
    assert "One was kept (in 2 of 3 runs)." in text


def test_a_run_without_statements_counts() -> None:
    assert "was computed (in 1 of 2 runs)." in text_of(sub_01=(START,), sub_02=())


def test_sessions_are_counted_by_participant() -> None:
    runs = {"sub-01_ses-1": (START,), "sub-01_ses-2": (START,), "sub-01": (MEAN,), "sub-02": (START,)}
    text = " ".join(write_methods(runs).paragraphs)
    assert "in one frame (Reuter et al., 2012) (in 1 of 2 participants)." in text
    assert "The index (Taoka et al., 2017) was computed." in text


def test_paragraphs_follow_the_stages_whatever_the_order_of_statements() -> None:
    paragraphs = write_methods({"sub-01": (MEAN, fitted(6), START)}).paragraphs
    assert [paragraph.split()[0] for paragraph in paragraphs[:3]] == ["The", "Tensors", "Sessions"]
    assert "glymphatic" in paragraphs[-1]


def test_without_runs_there_is_no_text() -> None:
    assert write_methods({}).paragraphs == write_methods({"sub-01": ()}).paragraphs == ()


def test_every_reference_is_cited_and_every_citation_has_its_reference() -> None:
    methods = write_methods({"sub-01": (START, fitted(6), MEAN)})
    text = " ".join(methods.paragraphs)
    cited = [entry for entry in LIBRARY.values() if entry["cite"] in text]
    assert len(cited) == len(methods.references) == methods.bibtex.count("@article") == 3
    assert list(methods.references) == sorted(methods.references)
    assert not re.search(r"nan|None|@|\[|\{", text)


@pytest.mark.parametrize("key", LIBRARY)
def test_every_reference_can_be_written(key: str) -> None:
    methods = cite([f"As in [@{key}]."])
    assert methods.paragraphs == (f"As in {LIBRARY[key]['cite']}.",)
    address = LIBRARY[key].get("doi") or LIBRARY[key]["url"]
    assert address in methods.references[0]
    assert address in methods.bibtex


def test_bibtex_separates_authors() -> None:
    bibtex = cite([f"[@{key}]" for key in LIBRARY]).bibtex
    assert "author = {Leemans, A. and Jones, D. K.}" in bibtex
    assert all("&" not in line for line in bibtex.splitlines() if "author" in line)


def test_citation_files(tmp_path) -> None:
    write_citation(tmp_path, {"sub-01": (START,), "sub-02_ses-1": (START,), "sub-02": (MEAN,)})
    assert {path.name for path in tmp_path.iterdir()} == {"CITATION.md", "CITATION.bib", "CITATION.html"}
    text = (tmp_path / "CITATION.md").read_text()
    assert "## References" in text
    assert "This text covers 2 runs of 2 participants." in text
    assert "Taoka" in (tmp_path / "CITATION.html").read_text()
