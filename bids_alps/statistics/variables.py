"""Types of the variables of the participants: numbers, categories or text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

Kind = Literal["number", "category", "text", "constant", "empty"]
MISSING = frozenset({"", "n/a", "na", "nan", "n.a.", "null", "missing"})
"""Representations of missing values, in lower case, unless the data dictionary lists them as levels."""
CODES = 5
"""Integers from 0 to 9 with at most this many distinct values are category codes."""
LEVELS = 20
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_BOUND = re.compile(r"^(?:[<>]=?|[≤≥])\s*(.+)$|^(.+?)\s*\+$")
_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")
_NO_VALUE = re.compile(
    r"\b(missing|unknown|unavailable|refus\w*|declined to|skip\w*|invalid|excluded|n/?a|nan|prefer(s|red)? not"
    r"|(not|no) (applic\w*|avail\w*|assess\w*|done|record\w*|collect\w*|known|measur\w*|test\w*|perform\w*"
    r"|acquir\w*|report\w*|ask\w*|answer\w*|complet\w*|data|value|response|information)|do(es)?( not|n't) know)\b"
)
"""Levels of the data dictionary that mean a missing value, in lower case."""
_TRUTHS = frozenset({"true", "false", "yes", "no"})
_CATEGORIES = ("sex", "gender", "site", "scanner", "center", "centre")  # even if coded by numbers
_NAMED: Mapping[str, Kind] = {"age": "number", **dict.fromkeys(_CATEGORIES, "category")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of the participants.

    Parameters
    ----------
    name
        Column name.
    kind
        ``number``, ``category``, ``text`` (too many distinct values to compare), ``constant`` or ``empty``.
    decided_by
        ``Levels`` or ``Units`` of the data dictionary, or the rule that decided.
    notes
        Notes on converted values, with their counts.
    """

    name: str
    kind: Kind
    decided_by: str
    notes: tuple[str, ...] = ()

    @property
    def analyzed(self) -> bool:
        """Whether the variable can be compared, correlated or adjusted for."""
        return self.kind in ("number", "category")


def infer_variables(
    table: pd.DataFrame, names: Sequence[str], dictionary: Mapping[str, Any], *, categories: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[Variable, ...]]:
    """Return a table with typed variables, and the decision for each variable.

    Parameters
    ----------
    table
        One row per run, with the variables as text. The value of each participant counts once.
    names
        Columns to convert.
    dictionary
        Entries of the data dictionaries by column; ``Levels`` make a category, ``Units`` a number.
    categories
        Columns chosen by the user as groups or sites.

    Returns
    -------
    tuple
        The table, numbers as floats and others as stripped text with None for missing values; and the variables.
    """
    settled, variables = {}, []
    owners = table["participant_id"] if "participant_id" in table else pd.Series(table.index, index=table.index)
    for name in names:
        entry = dictionary.get(name)
        entry = entry if isinstance(entry, Mapping) else {}
        levels = entry.get("Levels")
        known = {str(level): str(text) for level, text in levels.items()} if isinstance(levels, Mapping) else {}
        texts = _trimmed(table[name], known)
        once = texts[~pd.DataFrame({"owner": owners, "text": texts}).duplicated()]
        kind, decided_by = _decide(name, once, entry, categories)
        notes = list[str]()
        if kind == "number":
            settled[name], notes = _as_numbers(texts, known, once.dropna().value_counts())
        else:
            settled[name] = texts
            notes = _note_spellings(texts) if kind == "category" else []
        variables.append(Variable(name=name, kind=kind, decided_by=decided_by, notes=tuple(notes)))
    return table.assign(**settled), tuple(variables)


def _trimmed(column: pd.Series[Any], known: Collection[str]) -> pd.Series[Any]:
    def read(value: Any) -> str | None:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return None
        text = str(value).strip()
        return text if text in known or text.lower() not in MISSING else None

    read_once = {value: read(value) for value in column.unique()}  # convert unique values only, for speed
    return pd.Series([read_once.get(value, read(value)) for value in column], index=column.index, dtype=object)


