"""The command line: arguments to settings, errors to exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from bids_alps import __version__
from bids_alps.errors import AlpsError, AnalysisLevelError, OutputError, UsageError
from bids_alps.settings import Execution, Method, Request, Settings

LEVELS = ("participant", "group")
_POSITIONAL = ("bids_dir", "output_dir")


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise UsageError("command line", message, f"see {self.prog} --help")


def make_parser() -> Parser:
    """Return the parser: one option per field of the settings."""
    parser = Parser(
        prog="bids-alps",
        allow_abbrev=False,
        description="DTI-ALPS index of every diffusion run of a BIDS dataset, with uncertainty, checks and reports.",
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="where derivatives go")
    parser.add_argument("level", metavar="{participant,group}", help="what to do")
    for title, group in (("which files", Request), ("method", Method), ("machine", Execution)):
        section = parser.add_argument_group(title)
        hints = get_type_hints(group)
        for setting in fields(group):
            if setting.name not in _POSITIONAL:
                _add_option(section, setting, hints[setting.name])
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for everything")
    parser.add_argument("--version", action="version", version=f"bids-alps {__version__}")
    parser.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        "--skip-bids-validator",
        "--skip_bids_validator",
        action="store_true",
        help="accepted for compatibility: the files that are read are always checked, no more is",
    )
    parser.add_argument("--notrack", action="store_true", help="accepted for compatibility: there is no telemetry")
    return parser


def _add_option(section: argparse._ArgumentGroup, setting: Field[Any], hint: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    spellings = [name, *setting.metadata["spellings"]]
    default = None if setting.default is MISSING else setting.default
    about = setting.metadata["about"]
    common: dict[str, Any] = {"dest": setting.name, "default": default, "help": about}
    kind, many = _kind_of(hint)
    if kind is bool:
        section.add_argument(*spellings, action=argparse.BooleanOptionalAction, **common)
    elif get_origin(kind) is Literal:
        section.add_argument(*spellings, choices=get_args(kind), **common)
    else:
        metavar = setting.name.upper()
        section.add_argument(*spellings, type=kind, nargs="+" if many else None, metavar=metavar, **common)


def _kind_of(hint: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether there may be many: ``tuple[int, ...] | None`` gives (int, True)."""
    if get_origin(hint) is UnionType:
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


def settings_from(arguments: Sequence[str] | None) -> tuple[str, Settings, int]:
    """Return analysis level, settings and verbosity of a command line.

    Raises
    ------
    UsageError
        If the command line is wrong.
    AnalysisLevelError
        If there is no such level.
    """
    chosen = vars(make_parser().parse_args(arguments))
    if chosen["level"] not in LEVELS:
        raise AnalysisLevelError(
            "analysis level", f"{chosen['level']!r} is none of {', '.join(LEVELS)}", "choose one of them"
        )
    settings = Settings(
        request=Request(**_chosen_of(Request, chosen)),
        method=Method(**_chosen_of(Method, chosen)),
        execution=Execution(**_chosen_of(Execution, chosen)),
    )
    _check_folders(settings.request)
    if settings.execution.nprocs < 1:
        raise UsageError("--nprocs", f"{settings.execution.nprocs} processes", "give 1 or more")
    return chosen["level"], settings, chosen["verbose"]


def _chosen_of(group: type[Request | Method | Execution], chosen: dict[str, Any]) -> dict[str, Any]:
    values = {setting.name: chosen[setting.name] for setting in fields(group)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _check_folders(request: Request) -> None:
    source, target = request.bids_dir.resolve(), request.output_dir.resolve()
    if source == target:
        raise UsageError("output_dir", f"{target} is the input too", "choose another folder for the output")


def run_participants(settings: Settings) -> int:
    """Process the participants, telling each run as it ends; return the exit code."""
    from bids_alps.execution.local import map_participants
    from bids_alps.io.layout import find_participants
    from bids_alps.io.root import write_root

    labels = find_participants(settings.request.bids_dir, settings.request.participant_label)
    if settings.request.dry_run:
        return _tell_plan(labels, settings)
    write_root(settings.request.output_dir, settings.request.bids_dir)
    codes = []
    for outcomes in map_participants(labels, settings):
        for outcome in outcomes:
            _say(f"{outcome.name}: {outcome.message}")
            codes.append(outcome.exit_code)
    failed = [code for code in codes if code]
    if not failed:
        return 0
    _say(f"{len(failed)} of {len(codes)} runs failed; logs are in {settings.request.output_dir / 'logs'}.")
    return failed[0] if len(set(failed)) == 1 and len(failed) == len(codes) else 1


def _tell_plan(labels: Sequence[str], settings: Settings) -> int:
    from bids_alps.io.layout import Problem
    from bids_alps.participant import plan_participant

    code = 0
    for label in labels:
        for run in plan_participant(label, settings):
            if isinstance(run, Problem):
                _say(f"{run.name}: skipped. {run.error}")
                code = 1
                continue
            _say(f"{run.name}:")
            for line in _plan_lines(run):
                _say(f"  {line}")
    return code


def _plan_lines(run: Any) -> Iterator[str]:
    yield f"image     {run.image}"
    yield f"bval      {run.bval}"
    yield f"bvec      {run.bvec}"
    yield f"mask      {run.mask or 'to be estimated'}"
    yield f"T1w       {run.t1w or 'none'}"
    yield f"reverse   {', '.join(map(str, run.reverse_phase)) or 'none'}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _prepare_machine() -> None:
    """Pin threads, and give libraries folders that they may write to where there is no home."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"
    scratch = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 -- the system's own place for it
    home = Path(os.environ.get("HOME", "/nonexistent"))
    if not os.access(home, os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(scratch / "matplotlib"))
        os.environ.setdefault("TEMPLATEFLOW_HOME", str(scratch / "templateflow"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code, which the last line agrees with."""
    _prepare_machine()
    try:
        level, settings, verbosity = settings_from(arguments)
        logging.basicConfig(level=(logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
        code = run_participants(settings) if level == "participant" else _run_group(settings)
    except AlpsError as error:
        sys.stderr.write(f"{error}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by the user; finished runs are kept.\n")
        code = 130
    except PermissionError as error:
        denied = OutputError(str(error.filename), "cannot be written", "choose a folder that can be written to")
        sys.stderr.write(f"{denied}\n")
        code = denied.exit_code
    _say("bids-alps finished without errors." if code == 0 else f"bids-alps finished with errors (exit code {code}).")
    return code


def _run_group(settings: Settings) -> int:
    from bids_alps.group import run_group

    _say(f"group table: {run_group(settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
