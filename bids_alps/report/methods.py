"""Methods text with references, assembled from the statements of the stages of each run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

from bids_alps.errors import OutputError
from bids_alps.io.writing import write_text
from bids_alps.model import STAGES, Stage, Statement
from bids_alps.report.html import render_methods
from bids_alps.report.page import CAVEAT, MethodsText

_CITED = re.compile(r"\[@(\w+)\]")

Runs = Mapping[str, Sequence[Statement]]
"""Statements of the stages of each run, by the name of the run."""


def draft_methods(runs: Runs) -> list[str]:
    """Return the paragraphs of the methods text of some runs, with ``[@key]`` where a work is cited.

    A sentence that does not hold for all runs states the number of runs; numbers that differ between runs are given
    as a range.

    Parameters
    ----------
    runs
        Statements by the name of the run; statements on all sessions of a participant have a name without ``ses-``.
    """
    drafts = []
    for stage in STAGES:
        by_sentence: dict[str, dict[str, Mapping[str, float]]] = {}  # in order of first appearance
        for name, statements in runs.items():
            for statement in statements:
                if statement.stage == stage:
                    by_sentence.setdefault(statement.text, {})[name] = statement.values
        if by_sentence:
            sentences = (
                _counted(_filled(text, by_run.values()), by_run, runs, stage) for text, by_run in by_sentence.items()
            )
            drafts.append(" ".join(sentences))
    return drafts


def write_methods(runs: Runs) -> MethodsText:
    """Return the methods text of some runs with its references; empty if there are no statements."""
    drafts = draft_methods(runs)
    return cite([*drafts, CAVEAT]) if drafts else MethodsText()


def cite(drafts: Sequence[str]) -> MethodsText:
    """Return paragraphs with formatted citations, and the cited references."""
    library = _library()
    keys = {key for draft in drafts for key in _CITED.findall(draft)} & library.keys()
    ordered = sorted(keys, key=lambda key: (str(library[key]["author"]), int(library[key]["year"])))
    entries = []
    names = ("title", "journal", "year", "volume", "pages", "doi", "url")
    for key in ordered:
        people = re.sub(r",? (?:& )?et al\.", " and others", str(library[key]["author"]))
        people = re.sub(r"(?<=\.), (?:& )?", " and ", people)  # BibTeX separates authors by "and"
        fields = {"author": people} | {name: library[key][name] for name in names if name in library[key]}
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        entries.append(f"@article{{{key},\n{lines}\n}}\n")
    citations = {key: str(entry["cite"]) for key, entry in library.items()}
    return MethodsText(
        paragraphs=tuple(_CITED.sub(lambda match: citations.get(match[1], match[0]), draft) for draft in drafts),
        references=tuple(
            f"{entry['author']} ({entry['year']}). {entry['title']}. {entry['journal']}, {entry['volume']}, "
            f"{entry['pages']}. {entry.get('url') or 'https://doi.org/' + str(entry['doi'])}"
            for entry in map(library.__getitem__, ordered)
        ),
        bibtex="\n".join(entries) or "\n",
    )


def write_citation(folder: Path, runs: Runs, *, markdown_only: bool = False) -> None:
    """Write the methods text of some runs into a folder: ``CITATION.md``, ``.bib`` and ``.html``.

    With `markdown_only` ``CITATION.md`` alone: the other two, which an earlier call may have written, are removed,
    since they would not agree with it.
    """
    people = {name.partition("_")[0] for name in runs}
    number = sum(map(_is_one_run, runs.values()))
    covered = f"This text covers {_number(number, 'run')} of {_number(len(people), 'participant')}."
    methods = cite([*draft_methods(runs), CAVEAT, covered])
    write_text(folder / "CITATION.md", methods.markdown)
    if markdown_only:
        for path in (folder / "CITATION.bib", folder / "CITATION.html"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(str(path), f"cannot be removed ({error.strerror})", "remove it") from error
        return
    write_text(folder / "CITATION.bib", methods.bibtex)
    write_text(folder / "CITATION.html", render_methods(methods))


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _filled(text: str, values: Iterable[Mapping[str, float]]) -> str:
    """Return a sentence with its numbers filled in, as a range if they differ between runs."""
    listed = list(values)
    parts = []
    for literal, name, form, _ in Formatter().parse(text):
        parts.append(literal)
        if name is not None:
            numbers = sorted(run_values[name] for run_values in listed if name in run_values)
            shown = dict.fromkeys(format(number, form or "g") for number in (*numbers[:1], *numbers[-1:]))
            parts.append(" to ".join(shown) or "n/a")
    return "".join(parts)


def _counted(sentence: str, by_run: Mapping[str, Any], runs: Runs, stage: Stage) -> str:
    """Return a sentence with the number of runs for which it holds, unless it holds for all."""
    if stage == "sessions":  # one statement for all sessions of a participant
        people = {name.partition("_")[0] for name in runs}
        number, total, noun = len({name.partition("_")[0] for name in by_run}), len(people), "participants"
    else:
        number, total, noun = len(by_run), sum(_is_one_run(statements) for statements in runs.values()), "runs"
    return sentence if number == total else f"{sentence.removesuffix('.')} (in {number} of {total} {noun})."


def _is_one_run(statements: Sequence[Statement]) -> bool:
    return not statements or any(statement.stage != "sessions" for statement in statements)


@cache
def _library() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text(encoding="utf-8"))
