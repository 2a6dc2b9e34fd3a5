"""Every benchmark in a small form, minutes in all: does it still run, and are its figures within their bounds?

    python benchmarks/quick.py              all of them
    python benchmarks/quick.py tensor mask  those whose names contain a word
    python benchmarks/quick.py --record     keeps the figures in quick.tsv, to which later ones are compared

A small form has its own arguments and module constants (as Python expressions over the module's names). A figure is
judged twice. Its bounds are the truth of a simulation or the aim that the benchmark prints, widened for the small
sample; none is a former output. And it may differ from its recorded value by a tenth of the width of the bounds at
most, so that a changed number is seen in review. CPU seconds are shown and not judged. Ends with exit code 1 where a
script fails, or a figure is missing, out of bounds or changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RECORD = HERE / "quick.tsv"
CHANGE = 0.1  # of the width of the bounds
SECONDS = 600
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
START = """
import importlib, json, sys
script, words, constants = json.loads(sys.argv[1])
module = importlib.import_module(script)
for name, text in constants.items():
    if not hasattr(module, name):
        sys.exit(f"{script} has no {name}: mend its small form in quick.py")
    setattr(module, name, eval(text, vars(module)))
sys.argv = [script, *words]
module.main()
"""


@dataclass(frozen=True)
class Figure:
    """A figure of the printed text: every match of the pattern's first group lies between two bounds."""

    name: str
    pattern: str
    low: float
    high: float


@dataclass(frozen=True)
class Small:
    """The small form of a benchmark."""

    figures: tuple[Figure, ...]
    words: tuple[str, ...] = ()
    constants: dict[str, str] = field(default_factory=dict)
    program: str = ""  # without which it is not run


