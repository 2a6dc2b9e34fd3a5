"""Design matrices of a linear model from a formula and a table."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, model_matrix

from bids_alps.errors import BadDataError, UsageError
from bids_alps.model import Array

_SPARE = 2  # minimum residual degrees of freedom
_RANDOM = re.compile(r"\+?\s*\(([^()|]+)\|([^()|]+)\)")
MAX_INTERACTION_ORDER, MAX_PRODUCTS = 3, 8
"""Maximum power and number of ``*`` in a formula: each product doubles the number of terms."""
_CALL = re.compile(r"[\w.]+\([^()]*\)")
_POWER = re.compile(r"(?<![\w.)])([^\W\d]\w*)\s*(?:\*\*|\^)\s*\d")
_ASK = "write outcome ~ term + term, with (1 | column) for a random intercept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Design matrices of a formula.

    Parameters
    ----------
    outcome, fixed
        Outcome, shape (n,), and design of the fixed effects, shape (n, p), with named columns.
    terms
        Columns of each fixed-effects term, without the intercept.
    random, grouping
        Design of the random terms, shape (n, q), and the group of each row; None if the formula has none.
    """

    outcome: Array
    fixed: pd.DataFrame
    terms: Mapping[str, tuple[int, ...]]
    random: pd.DataFrame | None = None
    grouping: pd.Series[Any] | None = None

    @property
    def rows(self) -> pd.Index[Any]:
        """Index of the complete rows."""
        return self.fixed.index


def make_design(table: pd.DataFrame, formula: str) -> Design:
    """Return the design matrices of a formula for the complete rows.

    Parameters
    ----------
    table
        One row per run.
    formula
        Formula in the syntax of formulaic, with at most one random-effects term in that of lme4, such as
        ``y ~ group * time + (time | participant)``.

    Raises
    ------
    UsageError
        If the formula cannot be read or names no column.
    BadDataError
        If too few rows are complete, the outcome is constant, or terms are collinear.
    """
    fixed, random, grouping = split_formula(formula)
    names = variables_of(formula)
    missing = [name for name in names if name not in table]
    if missing:
        columns = ", ".join(map(str, table.columns))
        raise UsageError("--model", f"{formula!r} names no column: {', '.join(missing)}", f"choose from {columns}")
    complete = table.dropna(subset=names)
    if not len(complete):
        raise BadDataError(formula, "no row has values for all variables", "remove terms or add participants")
    matrices: Any = _evaluate(formula, fixed, complete)
    X, outcome = pd.DataFrame(matrices.rhs).astype(float), pd.DataFrame(matrices.lhs)
    if outcome.shape[1] != 1 or outcome.dtypes.iloc[0].kind not in "fiub":
        raise UsageError("--model", f"the outcome of {formula!r} is not a single number", "choose a numeric column")
    y = outcome.to_numpy(dtype=float)[:, 0]
    _refuse(formula, y, X)
    columns = matrices.rhs.model_spec.term_indices
    terms = {str(term): tuple(indices) for term, indices in columns.items() if str(term) != "1"}
    if not grouping:
        return Design(outcome=y, fixed=X, terms=terms)
    Z = pd.DataFrame(_evaluate(formula, random, complete)).astype(float)
    return Design(outcome=y, fixed=X, terms=terms, random=Z, grouping=complete[grouping])


