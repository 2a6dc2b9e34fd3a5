"""What the documentation takes from the code, so that neither can go stale: tables, and pages of the project's root.

MkDocs calls `on_page_markdown` for each page. A line ``<!-- generate: NAME -->`` is replaced by what the function of
that name in `GENERATORS` returns, and ``<!-- include: FILE -->`` by a file of the project's root.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BRACES = str.maketrans("{}", "<>")
_MARK = re.compile(r"^<!-- (generate|include): ([\w./-]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page."""
    return _MARK.sub(lambda found: GENERATORS[found[2]]() if found[1] == "generate" else include(found[2]), markdown)


def include(name: str) -> str:
    """Return a Markdown file of the project's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(columns)
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def options() -> str:
    """Return every option of the command line, in the groups of ``--help``, with its default."""
    from bids_alps.arguments import make_parser

    parts = []
    for group in make_parser()._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if actions:
            rows = ((_spellings(action), _default(action), str(action.help)) for action in actions)
            title = (group.title or "").capitalize()
            parts.append(f"### {title}\n\n{table(('option', 'default', 'description'), rows)}")
    return "\n".join(parts)


def _spellings(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.dest.upper()}`"
    usual = [name for name in action.option_strings if "_" not in name]
    choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
    return ", ".join(f"`{name}`" for name in usual) + choices


def _default(action: argparse.Action) -> str:
    value = action.default
    if value in (None, argparse.SUPPRESS, False, (), []):
        return "off" if isinstance(action, argparse.BooleanOptionalAction) else ""
    if value is True:
        return "on"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def derivatives() -> str:
    """Return every file of a run, with what it holds."""
    from bids_alps.io.derivative_kinds import DERIVATIVES

    rows = []
    for kind in DERIVATIVES.values():
        name = "_".join(f"{entity}-{label}" for entity, label in kind.entities.items())
        name = f"{name}_" if name else ""
        unit = f" ({kind.unit})" if kind.unit else ""
        file = f"{kind.folder}/<run>_{name}{kind.suffix}{kind.extension}".translate(_BRACES)
        rows.append((f"`{file}`", f"{kind.description.removesuffix('.')}{unit}"))
    return table(("file", "content"), rows)


def columns_of(module: str, name: str) -> Callable[[], str]:
    """Return what makes the table of columns of one kind of table."""

    def made() -> str:
        from importlib import import_module

        rows = (
            (f"`{column.name}`", column.unit, column.description) for column in getattr(import_module(module), name)
        )
        return table(("column", "unit", "description"), rows)

    return made


def thresholds() -> str:
    """Return every quality check with its thresholds and their source."""
    from bids_alps.quality.thresholds import THRESHOLDS

    def limit(value: float, middle: float) -> str:
        if math.isnan(value):
            return "never"
        return f"{middle - value:g} to {middle + value:g}" if middle else f"{value:g}"

    rows = (
        (
            f"`{name}`",
            one.unit,
            f"{one.direction} {limit(one.warn, one.middle)}",
            f"{one.direction} {limit(one.fail, one.middle)}" if not math.isnan(one.fail) else "never",
            one.reason,
            one.source,
        )
        for name, one in THRESHOLDS.items()
    )
    return table(("check", "unit", "warns", "fails", "why it matters", "where the thresholds come from"), rows)


def exit_codes() -> str:
    """Return the exit codes by their errors."""
    from bids_alps import errors

    kinds = {
        kind.exit_code: kind
        for kind in reversed(list(vars(errors).values()))
        if isinstance(kind, type) and issubclass(kind, errors.AlpsError)
    }
    rows = [("0", "Everything went well.")]
    rows += [(str(code), str(kind.__doc__).splitlines()[0]) for code, kind in sorted(kinds.items())]
    return table(("exit code", "meaning"), rows)


GENERATORS: dict[str, Callable[[], str]] = {
    "options": options,
    "derivatives": derivatives,
    "index-columns": columns_of("bids_alps.io.result_columns", "ALPS_COLUMNS"),
    "region-columns": columns_of("bids_alps.io.result_columns", "ROI_COLUMNS"),
    "quality-columns": columns_of("bids_alps.io.result_columns", "QUALITY_COLUMNS"),
    "change-columns": columns_of("bids_alps.io.changes", "CHANGE_COLUMNS"),
    "thresholds": thresholds,
    "exit-codes": exit_codes,
}
"""By the name in the mark."""
