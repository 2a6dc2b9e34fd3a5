"""Every benchmark in a small form, minutes in all: does it still run, and are its figures within their bounds?

    python benchmarks/quick.py              all of them
    python benchmarks/quick.py tensor mask  those whose names hold a word

A small form has its own arguments and module constants (as Python expressions over the module's names). Bounds are the
truth of a simulation or the aim that the benchmark prints, widened for the small sample; none is a former output. CPU
seconds are shown and not judged. Ends with exit code 1 where a script fails, a figure is missing or out of bounds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
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


NUMBER = r"([-+]?\d*\.?\d+(?:e[-+]\d+)?)"
ONE_OF = "lambda *given, chosen={0}, **named: list(chosen(*given, **named))[:1]"
NEED_DATA = ("bench_examples", "bench_gradient_table", "bench_repeatability")
FORMS = {
    "bench_adversary": Small(
        words=("sound",),
        figures=(Figure("outside of the interval", rf"^sound.*?{NUMBER}  (?:pass|warn|fail)", 0, 0.05),),
    ),
    "bench_agreement": Small(figures=(Figure("difference to R", rf"largest relative difference {NUMBER}", 0, 1e-4),)),
    "bench_atlas": Small(
        constants={"HEADS": "HEADS[:1]"},
        figures=(Figure("error of mean FA", rf"^1\t.*\t{NUMBER}$", -0.06, 0.06),),
    ),
    "bench_cohort": Small(
        constants={"COHORT": "__import__('dataclasses').replace(COHORT, participants=4, voxel_size=4.0, directions=8)"},
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
    "bench_distortion": Small(figures=(Figure("median error, mm", rf"\| +{NUMBER} +\d\.\d+ \|", 0, 0.25),)),
    "bench_execution": Small(
        constants={"RUNS": "2", "PLANS": "{name: PLANS[name] for name in list(PLANS)[:2]}"},
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
        constants={"HEADS": "dict(list(HEADS.items())[:1])"},
        figures=(Figure("Dice of ours", rf"^\S.*? {NUMBER} +\d\.\d+ +\d\.\d+ +\d+\.\d +\d+\.\d$", 0.93, 1),),
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
    "bench_nulls": Small(words=("20",), figures=(Figure("share of p < .05", rf" {NUMBER} \(\d", 0, 0.5),)),
    "bench_peers": Small(
        constants={"DATASETS": "()", "HEAD": "PhantomSettings(seed=5, voxel_size=3.0, directions=12, participants=1)"},
        figures=(Figure("error of the index", rf"^simulated, 3 mm +bids-alps .*?{NUMBER}$", -0.1, 0.1),),
    ),
    "bench_placement": Small(
        constants={name: ONE_OF.format(name) for name in ("draw_heads", "second_heads", "enlarged_heads")},
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
    "bench_regions": Small(constants={"HEADS": "1", "CANDIDATES": "dict(list(CANDIDATES.items())[:2])"}, figures=()),
    "bench_registration": Small(
        constants={"HEADS": "dict(list(HEADS.items())[:1])"},
        figures=(Figure("median of the centers, mm", rf"staged +{NUMBER}", 0, 1.5),),
    ),
    "bench_repeats": Small(words=("1",), figures=()),
    "bench_scaling": Small(words=("200",), figures=(Figure("exit code", r"^ +200 +(\d+) ", 0, 0),)),
    "bench_stages": Small(
        words=("4",),
        constants={"HEAD": "__import__('dataclasses').replace(HEAD, directions=12)"},
        figures=(Figure("index over its truth", r"index (\d\.\d+)", 1.0, 2.2),),
    ),
    "bench_tensor": Small(
        constants={"SHAPE": "(20, 20, 20)"},
        figures=(
            Figure("rms error, um2/ms", rf"^this package .*?\d  +{NUMBER}  ", 0, 0.1),
            Figure("difference to DIPY's", rf"^DIPY wls_fit_tensor, 3 passes.* {NUMBER}$", 0, 1e-5),
        ),
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


def judge(form: Small, text: str) -> Iterator[tuple[bool, str]]:
    """Yield whether each figure of a text is within its bounds, and a line that says so."""
    for figure in form.figures:
        values = [float(found) for found in re.findall(figure.pattern, text, re.MULTILINE)]
        good = bool(values) and all(figure.low <= value <= figure.high for value in values)
        shown = " ".join(f"{value:g}" for value in values) or "missing"
        yield good, f"{figure.name} {shown} ({figure.low:g} to {figure.high:g})"


def missing() -> list[str]:
    """Return the benchmarks that have no small form."""
    return sorted({path.stem for path in HERE.glob("bench_*.py")} - {*FORMS, *NEED_DATA})


def main() -> None:
    """Run the small forms, print their figures, and end with 1 where something is wrong."""
    chosen = [name for name in FORMS if not sys.argv[1:] or any(word in name for word in sys.argv[1:])]
    wrong = [f"{name} has no small form" for name in missing()]
    for name in chosen:
        code, text, seconds = run(name, FORMS[name])
        lines = list(judge(FORMS[name], text)) if code == 0 else [(False, f"exit code {code}\n{text[-2000:]}")]
        for good, line in lines or [(True, "it runs")]:
            print(f"{'good ' if good else 'WRONG'} {name:22s}{seconds:7.1f} CPU s  {line}", flush=True)
            wrong += [] if good else [name]
    print(f"not run, since they need data that is not simulated: {', '.join(NEED_DATA)}")
    sys.exit(f"out of bounds: {', '.join(dict.fromkeys(wrong))}" if wrong else 0)


if __name__ == "__main__":
    main()