def _decide(name: str, texts: pd.Series[Any], entry: Mapping[str, Any], categories: Sequence[str]) -> tuple[Kind, str]:
    present = texts.dropna()
    different = [str(text) for text in present.unique()]
    if not different:
        return "empty", "no value"
    if name in categories:
        return "category", "chosen as groups"
    if len(different) == 1:
        return "constant", "one value"
    levels = entry.get("Levels")
    listed = present.isin([str(level) for level in levels]) if isinstance(levels, Mapping) else present.isna()
    counts = present[~listed].value_counts()
    numbers = sum(n for text, n in counts.items() if np.isfinite(_number_of(str(text))))
    numeric = float(numbers / max(counts.sum(), 1))  # fraction of the values that Levels do not list
    anchors = numeric > 0.5 and present[~listed].nunique() > present[listed].nunique()  # levels that label a scale
    if listed.mean() >= 0.5 and not anchors:
        return "category", "Levels of the data dictionary"
    if entry.get("Units") and numeric > 0.5:
        return "number", "Units of the data dictionary"
    if _NAMED.get(name.lower()) == "category" or (_NAMED.get(name.lower()) == "number" and numeric > 0.5):
        return _NAMED[name.lower()], "its name"
    return _decide_by_rule(present, different, numeric)


def _decide_by_rule(present: pd.Series[Any], different: Sequence[str], numeric: float) -> tuple[Kind, str]:
    if numeric > 0.5:
        values = np.array([value for value in map(_number_of, different) if np.isfinite(value)])
        # such as 1 and 2 for sex; each twice or more on average, since few participants also have few different numbers
        codes = bool((values == np.round(values)).all() and values.min() >= 0 and values.max() <= 9)
        if codes and len(different) <= CODES and len(present) >= 2 * len(different):
            return "category", f"whole numbers of {len(different)} distinct values"
        return "number", "most values are numbers"
    if {text.lower() for text in different} <= _TRUTHS:
        return "category", "true or false"
    # most participants have a label of their own, as comments do
    if len(different) > LEVELS or 2 * len(different) > len(present) > CODES:
        return "text", f"{len(different)} distinct values"
    return "category", "not numeric"


def _number_of(text: str) -> float:
    """Return the number in a text, with decimal comma or open end (``>89``); NaN if there is none."""
    match = _BOUND.match(text)
    bare = (match[1] or match[2]) if match else text
    if _COMMA.fullmatch(bare) and not _THOUSANDS.fullmatch(bare):
        bare = bare.replace(",", ".")
    return float(bare) if _NUMBER.fullmatch(bare) else float("nan")


def _as_numbers(
    texts: pd.Series[Any], levels: Mapping[str, str], counts: pd.Series[Any]
) -> tuple[pd.Series[Any], list[str]]:
    """Return texts as floats; codes for missing values become missing, other levels are anchors of the scale."""
    numbers = {text: _number_of(text) for text in texts.dropna().unique()}
    codes = _missing_codes(numbers, levels)
    numbers |= dict.fromkeys(codes, float("nan"))
    values = pd.Series([numbers.get(text, float("nan")) for text in texts], index=texts.index, dtype=float)
    kinds = {
        "converted to the number it contains": [t for t, v in numbers.items() if np.isfinite(v) and _BOUND.match(t)],
        "read with a decimal comma": [t for t, v in numbers.items() if np.isfinite(v) and "," in t],
        "codes in the data dictionary, treated as missing": codes,
        "not numeric, treated as missing": [t for t, v in numbers.items() if not np.isfinite(v) and t not in codes],
    }
    return values, [f"{_listed(some, counts)} {what}" for what, some in kinds.items() if some]


def _missing_codes(numbers: Mapping[str, float], levels: Mapping[str, str]) -> list[str]:
    """Return the levels that mean a missing value: by their text, or because they lie far outside all other values."""
    others = [value for text, value in numbers.items() if text not in levels and np.isfinite(value)]
    # codes such as -9 or 999 lie further out than the range of the values, or their size
    low, high = (min(others), max(others)) if others else (-np.inf, np.inf)
    reach = max(high - low, abs(low), abs(high))

    def is_code(text: str) -> bool:
        value = numbers[text]
        outside = np.isfinite(value) and not low - reach <= value <= high + reach
        return bool(_NO_VALUE.search(levels[text].lower())) or bool(outside) or not np.isfinite(value)

    return [text for text in numbers if text in levels and is_code(text)]


def _listed(texts: Sequence[str], counts: pd.Series[Any]) -> str:
    shown = ", ".join(f"{text!r}" for text in sorted(texts)[:3])
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    total = int(counts[list(texts)].sum())
    return f"{shown}{more} ({total} value{'' if total == 1 else 's'})"


def _note_spellings(texts: pd.Series[Any]) -> list[str]:
    """Return notes on levels that differ only in case or whitespace; they are kept separate."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(texts.dropna().unique()):
        spellings.setdefault(" ".join(text.lower().replace("_", " ").split()), []).append(text)
    return [
        f"{', '.join(map(repr, same))} are treated as different levels although they differ only in spelling"
        for same in spellings.values()
        if len(same) > 1
    ]
