"""Mutation testing: change one operator, constant, bound or check of the package, and see whether a test notices.

    python .ci/mutants.py                                  a seeded sample of every package
    python .ci/mutants.py --of bids_alps/numerics/index    every mutant of a file or folder
    python .ci/mutants.py --report                         the table of what ran so far

Each mutant runs in a copy of the checkout, in a fork of a process that has imported the libraries, against the tests
that run its line: a few seconds of the nearest test files first, then the others, fastest first, until one fails or
the seconds are used up. Which test runs which line is measured once and kept in `.mutants/`, as are the verdicts, so
that an interrupted run goes on where it was; what changed runs again. A mutant is `untested` where no test within
the seconds runs its line. `equivalent_mutants.tsv` lists survivors that no test can tell from the original, with the
reason.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import re
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from multiprocessing.queues import Queue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fork_server import Copy, Outcomes, preload
from mutations import Mutant, find_mutants, lines_that_run, parses
from test_map import ROOT, TestMap, digest, kept, measure, test_files

STATE = ROOT / ".mutants"
PACKAGES = {
    "numerics": ["numerics"],
    "statistics": ["statistics"],
    "registration": ["registration"],
    "io": ["io"],
    "execution": ["execution"],
    "group": ["group", "provenance.py", "participant.py"],
}
NEAR_SECONDS, ALL_SECONDS = 5.0, 12.0  # of tests, CPU seconds as measured without a mutant
NEAR_FILES = 3
DEAD = ("killed", "timeout")
END = "\n"


@cache
def read(path: str) -> str:
    """Return the text of a file of the checkout."""
    return (ROOT / path).read_text()


class Record:
    """Verdicts that outlive an interruption, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, dict] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                entry = json.loads(line)
                self.entries[entry["key"]] = entry

    def add(self, entry: dict) -> None:
        """Keep an entry, at once on disk."""
        self.entries[entry["key"]] = entry
        with self.path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def covering(mutant: Mutant, tests: TestMap) -> set[str]:
    """Return the tests that may notice a mutant."""
    lines, names = lines_that_run(mutant, read(mutant.path))
    if lines:
        return tests.tests_at(mutant.path, lines)
    places = [place for name in names for place in names_in_use()[name]]
    found = set().union(*(tests.tests_at(path, {line}) for path, line in places))
    words = {word for name in names for word in mentions()[name]}
    return found | {test for test, file in tests.file_of.items() if file in words} or tests.tests_of(mutant.path)


@cache
def mentions() -> dict[str, set[str]]:
    """Return the test files that mention a name, by name: a constant may be compared without running the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in test_files():
        for name in set(re.findall(r"\w+", read(file))):
            found[name].add(file)
    return found


@cache
def names_in_use() -> dict[str, list[tuple[str, int]]]:
    """Return file and line of every use of a name in the package, by name."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path in sorted((ROOT / "bids_alps").rglob("*.py")):
        place = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(read(place))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found[node.id].append((place, node.lineno))
            elif isinstance(node, ast.Attribute):
                found[node.attr].append((place, node.lineno))
    return found


def distance(path: str, file: str) -> tuple[bool, bool, bool]:
    """Return how far a test file is from a module: its namesake, of its folder, of its package."""
    module = Path(path).relative_to("bids_alps")
    names = (path, f"tests/{module.parent / f'test_{module.name}'}".replace("/./", "/"))
    folder = str(Path("tests") / module.parent)
    return file not in names, not file.startswith(folder), not file.startswith(f"tests/{module.parts[0]}")


def choose(mutant: Mutant, tests: TestMap) -> tuple[list[str], list[str]]:
    """Return the tests of the nearest files, cheapest first, and then the others, as far as the seconds go."""
    found = covering(mutant, tests)
    files: dict[str, list[str]] = defaultdict(list)
    for test in found:
        files[tests.file_of[test]].append(test)

    def rank(file: str) -> tuple:
        special = min(tests.size[test] for test in files[file])
        return (*distance(mutant.path, file), special)

    near = sorted(files, key=rank)[:NEAR_FILES]
    first = affordable((test for test in found if tests.file_of[test] in near), tests, NEAR_SECONDS)
    return first, affordable(found.difference(first), tests, ALL_SECONDS)


def affordable(found: Iterable[str], tests: TestMap, seconds: float) -> list[str]:
    """Return tests, the cheapest first, that fit into some seconds."""
    chosen: list[str] = []
    ready: set[str] = set()
    for test in sorted(found, key=lambda test: (tests.cost(test, set()), test)):
        cost = tests.cost(test, ready)
        if cost > seconds:
            continue
        seconds -= cost
        ready.update(tests.fixtures[test])
        chosen.append(test)
    return chosen


def key_of(mutant: Mutant) -> str:
    """Return what names a mutant of a module as it stands."""
    return f"{mutant.path}:{mutant.start}:{mutant.end}:{mutant.text} {digest(mutant.path)}"


def digest_of_tests(tests: Iterable[str], of: TestMap) -> str:
    """Return a digest of the files of some tests."""
    files = sorted({of.file_of[test] for test in tests})
    return hashlib.sha256("".join(digest(file) for file in files).encode()).hexdigest()[:12]


