"""Mutation testing: change one operator, constant, bound or check of the package, and see whether a test notices.

    python .ci/mutants.py                                  a seeded sample of every package
    python .ci/mutants.py --of bids_alps/numerics/index    every mutant of a file or folder
    python .ci/mutants.py --report                         the table of what ran so far

Each mutant runs in a copy of the checkout, against the test files that import its module: its namesake first, then the
shortest, until one fails or a minute of tests has run. Verdicts are kept in `.mutants/` with a digest of the module and
of the tests, so that an interrupted run goes on where it was, and whatever changed runs again.
`equivalent_mutants.tsv` lists survivors that no test can tell from the original, with the reason.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".mutants"
PACKAGES = ("numerics", "statistics", "registration", "io", "execution")
Place = Callable[[ast.AST], int]
SECONDS_PER_MUTANT = 60.0  # of tests, as measured without a mutant
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

    def source(self) -> str:
        """Return the changed file."""
        original = read(self.path)
        return original[: self.start] + self.text + original[self.end :]

    def lines(self) -> tuple[str, str]:
        """Return the line before and after."""
        before = read(self.path).splitlines()[self.line - 1].strip()
        after = self.source().splitlines()[self.line - 1].strip()
        return before, after


@cache
def read(path: str) -> str:
    """Return the text of a file of the checkout."""
    return (ROOT / path).read_text()


def find_mutants(path: str) -> list[Mutant]:
    """Return every mutant of a module that still parses, in order."""
    source = read(path)
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

    found = []
    for node in walk(ast.parse(source)):
        for start, end, text in changes(node, source, begin, finish):
            changed = source[:start] + text + source[end:]
            try:
                ast.parse(changed)
            except SyntaxError:
                continue
            found.append(Mutant(path, source.count("\n", 0, start) + 1, start, end, text))
    return sorted(set(found), key=lambda mutant: (mutant.start, mutant.text))


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


@cache
def imports_of(path: str) -> frozenset[str]:
    """Return the dotted names that a Python file imports, of modules and of what is in them."""
    names = set()
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def tests_of(path: str) -> tuple[str, ...]:
    """Return the test files of a module: those that import it, else those that import what imports it."""
    tests = [str(test.relative_to(ROOT)) for test in sorted((ROOT / "tests").rglob("test_*.py"))]
    modules = [str(module.relative_to(ROOT)) for module in sorted((ROOT / "bids_alps").rglob("*.py"))]
    wanted = {dotted(path)}
    for _ in range(6):
        found = [test for test in tests if wanted & imports_of(test)]
        if found:
            return (path, *found)  # the module first: its doctests
        wanted |= {dotted(module) for module in modules if wanted & imports_of(module)}
    return (path,)


def dotted(path: str) -> str:
    """Return the name by which a module is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class Copy:
    """A copy of the checkout that mutants are written to."""

    def __init__(self, number: int) -> None:
        self.root = STATE / f"copy{number}"
        shutil.rmtree(self.root, ignore_errors=True)
        skipped = shutil.ignore_patterns(".*_cache", "__pycache__", ".git", ".venv*", ".mutants", "demo", "site")
        shutil.copytree(ROOT, self.root, ignore=skipped, symlinks=True)

    def run(self, tests: Iterable[str], seconds: float) -> tuple[int | None, float]:
        """Return pytest's exit code, None where it took too long, and how long it took."""
        pytest = ["-m", "pytest", "-x", "-q", "-n0", "--no-header", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *pytest, *tests],
            cwd=self.root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = None
        return code, time.monotonic() - began

    def run_mutant(self, mutant: Mutant, test: str, seconds: float) -> int | None:
        """Return pytest's exit code with a mutant in place."""
        target = self.root / mutant.path
        target.write_text(mutant.source())
        try:
            return self.run([test], seconds)[0]
        finally:
            target.write_text(read(mutant.path))


def digest(paths: Iterable[str]) -> str:
    """Return a digest of the texts of files."""
    return hashlib.sha256("\0".join(read(path) for path in paths).encode()).hexdigest()[:12]


class Record:
    """Verdicts and durations that outlive an interruption, one JSON object a line."""

    def __init__(self, name: str) -> None:
        self.path = STATE / name
        self.entries: dict[str, dict] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                entry = json.loads(line)
                self.entries[entry["key"]] = entry

    def add(self, key: str, **values: object) -> dict:
        """Keep an entry, at once on disk."""
        self.entries[key] = {"key": key, **values}
        with self.path.open("a") as stream:
            stream.write(json.dumps(self.entries[key]) + "\n")
        return self.entries[key]


def usable_tests(path: str, copy: Copy, baselines: Record) -> Iterator[tuple[str, float]]:
    """Yield the test files of a module that pass without a mutant, and their seconds, until those are used up."""
    own = f"test_{Path(path).name}"
    total = 0.0
    for test in sorted(
        tests_of(path), key=lambda test: (test != path, Path(test).name != own, (ROOT / test).stat().st_size)
    ):
        if total > SECONDS_PER_MUTANT:
            return
        key = f"{test} {digest([test])}"
        entry = baselines.entries.get(key)
        if entry is None or not (entry["passes"] or entry["empty"]):
            code, seconds = copy.run([test], 2 * SECONDS_PER_MUTANT)
            entry = baselines.add(key, passes=code == 0, empty=code == 5, seconds=seconds)
        if entry["passes"]:
            total += entry["seconds"]
            yield test, entry["seconds"]


