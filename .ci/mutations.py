"""Every way to change one operator, constant, bound or check of a Python file."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeGuard

Place = Callable[[ast.AST], int]
SWAPS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.MatMult: ("@", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "+"),
}


@dataclass(frozen=True)
class Mutant:
    """One change: the text between two offsets of a file becomes another."""

    path: str
    line: int
    start: int
    end: int
    text: str

    def apply(self, original: str) -> str:
        """Return the changed file."""
        return original[: self.start] + self.text + original[self.end :]

    def lines(self, original: str) -> tuple[str, str]:
        """Return the line before and after."""
        before, after = original.splitlines(), self.apply(original).splitlines()
        return before[self.line - 1].strip(), after[self.line - 1].strip()


def find_mutants(path: Path, root: Path) -> list[Mutant]:
    """Return every mutant of a file, in order."""
    source = path.read_text()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = source.splitlines()

    def offset(line: int, column: int) -> int:  # ast counts bytes
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def begin(node: ast.AST) -> int:
        return offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def finish(node: ast.AST) -> int:
        return offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    found = set()
    for node in walk(ast.parse(source)):
        for start, end, text in changes(node, source, begin, finish):
            found.add(Mutant(str(path.relative_to(root)), source.count("\n", 0, start) + 1, start, end, text))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.text))


def parses(source: str) -> bool:
    """Return whether a text is Python."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that do something: no annotations, texts or decorators."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from walk(child)


def changes(node: ast.AST, source: str, begin: Place, finish: Place) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and new text of the changes of one node."""
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield begin(node), begin(node.operand), ""
        case ast.Constant():
            yield from ((begin(node), finish(node), text) for text in other_values(node.value))
        case ast.Raise():
            yield begin(node), finish(node), "pass"
    for left, operator, right in operations(node):
        if type(operator) in SWAPS:
            old, new = SWAPS[type(operator)]
            whole = rf"(?<!\w){old}(?!\w)" if old[0].isalpha() else re.escape(old)
            hit = re.search(whole, source[finish(left) : begin(right)])
            if hit:
                yield finish(left) + hit.start(), finish(left) + hit.end(), new


def operations(node: ast.AST) -> list[tuple[ast.AST, ast.AST, ast.AST]]:
    """Return left side, operator and right side of each operation of a node."""
    match node:
        case ast.Compare():
            return list(zip([node.left, *node.comparators], node.ops, node.comparators, strict=False))
        case ast.BinOp():
            return [(node.left, node.op, node.right)]
        case ast.BoolOp():
            return [(left, node.op, right) for left, right in pairwise(node.values)]
    return []


def other_values(value: object) -> list[str]:
    """Return what a constant becomes."""
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1 if value != 1 else 0)]
    if isinstance(value, float):
        return [repr(value * 1.1 if value else 1.0)]
    return []


def lines_that_run(mutant: Mutant, source: str) -> tuple[set[int], list[str]]:
    """Return the lines whose run shows a mutant, and the names that hold it where it runs at import.

    Inside of a function these are the lines of its statement; a default of an argument shows in the function's body.
    """
    lines: set[int] = set()
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not node.lineno <= mutant.line <= (node.end_lineno or 0):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = set(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
        elif lines:  # a statement of a function, or one inside of that
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or 0
            if mutant.line <= max(last, node.lineno):
                lines = set(range(node.lineno, max(last, node.lineno) + 1))
        elif isinstance(node, ast.Assign) and (held := [one.id for one in ast.walk(node) if _is_target(one)]):
            names = held
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
    return lines, [] if lines else names


def _is_target(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