def known(mutant: Mutant, tests: TestMap, verdicts: Record) -> dict | None:
    """Return an earlier verdict that still holds: of a survivor, where its tests are the same."""
    entry = verdicts.entries.get(key_of(mutant))
    if entry is None or (entry["verdict"] in DEAD and digest(entry["file"]) == entry["tests"]):
        return entry
    if entry["verdict"] in DEAD:
        return None
    return entry if entry["tests"] == digest_of_tests(covering(mutant, tests), tests) else None


def judge(mutant: Mutant, copy: Copy, tests: TestMap) -> dict:
    """Return the verdict of a mutant: killed, timeout, survived or untested."""
    began = time.monotonic()
    before, after = mutant.lines(read(mutant.path))
    all_tests = covering(mutant, tests)
    entry = {"key": key_of(mutant), "path": mutant.path, "line": mutant.line, "before": before, "after": after}
    entry |= {"verdict": "untested", "tests": digest_of_tests(all_tests, tests), "of": len(all_tests), "ran": 0}
    result = copy.root / "failure.json"
    with copy.changed(mutant.path, mutant.apply(read(mutant.path))):
        for chosen in filter(None, choose(mutant, tests)):
            result.unlink(missing_ok=True)
            files = list(dict.fromkeys(tests.file_of[test] for test in chosen))
            usual = sum(tests.seconds.get(name, 0.0) for test in chosen for name in (test, *tests.fixtures[test]))
            code = copy.run([*files, "-x"], partial(plugins, chosen, result), 3 * usual + 20)
            failure = json.loads(result.read_text()) if result.exists() else {"test": files[0], "ran": 0}
            entry["ran"] += failure["ran"] if result.exists() else len(chosen)
            entry["verdict"] = {0: "survived", 5: entry["verdict"], None: "timeout"}.get(code, "killed")
            if entry["verdict"] in DEAD:
                file = tests.file_of.get(failure["test"], files[0])
                entry |= {"by": failure["test"], "file": file, "tests": digest(file)}
                break
    return entry | {"seconds": round(time.monotonic() - began, 1)}


def plugins(chosen: list[str], result: Path) -> list[object]:
    """Return the pytest plugins of one run."""
    return [Outcomes(chosen, result)]