def split_formula(formula: str) -> tuple[str, str, str]:
    """Return the fixed part of a formula, its random terms and their grouping column; empty if there are none.

    Examples
    --------
    >>> split_formula("y ~ group + (1 + age | person)")
    ('y ~ group', '1 + age', 'person')
    """
    random_parts = _RANDOM.findall(formula)
    fixed = _RANDOM.sub("", formula).strip()
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", fixed)
    if "|" in bare:
        problem = f"{formula!r} has a | outside of parentheses"
        raise UsageError("--model", problem, "write + column for a factor, or + (1 | column) for a random intercept")
    if len(random_parts) > 1:
        raise UsageError(
            "--model",
            f"{formula!r} has {len(random_parts)} random-effects terms",
            "keep one, and use the others as factors",
        )
    if power := _POWER.search(re.sub(r"\([^()]*\)", "", bare)):
        problem = f"{power[0]!r} in {formula!r} means {power[1]} alone in formulas"
        raise UsageError("--model", problem, f"write I({power[1]}**2) for its square")
    # formulas whose expansion would take minutes; I(x**9) is not expanded, so that calls count as a variable
    while _CALL.search(bare):
        bare = _CALL.sub("x", bare)
    powers = [int(power) for power in re.findall(r"(?:\*\*|\^)\s*(\d+)", bare)]
    if max(powers, default=0) > MAX_INTERACTION_ORDER or bare.replace("**", "").count("*") > MAX_PRODUCTS:
        what = (
            f"{formula!r} has interactions of more than {MAX_INTERACTION_ORDER} variables, or more than "
            f"{MAX_PRODUCTS} products"
        )
        raise UsageError("--model", what, "list the required interactions, such as a:b")
    random, grouping = (text.strip() for text in random_parts[0]) if random_parts else ("", "")
    return (fixed + " 1" if fixed.endswith("~") else fixed), random, grouping.strip("`")


def variables_of(formula: str) -> list[str]:
    """Return the sorted columns named in a formula, without functions, strings and keyword names.

    Raises
    ------
    UsageError
        If the formula cannot be read.

    Examples
    --------
    >>> variables_of("y ~ C(group, contr.treatment('control')) + bs(age, df=4)")
    ['age', 'group', 'y']
    """
    fixed, random, grouping = split_formula(formula)
    names = {grouping} if grouping else set()
    for part in (fixed, random):
        if part:
            parsed = _parse(formula, part)
            sides = (parsed.lhs, parsed.rhs) if hasattr(parsed, "rhs") else (parsed,)
            factors = (factor for side in sides for term in side for factor in term.factors)
            names |= {name for factor in factors for name in _names_in(str(factor.expr), str(factor.eval_method.value))}
    if not hasattr(_parse(formula, fixed), "lhs"):
        raise UsageError("--model", f"{formula!r} has no outcome", _ASK)
    return sorted(names)


def _parse(formula: str, part: str) -> Any:
    try:
        return Formula(part)
    except Exception as error:
        raise _unusable(formula, error) from error


def _evaluate(formula: str, part: str, table: pd.DataFrame) -> Any:
    # an unused level would be a column of zeros, and the design singular
    used = table.apply(lambda column: column.cat.remove_unused_categories() if hasattr(column, "cat") else column)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # non-finite values are rejected
            return model_matrix(part, used, context={}, na_action="ignore")
    except Exception as error:
        raise _unusable(formula, error) from error


def _unusable(formula: str, error: Exception) -> UsageError:
    message = re.sub(r"\x1b\[[\d;]*m|[⧛⧚]", "", str(error)).split("\n")[0]
    return UsageError("--model", f"{formula!r} cannot be used ({message})", _ASK)


def _names_in(expression: str, method: str) -> set[str]:
    if method == "literal":
        return set()
    if method == "lookup":
        return {expression}
    quoted = re.findall(r"`([^`]+)`", expression)
    tree = ast.parse(re.sub(r"`[^`]+`", "None", expression).strip(), mode="eval")
    finder = _Names()
    finder.visit(tree)
    return finder.names | set(quoted)


class _Names(ast.NodeVisitor):
    """Return the names of variables, without functions and their modules."""

    def __init__(self) -> None:
        self.names = set[str]()

    def visit_Call(self, node: ast.Call) -> None:
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.value, ast.Name):
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.names.add(node.id)


def _refuse(formula: str, y: Array, X: pd.DataFrame) -> None:
    if len(y) < X.shape[1] + _SPARE:
        raise BadDataError(formula, f"{len(y)} complete rows for {X.shape[1]} terms", "remove terms or add runs")
    if not (np.isfinite(y).all() and np.isfinite(X.to_numpy()).all()):
        raise BadDataError(formula, "a term has no finite value in some rows", "check logarithms, roots and divisions")
    if np.ptp(y) == 0:
        raise BadDataError(formula, "the outcome is constant", "choose another outcome")
    rank = int(np.linalg.matrix_rank(X.to_numpy()))
    if rank < X.shape[1]:
        what = f"terms are collinear (rank {rank} of {X.shape[1]}: {', '.join(map(str, X.columns))})"
        raise BadDataError(formula, what, "remove one of them")