def try_mutant(mutant: Mutant, copy: Copy, baselines: Record, verdicts: Record) -> dict:
    """Return the verdict of a mutant: killed, timeout, survived or untested."""
    key = f"{mutant.path}:{mutant.start}:{mutant.end}:{mutant.text} {digest([mutant.path, *tests_of(mutant.path)])}"
    if verdicts.entries.get(key, {}).get("verdict") in ("killed", "timeout", "survived"):
        return verdicts.entries[key]
    verdict, ran = "untested", list[str]()
    for test, seconds in usable_tests(mutant.path, copy, baselines):
        code = copy.run_mutant(mutant, test, 3 * seconds + 30)
        ran.append(test)
        verdict = {0: "survived", None: "timeout"}.get(code, "killed")
        if verdict != "survived":
            break
    before, after = mutant.lines()
    return verdicts.add(key, path=mutant.path, line=mutant.line, before=before, after=after, verdict=verdict, tests=ran)


def sample(size: int, seed: int) -> list[Mutant]:
    """Return a seeded sample of mutants, as many of each package."""
    chosen = []
    for package in PACKAGES:
        everything = list(mutants_of(f"bids_alps/{package}"))
        chosen += random.Random(f"{seed} {package}").sample(everything, min(size // len(PACKAGES), len(everything)))  # noqa: S311
    random.Random(seed).shuffle(chosen)  # noqa: S311 - so that an interrupted run is a sample too
    return chosen


def mutants_of(place: str) -> Iterator[Mutant]:
    """Yield the mutants of a file or folder."""
    where = ROOT / place
    for path in [where] if where.is_file() else sorted(where.rglob("*.py")):
        yield from find_mutants(str(path.relative_to(ROOT)))


def equivalents() -> dict[tuple[str, str, str], str]:
    """Return the reasons of mutants that do nothing, by path, line before and line after."""
    rows = (ROOT / ".ci" / "equivalent_mutants.tsv").read_text().splitlines()[1:]
    return {(path, before, after): reason for path, before, after, reason in (row.split("\t") for row in rows)}


def report(entries: Iterable[dict]) -> str:
    """Return survivors with file and line, and the table by package."""
    same = equivalents()
    counts: dict[str, dict[str, int]] = {}
    lines = []
    for entry in sorted(entries, key=lambda entry: (entry["path"], entry["line"])):
        equivalent = (entry["path"], entry["before"], entry["after"]) in same
        verdict = "equivalent" if equivalent and entry["verdict"] == "survived" else entry["verdict"]
        package = entry["path"].split("/")[1]
        counts.setdefault(package, dict.fromkeys(("killed", "timeout", "survived", "untested", "equivalent"), 0))
        counts[package][verdict] += 1
        if verdict in ("survived", "untested"):
            lines += [f"{entry['path']}:{entry['line']}: {verdict}", f"  - {entry['before']}", f"  + {entry['after']}"]
    lines += [
        "",
        f"{'package':<14}{'killed':>8}{'timeout':>9}{'survived':>10}{'untested':>10}{'equivalent':>12}{'dead':>8}",
    ]
    for package, count in sorted(counts.items()):
        dead, judged = count["killed"] + count["timeout"], sum(count.values()) - count["equivalent"]
        shares = f"{100 * dead / judged:>6.0f} %" if judged else ""
        lines.append(
            f"{package:<14}{count['killed']:>8}{count['timeout']:>9}{count['survived']:>10}{count['untested']:>10}"
            f"{count['equivalent']:>12}{shares}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run mutants and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="mutants, as many of each package [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the sample [%(default)s]")
    parser.add_argument("--of", metavar="PATH", help="every mutant of this file or folder instead")
    parser.add_argument("--minutes", type=float, default=20, help="start no mutant after these [%(default)s]")
    parser.add_argument("--processes", type=int, default=2, help="mutants at a time [%(default)s]")
    parser.add_argument("--report", action="store_true", help="run nothing, print what ran")
    options = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    baselines, verdicts = Record("baselines.jsonl"), Record("verdicts.jsonl")
    if options.report:
        print(report(verdicts.entries.values()))
        return
    mutants = list(mutants_of(options.of)) if options.of else sample(options.sample, options.seed)
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(options.processes):
        copies.put(Copy(number))
    deadline = time.monotonic() + 60 * options.minutes

    def judge(mutant: Mutant) -> dict | None:
        if time.monotonic() > deadline:
            return None
        copy = copies.get()
        try:
            return try_mutant(mutant, copy, baselines, verdicts)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(options.processes) as pool:
        found = [entry for entry in pool.map(judge, mutants) if entry is not None]
    print(report(found))
    print(
        f"\n{len(found)} of {len(mutants)} mutants ran; run again for the others" if len(found) < len(mutants) else ""
    )


if __name__ == "__main__":
    main()