def sample(size: int, seed: int) -> list[Mutant]:
    """Return a seeded sample of mutants, as many of each package; what changes elsewhere does not change it."""
    lots: dict[Mutant, str] = {}
    chosen: list[Mutant] = []
    for places in PACKAGES.values():
        found = [mutant for place in places for mutant in mutants_of(f"bids_alps/{place}")]
        equal: Counter[str] = Counter()  # lines that are alike are told apart by their number
        for mutant in found:
            source = read(mutant.path)
            start = source.rfind("\n", 0, mutant.start) + 1
            text = f"{seed} {mutant.path} {source[start:].partition(END)[0]} {mutant.start - start} {mutant.text}"
            lots[mutant] = hashlib.sha256(f"{text} {equal[text]}".encode()).hexdigest()
            equal[text] += 1
        valid = (one for one in sorted(found, key=lots.__getitem__) if parses(one.apply(read(one.path))))
        chosen += islice(valid, size // len(PACKAGES))
    return sorted(chosen, key=lots.__getitem__)  # mixed, so that an interrupted run is a sample too


def mutants_of(place: str) -> Iterator[Mutant]:
    """Yield the mutants of a file or folder."""
    where = ROOT / place
    for path in [where] if where.is_file() else sorted(where.rglob("*.py")):
        yield from find_mutants(path, ROOT)


def equivalents() -> dict[tuple[str, str, str], str]:
    """Return the reasons of mutants that do nothing, by path, line before and line after."""
    rows = (ROOT / ".ci" / "equivalent_mutants.tsv").read_text().splitlines()[1:]
    return {(path, before, after): reason for path, before, after, reason in (row.split("\t") for row in rows)}


def listed(mutant: Mutant, same: dict[tuple[str, str, str], str]) -> dict | None:
    """Return an entry of a mutant that is listed as equivalent and was not run."""
    before, after = mutant.lines(read(mutant.path))
    if (mutant.path, before, after) not in same:
        return None
    return {"path": mutant.path, "line": mutant.line, "before": before, "after": after, "verdict": "survived"}


def report(entries: Iterable[dict]) -> str:
    """Return survivors with file and line, and the table by package."""
    same = equivalents()
    package_of = {place.removesuffix(".py"): package for package, places in PACKAGES.items() for place in places}
    counts: dict[str, dict[str, int]] = {}
    lines = []
    for entry in sorted(entries, key=lambda entry: (entry["path"], entry["line"])):
        equivalent = (entry["path"], entry["before"], entry["after"]) in same
        verdict = "equivalent" if equivalent and entry["verdict"] not in DEAD else entry["verdict"]
        place = entry["path"].split("/")[1].removesuffix(".py")
        package = package_of.get(place, place)
        counts.setdefault(package, dict.fromkeys(("killed", "timeout", "survived", "untested", "equivalent"), 0))
        counts[package][verdict] += 1
        if verdict in ("survived", "untested"):
            lines += [
                f"{entry['path']}:{entry['line']}: {verdict} ({entry['ran']} of {entry['of']} tests)",
                f"  - {entry['before']}",
                f"  + {entry['after']}",
            ]
    head = f"{'package':<14}{'killed':>8}{'timeout':>9}{'survived':>10}{'untested':>10}{'equivalent':>12}{'dead':>8}"
    lines += ["", head]
    for package, count in sorted(counts.items()):
        dead, judged = count["killed"] + count["timeout"], sum(count.values()) - count["equivalent"]
        shares = f"{100 * dead / judged:>6.0f} %" if judged else ""
        lines.append(
            f"{package:<14}{count['killed']:>8}{count['timeout']:>9}{count['survived']:>10}{count['untested']:>10}"
            f"{count['equivalent']:>12}{shares}"
        )
    return "\n".join(lines)


def in_copies(work: Callable, items: list, processes: int, deadline: float) -> Iterator:
    """Yield what a function of (item, copy) returns for each item, in copies of the checkout, until a deadline."""
    context = multiprocessing.get_context("fork")
    waiting, done = context.Queue(), context.Queue()
    for item in items + [None] * processes:
        waiting.put(item)
    servers = [
        context.Process(target=serve, args=(work, number, waiting, done, deadline)) for number in range(processes)
    ]
    for server in servers:
        server.start()
    while processes:
        if (answer := done.get()) is None:
            processes -= 1
        else:
            yield answer
    for server in servers:
        server.join()


def serve(work: Callable, number: int, waiting: Queue, done: Queue, deadline: float) -> None:
    """Work in one copy until nothing is left to do."""
    copy = Copy(ROOT, STATE / f"copy{number}")
    while (item := waiting.get()) is not None and time.monotonic() < deadline:
        done.put(work(item, copy))
    waiting.cancel_join_thread()
    done.put(None)


def map_tests(processes: int, selection: str, deadline: float) -> TestMap:
    """Return which test runs which line, measured where it is not known."""
    folder = STATE / ("map_quick" if selection else "map_all")
    folder.mkdir(exist_ok=True)
    entries = {file: kept(file, folder) for file in test_files()}
    missing = [file for file, entry in entries.items() if entry is None]
    if missing:
        print(f"measuring {len(missing)} of {len(entries)} test files", flush=True)
    for file, entry in in_copies(partial(measured, folder, selection), missing, processes, deadline) if missing else ():
        entries[file] = entry
        for test in entry["failed"]:
            print(f"left out, since it does not pass without a mutant: {test}", flush=True)
    return TestMap({file: entry for file, entry in entries.items() if entry})


def measured(folder: Path, selection: str, file: str, copy: Copy) -> tuple[str, dict]:
    """Return a test file with its map."""
    return file, measure(file, copy, folder, selection)


def judged(tests: TestMap, mutant: Mutant, copy: Copy) -> dict:
    """Return the verdict of a mutant."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    return judge(mutant, copy, tests)


def main() -> None:
    """Run mutants and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="mutants, as many of each package [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the sample [%(default)s]")
    parser.add_argument("--of", metavar="PATH", help="every mutant of this file or folder instead")
    parser.add_argument("--minutes", type=float, default=20, help="start nothing after these [%(default)s]")
    parser.add_argument("--processes", type=int, default=2, help="mutants at a time [%(default)s]")
    parser.add_argument("--slow", action="store_true", help="the tests marked slow as well")
    parser.add_argument("--report", action="store_true", help="run nothing, print what ran")
    options = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    verdicts = Record(STATE / "verdicts.jsonl")
    if options.report:
        print(report(verdicts.entries.values()))
        return
    began = time.monotonic()
    deadline = began + 60 * options.minutes
    names_in_use()
    for folder in ("bids_alps", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            digest(str(path.relative_to(ROOT)))  # as the copies will be, whatever changes meanwhile
    preload()
    tests = map_tests(options.processes, "" if options.slow else "not slow", deadline)
    mutants = list(mutants_of(options.of)) if options.of else sample(options.sample, options.seed)
    found = {mutant: known(mutant, tests, verdicts) for mutant in mutants}
    same = equivalents()
    waiting = [
        mutant
        for mutant, entry in found.items()
        if entry is None and (mutant.path, *mutant.lines(read(mutant.path))) not in same
    ]
    for entry in in_copies(partial(judged, tests), waiting, options.processes, deadline) if waiting else ():
        verdicts.add(entry)
        print(f"{entry['verdict']:<9} {entry['seconds']:5.1f} s  {entry['path']}:{entry['line']}", flush=True)
    known_now = {mutant: verdicts.entries.get(key_of(mutant)) or listed(mutant, same) for mutant in mutants}
    ran = [entry for entry in known_now.values() if entry is not None]
    print("\n" + report(ran))
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"\n{len(ran)} of {len(mutants)} mutants, {len(waiting)} of them now", end="; ")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes, {used / 60:.1f} of processors")


if __name__ == "__main__":
    main()