Values = dict[tuple[str, str], list[float]]
NUMBER = r"([-+]?\d*\.?\d+(?:e[-+]\d+)?)"
NEED_DATA = ("bench_examples", "bench_gradient_table", "bench_repeat_sources", "bench_repeatability")
FORMS = {
    "bench_adversary": Small(
        words=("sound",),
        figures=(Figure("outside of the interval", rf"^sound.*?{NUMBER}  (?:pass|warn|fail)", 0, 0.05),),
    ),
    "bench_agreement": Small(
        program="Rscript",
        figures=(Figure("difference to R", rf"largest relative difference {NUMBER}", 0, 1e-4),),
    ),
    "bench_atlas": Small(
        constants={"HEADS": "HEADS[:1]"},
        figures=(Figure("error of mean FA", rf"^1\t.*\t{NUMBER}$", -0.06, 0.06),),
    ),
    "bench_cohort": Small(
        constants={
            "COHORT": "__import__('dataclasses').replace(COHORT, participants=4, voxel_size=4.0, directions=8)",
            "MODEL": "'alps_bilateral ~ group'",
        },
        figures=(Figure("bias of the index", rf"bias {NUMBER}", -0.15, 0.15),),
    ),
    "bench_coverage": Small(
        words=("phantom", "1"), figures=(Figure("bias of the index", rf"bias {NUMBER}", -0.15, 0.15),)
    ),
    "bench_crossing": Small(
        constants={
            "PROTOCOLS": "{'b 1000, 2000': PROTOCOLS['b 1000, 2000']}",
            "MIXTURES": "{'nothing': MIXTURES['nothing']}",
            "REPEATS": "4",
        },
        figures=(
            Figure("tensor, truth 1", rf"nothing +1\.00 +{NUMBER}", 0.9, 1.1),
            Figure("tensor, truth 1.5", rf"nothing +1\.50 +{NUMBER}", 1.35, 1.65),
        ),
    ),
    "bench_distortion": Small(
        constants={"CASES": "CASES[2:4]"},
        figures=(Figure("median error, mm", rf"\| +{NUMBER} +\d\.\d+ \|", 0, 0.25),),
    ),
    "bench_execution": Small(
        constants={"RUNS": "1", "PLANS": "{name: PLANS[name] for name in list(PLANS)[:2]}"},
        figures=(Figure("exit code", r"\d  +(\d+)  +\d\.\d\d", 0, 0),),
    ),
    "bench_fieldmaps": Small(
        constants={
            "PHANTOM": "PhantomSettings(participants=1, seed=3, voxel_size=4.0, directions=6, susceptibility=6.0)"
        },
        figures=(Figure("median error where applied, mm", rf" yes +{NUMBER}", 0, 0.5),),
    ),
    "bench_group": Small(
        constants={"RUNS": "200"},
        figures=(
            Figure("p of Park's index", rf"^alps_bilateral.*? {NUMBER} +\d\.\d+ +\d\.\d+ +[-+\d.]+ \(", 0.0075, 0.0095),
            Figure("exit code", r"exit code (\d+)", 0, 0),
        ),
    ),
    "bench_lesions": Small(
        constants={
            "HEADS": "1",
            "REGIONS": "REGIONS[:1]",
            "SETTINGS": "PhantomSettings(voxel_size=3.0, directions=12)",
        },
        figures=(Figure("error without the lesion", rf"lesions, {NUMBER} without", 0, 0.15),),
    ),
    "bench_mask": Small(
        constants={"HEADS": "dict(list(HEADS.items())[-1:])"},
        figures=(Figure("Dice of ours", rf"^\S.*? {NUMBER} +\d\.\d+ +\d\.\d+ +\d+\.\d +\d+\.\d$", 0.92, 1),),
    ),
    "bench_memory": Small(
        words=("40", "40", "30", "40"), figures=(Figure("times the series", rf"\({NUMBER} times the series\)", 0, 60),)
    ),
    "bench_motion": Small(
        constants={"find_spec": "lambda name: None"},
        figures=(Figure("median rms, mm", rf"first b0: rms median {NUMBER}", 0, 0.3),),
    ),
    "bench_noise_floor": Small(
        constants={"VOXELS": "400", "SCANS": "8"},
        figures=(Figure("left at b 1000 and SNR 20, %", rf"^ 1000 +20 .*?\) +{NUMBER}", -1.5, 1.5),),
    ),
    "bench_nulls": Small(
        words=("20",), figures=(Figure("share of p < .05", rf" {NUMBER} \([^)]*\) (?:ok|TOO)", 0, 0.25),)
    ),
    "bench_peers": Small(
        constants={"DATASETS": "()", "HEAD": "PhantomSettings(seed=5, voxel_size=3.0, directions=12, participants=1)"},
        figures=(Figure("error of the index", rf"^simulated, 3 mm +bids-alps .*?{NUMBER}$", -0.1, 0.1),),
    ),
    "bench_placement": Small(
        words=("1",),
        constants={"place_scans": "lambda *given: None"},
        figures=(Figure("median of the centers, mm", rf"centers: median {NUMBER}", 0, 1.5),),
    ),
    "bench_planning": Small(words=("10",), figures=(Figure("exit code", r"^ +\d+ +(\d+) ", 0, 0),)),
    "bench_preprocessing": Small(
        constants={
            "HEADS": "{'still': PhantomSettings(participants=1, seed=8, voxel_size=4.0, directions=12, b0=2)}",
            "WAYS": "dict(list(WAYS.items())[:1])",
        },
        figures=(Figure("error of the index", rf"^still.*?{NUMBER}, ", -0.2, 0.2),),
    ),
    "bench_regions": Small(
        constants={
            "HEADS": "1",
            "CANDIDATES": "dict(list(CANDIDATES.items())[:2])",
            "second_heads": "lambda number, seed: []",
        },
        figures=(Figure("error of the index", rf"^sphere .* {NUMBER}$", 0, 0.3),),
    ),
    "bench_registration": Small(
        constants={"HEADS": "{'3 mm': Head(angles=(12.0, -5.0, 13.0), warp_mm=2.5, voxel_mm=3.0, seed=11)}"},
        figures=(Figure("median of the centers, mm", rf"staged +{NUMBER}", 0, 1.5),),
    ),
    "bench_repeats": Small(
        words=("1",),
        constants={"MADE": "{'made heads': replace(STRAIGHT, voxel_size=4.0, directions=12)}"},
        figures=(Figure("distance between placements, mm", rf"^separately .* {NUMBER}$", 0, 1.5),),
    ),
    "bench_scaling": Small(
        words=("200",), constants={"SITES": "5"}, figures=(Figure("exit code", r"^ +200 +(\d+) ", 0, 0),)
    ),
    "bench_stages": Small(
        words=("4",),
        constants={"HEAD": "__import__('dataclasses').replace(HEAD, directions=12)"},
        figures=(Figure("index over its truth", r"index (\d\.\d+)", 1.0, 2.2),),
    ),
    "bench_t1w_distortion": Small(
        words=("phantom",),
        constants={
            "PHANTOM": "replace(PHANTOM, voxel_size=4.0, directions=6)",
            "SYN": "{}",
            "WEIGHTS": "WEIGHTS[-1:]",
        },
        figures=(Figure("index with the true field", rf"true field.*? {NUMBER} +\d\.\d+ +\d+$", 1.0, 2.2),),
    ),
    "bench_tensor": Small(
        constants={"SHAPE": "(20, 20, 20)"},
        figures=(
            Figure("rms error, um2/ms", rf"^this package .* {NUMBER}  \d\.\de", 0, 0.1),
            Figure("difference to DIPY's", rf"^DIPY wls_fit_tensor, 3 passes.* {NUMBER}$", 0, 1e-5),
        ),
    ),
    "bench_third_head": Small(
        words=("plain",),
        constants={
            "CASES": "{'plain': __import__('dataclasses').replace(CASES['plain'], voxel=(4.0, 4.0, 4.0), directions=12)}"
        },
        figures=(Figure("outside of the interval", rf"^plain.*?{NUMBER}  (?:pass|warn|fail)", 0, 0.05),),
    ),
}


def run(script: str, form: Small) -> tuple[int | None, str, float]:
    """Return exit code, None where it took too long, printed text, and CPU seconds of the small form."""
    environment = {**os.environ, **THREADS, "PYTHONPATH": str(HERE)}
    environment.pop("ALPS_REAL_DATA", None)
    command = [sys.executable, "-c", START, json.dumps([script, form.words, form.constants])]
    before = os.times()
    try:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)
        code, text = ran.returncode, ran.stdout + ran.stderr
    except subprocess.TimeoutExpired as error:
        code, text = None, str(error)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return code, text, spent


def judge(name: str, form: Small, text: str, recorded: Values) -> Iterator[tuple[bool, Figure, list[float], str]]:
    """Yield whether each figure of a text is as it should be, its values, and a line that says so."""
    for figure in form.figures:
        values = [float(found) for found in re.findall(figure.pattern, text, re.MULTILINE)]
        good = bool(values) and all(figure.low <= value <= figure.high for value in values)
        line = f"{figure.name} {shown(values) or 'missing'} ({figure.low:g} to {figure.high:g})"
        before = recorded.get((name, figure.name), values)
        apart = [abs(new - old) for new, old in zip(values, before, strict=False)]
        if len(values) != len(before) or max(apart, default=0) > CHANGE * (figure.high - figure.low):
            good, line = False, f"{line}; recorded {shown(before)}"
        yield good, figure, values, line


def shown(values: list[float]) -> str:
    """Return numbers as text."""
    return " ".join(f"{value:g}" for value in values)


def read_record() -> Values:
    """Return the recorded values by benchmark and figure."""
    rows = (line.split("\t") for line in RECORD.read_text().splitlines()[1:]) if RECORD.exists() else ()
    return {(name, figure): [float(value) for value in values.split()] for name, figure, values in rows}


def write_record(values: Values) -> None:
    """Keep the values."""
    rows = [f"{name}\t{figure}\t{shown(found)}" for (name, figure), found in sorted(values.items())]
    RECORD.write_text("\n".join(["benchmark\tfigure\tvalues", *rows]) + "\n")


def missing() -> list[str]:
    """Return the benchmarks that have no small form."""
    return sorted({path.stem for path in HERE.glob("bench_*.py")} - {*FORMS, *NEED_DATA})


def main() -> None:
    """Run the small forms, print their figures, and end with 1 where something is wrong."""
    words = [word for word in sys.argv[1:] if word != "--record"]
    recorded = read_record()
    keep = "--record" in sys.argv
    wrong = [f"{name} has no small form" for name in missing()]
    for name, form in FORMS.items():
        if words and not any(word in name for word in words):
            continue
        if form.program and not shutil.which(form.program):
            print(f"not run: {name}, since there is no {form.program}")
            continue
        code, text, seconds = run(name, form)
        lines = [(False, f"exit code {code}\n{text[-2000:]}")]
        if code == 0:
            judged = list(judge(name, form, text, {} if keep else recorded))
            recorded |= {(name, figure.name): values for _, figure, values, _ in judged} if keep else {}
            lines = [(good, line) for good, *_, line in judged] or [(True, "it runs")]
        for good, line in lines:
            print(f"{'good ' if good else 'WRONG'} {name:22s}{seconds:7.1f} CPU s  {line}", flush=True)
            wrong += [] if good else [name]
    if keep:
        write_record(recorded)
    for name in NEED_DATA:
        code, text, _ = run(name, Small(figures=(), constants={"main": "lambda: None"}))
        print(f"imported, not run, since its data are not simulated: {name}" if code == 0 else f"WRONG {name}\n{text}")
        wrong += [] if code == 0 else [name]
    sys.exit(f"not as they should be: {', '.join(dict.fromkeys(wrong))}" if wrong else 0)


if __name__ == "__main__":
    main()
