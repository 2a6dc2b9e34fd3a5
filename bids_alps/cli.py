"""The command-line program: runs an analysis level and turns errors into exit codes."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_alps.arguments import parse, settings_of
from bids_alps.console import Console
from bids_alps.errors import (
    AlpsError,
    AnalysisLevelError,
    ExecutionError,
    NoInputError,
    NothingSelectedError,
    OutputError,
    UsageError,
    permission_error,
)
from bids_alps.execution.machine import prepare_machine
from bids_alps.settings import Method, Settings, with_absolute_paths

if TYPE_CHECKING:
    from bids_alps.participant import Outcome

LEVELS = ("participant", "group", "figures")
_STOPPED = 130
_SHOWN = 10


def settings_from(arguments: Sequence[str]) -> tuple[str, Settings, int, bool]:
    """Parse a command line; return analysis level, settings, verbosity and whether to run the BIDS validator.

    Raises
    ------
    UsageError
        If the command line is invalid.
    AnalysisLevelError
        If the analysis level does not exist.
    """
    options = parse(arguments)
    if options.level not in LEVELS:
        raise AnalysisLevelError(
            "analysis level", f"{options.level!r} is not one of {', '.join(LEVELS)}", "choose one of them"
        )
    settings = _with_output_label(settings_of(options))
    labels = read_labels(settings.request.participant_label)
    sessions = read_labels(settings.request.session_label, "--session-label")
    name = settings.execution.run_uuid or f"{time.strftime('%Y%m%d-%H%M%S')}_{uuid.uuid4().hex[:8]}"
    settings = replace(
        settings,
        request=replace(settings.request, participant_label=labels, session_label=sessions),
        execution=replace(settings.execution, run_uuid=name),
    )
    settings = with_absolute_paths(settings)
    _check(settings, options.level)
    verbosity = options.verbose if options.debug is None else 2
    return options.level, settings, verbosity, not options.skip_bids_validation


def _with_output_label(settings: Settings) -> Settings:
    """Return settings with the output folder of ``--output-label``, inside the given output folder."""
    request, label = settings.request, settings.request.output_label
    if label is None:
        return settings
    if not label.isascii() or not label.replace("-", "").replace("_", "").isalnum():
        raise UsageError("--output-label", f"{label!r}", "use letters, digits, - and _")
    from bids_alps.io.output import check_output
    from bids_alps.io.root import PROGRAM

    check_output(request.output_dir, request.bids_dir, {})
    folder = request.output_dir / "derivatives" / f"{PROGRAM}-{label}"
    return replace(settings, request=replace(request, output_dir=folder))


def read_labels(given: Sequence[str], option: str = "--participant-label") -> tuple[str, ...]:
    """Return the labels; ``@FILE`` is replaced by the labels in a file, one per line.

    Raises
    ------
    UsageError
        If the file cannot be read, or labels are separated by commas.
    """
    labels: list[str] = []
    for label in given:
        try:
            read = Path(label[1:]).read_text(encoding="utf-8-sig").split() if label.startswith("@") else [label]
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{option} {label}", f"cannot be read ({error})", "give @FILE with one label per line"
            ) from error
        labels += read
    commas = [label for label in labels if "," in label]
    if commas:
        raise UsageError(f"{option} {commas[0]}", "labels are separated by commas", "separate them by spaces")
    return tuple(labels)


def _check(settings: Settings, level: str) -> None:
    _check_folders(settings, level)
    for name, minimum in (("nprocs", 1), ("omp_nthreads", 1), ("timeout", 0), ("worker_timeout", 0)):
        number = getattr(settings.execution, name)
        if number is not None and not max(minimum, 1e-9) <= number < math.inf:
            option, allowed = f"--{name.replace('_', '-')}", "1 or more" if minimum else "more than 0"
            raise UsageError(option, f"{number}", f"give {allowed}")
    _check_method(settings.method)
    if settings.execution.executor == "dask":
        from bids_alps.execution.jobs import check_dask

        check_dask(settings.execution.dask_config)
    if not settings.execution.run_uuid.replace("-", "").replace("_", "").isalnum():
        raise UsageError("--run-uuid", f"{settings.execution.run_uuid!r}", "use letters, digits, - and _")
    if settings.method.threshold:
        from bids_alps.quality.checks import parse_thresholds

        parse_thresholds(settings.method.threshold)
    if settings.request.longitudinal:
        _check_longitudinal(settings.method)


def _check_folders(settings: Settings, level: str) -> None:
    """Refuse output and working folders in the input; the group level may have its own output among the datasets."""
    from bids_alps.io.output import check_output, check_writable, is_within

    request = settings.request
    check_output(request.output_dir, request.bids_dir, request.datasets if level == "participant" else {})
    scratch = {"--work-dir": settings.execution.work_dir, "--bids-database-dir": request.bids_database_dir}
    for option, folder in scratch.items():
        if folder is None:
            continue
        if is_within(folder, request.bids_dir) and not is_within(folder, request.output_dir):
            raise UsageError(option, f"{folder} is inside the input dataset", "choose a folder outside of it")
        check_writable(folder, option)


def _check_method(method: Method) -> None:
    """Refuse values of the method that cannot be used for any run, and steps that ``--skip-preprocessing`` omits."""
    if method.random_seed < 0:
        raise UsageError("--random-seed", f"{method.random_seed}", "give 0 or more")
    if not 0 <= method.b0_threshold < math.inf:
        raise UsageError("--b0-threshold", f"{method.b0_threshold:g} s/mm²", "give 0 or more")
    unusable = [shell for shell in method.shells or () if not method.b0_threshold < shell < math.inf]
    if unusable:
        raise UsageError(
            "--shells", f"{unusable[0]:g} s/mm²", f"give b-values above --b0-threshold, {method.b0_threshold:g} s/mm²"
        )
    steps = {"--combine-runs": method.combine_runs, "--denoising": method.denoising, "--unringing": method.unringing}
    wanted = [option for option, value in steps.items() if value]
    if method.skip_preprocessing and wanted:
        raise UsageError(
            wanted[0], "is a step of preprocessing, which --skip-preprocessing omits", "give one of the two"
        )


def _check_longitudinal(method: Method) -> None:
    """Refuse settings that are not defined for several sessions."""
    from bids_alps.io.presets import conventions_of

    if method.registrar == "precomputed":
        raise UsageError(
            "--longitudinal",
            "a precomputed transform does not exist for the average of the sessions",
            "--registrar staged",
        )
    if all(conventions_of(name) == "alps.sh" for name in method.rois):
        raise UsageError(
            "--longitudinal", "the preset alps.sh has no longitudinal processing", "add a preset such as --rois alps"
        )


def _check_regions(method: Method) -> None:
    """Check template, ROI presets and atlases before any run starts; the defaults need no check."""
    default, template = Method(), method.template
    if template != default.template:
        from bids_alps.io.templates import find_template, template_label

        find_template(template)
        template = template_label(template)
    if (method.rois, method.roi_radius, method.template) != (default.rois, default.roi_radius, default.template):
        from bids_alps.io.presets import read_presets

        read_presets(method.rois, template=template, radius_mm=method.roi_radius)
    if method.atlas or method.atlas_threshold != default.atlas_threshold:
        from bids_alps.io.atlases import atlas_label, find_atlases

        reserved = tuple(map(atlas_label, method.rois))
        find_atlases(method.atlas, template=template, threshold=method.atlas_threshold, reserved=reserved)


def run_participants(settings: Settings, console: Console, *, validate: bool) -> int:
    """Process the participants and print the result of each run; return the exit code."""
    from bids_alps.consistency import check_settings, record_settings
    from bids_alps.io.atlases import atlas_label
    from bids_alps.io.layout import find_participants
    from bids_alps.io.output import check_source
    from bids_alps.io.root import write_root
    from bids_alps.planning import lesions_of

    request = settings.request
    lesions_of(settings)
    check_source(request.output_dir, request.bids_dir)
    labels = find_participants(request.bids_dir, request.participant_label)
    if not (request.reports_only or request.boilerplate_only):
        check_settings(request, settings.method, labels)
    if request.dry_run:
        return _print_plan(labels, settings)
    if request.boilerplate_only:
        return _write_boilerplate(labels, settings)
    if validate:
        from bids_alps.io.validation import validate_dataset

        _say(validate_dataset(request.bids_dir, labels if request.participant_label else ()))
    presets = [atlas_label(name) for name in settings.method.rois]
    if not request.participant_label:  # tasks of a job array must not scan the shared folders
        _remove_abandoned(request.output_dir)
    write_root(request.output_dir, request.bids_dir, request.datasets, presets=presets)
    if not request.reports_only:
        record_settings(request.output_dir, settings.method)
    outcomes = _process(labels, settings, console)
    _write_citation(settings, labels if request.participant_label and not request.force else ())
    return _conclude(outcomes, settings, console)


def _remove_abandoned(output_dir: Path) -> None:
    """Remove partial files of killed processes from the folders that all participants share."""
    from bids_alps.io.temporary import remove_abandoned

    for folder in (output_dir, output_dir / "logs"):
        remove_abandoned(folder)


def _process(labels: Sequence[str], settings: Settings, console: Console) -> list[Outcome]:
    """Process the participants and return their outcomes; the summary is written even if this is interrupted."""
    from bids_alps.execution.study import process_participants
    from bids_alps.io.tables import table_text
    from bids_alps.io.writing import write_text
    from bids_alps.summary import summary_path

    # sent by batch systems and container engines before SIGKILL
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    remaining = dict.fromkeys(labels)
    try:
        console.open_bar(len(labels))
        with closing(process_participants(labels, settings, console)) as ended:
            for label, finished in ended:
                del remaining[label]
                outcomes += finished
                if settings.request.stop_on_first_crash and any(outcome.exit_code for outcome in finished):
                    break
    except ExecutionError as error:
        more = f" and {len(remaining) - _SHOWN} more" if len(remaining) > _SHOWN else ""
        listed = f"{', '.join(list(remaining)[:_SHOWN])}{more}"
        what = f"{error.what}; {len(remaining)} of {len(labels)} participants remain ({listed})"
        raise ExecutionError(error.where, what, error.remedy) from error
    finally:
        console.close_bar()
        if any(outcome.selected for outcome in outcomes):
            rows = map(asdict, sorted(outcomes, key=lambda outcome: outcome.name))
            write_text(summary_path(settings), table_text(rows, ("name", "exit_code", "message")))
    return outcomes


def _conclude(outcomes: list[Outcome], settings: Settings, console: Console) -> int:
    """Print the summary of all runs; return the exit code."""
    from bids_alps.summary import summarize

    if not any(outcome.selected for outcome in outcomes):
        raise NothingSelectedError(str(settings.request.bids_dir), "no diffusion run is selected", "check the filters")
    for line in ("", *summarize(outcomes, settings, console.reprocessed)):
        _say(line)
    codes = [outcome.exit_code for outcome in outcomes]
    failed = [code for code in codes if code]
    if not failed:
        return 0
    # the code of the error if all runs failed with the same one, otherwise 1
    return failed[0] if len(set(failed)) == 1 and len(failed) == len(codes) else 1


def _write_boilerplate(labels: Sequence[str], settings: Settings) -> int:
    """Write the methods text of existing results."""
    if not _write_citation(settings, labels if settings.request.participant_label else (), overwrite=True):
        where = str(settings.request.output_dir)
        raise NoInputError(
            where, "no finished run, so there is no methods text to write", "run the participant level first"
        )
    return 0


def _write_citation(settings: Settings, labels: Sequence[str] = (), *, overwrite: bool = False) -> bool:
    """Write the methods text of all finished runs; return whether there are any.

    A job for some participants, such as a task of a job array, reads only their receipts and keeps an existing text: it
        is updated from all runs by the group level, by a call for all participants, or with ``--force``.
    """
    from bids_alps.provenance import read_statements
    from bids_alps.report.methods import write_citation

    folder = settings.request.output_dir / "logs"
    if labels and not overwrite and (folder / "CITATION.md").exists():
        return True
    by_participant = [read_statements(settings.request.output_dir, label) for label in labels or ("*",)]
    runs = {name: statements for statements_of in by_participant for name, statements in statements_of.items()}
    if not any(runs.values()):
        return False
    try:
        write_citation(folder, runs, markdown_only=settings.request.md_only_boilerplate)
    except OutputError as error:  # the file belongs to another user
        logging.getLogger(__name__).warning("%s", error)
    return True


def _print_plan(labels: Sequence[str], settings: Settings) -> int:
    from bids_alps.io.output import check_links
    from bids_alps.planning import describe_plan, plan_participants

    for label in labels:
        check_links(settings.request.output_dir, label)
    runs = (run for _, planned in plan_participants(labels, settings) for run in planned)
    plans: Iterable[dict[str, Any]] = (describe_plan(run, settings) for run in runs)
    if settings.request.plan_json:
        plans = list(plans)
        _say(json.dumps(plans, indent=2, ensure_ascii=False))
    codes = []
    for plan in plans:
        if plan["state"] != "set aside":
            codes.append(plan["exit_code"])
        for line in () if settings.request.plan_json else _plan_lines(plan):
            _say(line)
    if not codes:
        raise NothingSelectedError(str(settings.request.bids_dir), "no diffusion run is selected", "check the filters")
    return max(codes) if len(set(codes)) == 1 else int(any(codes))


def _plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    if plan["state"] in ("skipped", "set aside"):
        yield f"{plan['run']}: {plan['state']}. {plan['reason']}"
        return
    kept = " [has a result, kept if nothing has changed]" if plan["state"] == "has a result" else ""
    yield f"{plan['run']}:{kept}"
    for name, value in plan.items():
        if name in ("run", "state", "exit_code") or value in ("", [], {}):
            continue
        for item in value if isinstance(value, list) else [value]:
            yield f"  {name.replace('_', ' '):10s}{item}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code, which the last line repeats."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--bids-exec-spec" in given:
        from bids_alps.descriptor import render_descriptor

        sys.stdout.write(render_descriptor())
        return 0
    code = _run(given)
    last = "bids-alps finished without errors." if code == 0 else f"bids-alps finished with errors (exit code {code})."
    as_json = "--dry-run=json" in given or "--plan-json" in given  # nothing else on the standard output
    (sys.stderr if as_json else sys.stdout).write(f"{last}\n")
    sys.stdout.flush()
    return code


def _run(given: Sequence[str]) -> int:
    """Run the program; print an error in one line and return its exit code."""
    try:
        level, settings, verbosity, validate = settings_from(given)
        prepare_machine(settings)  # first, since it creates the folder to which templates are downloaded
        _check_regions(settings.method)
        with Console(verbosity=verbosity) as console:
            if level == "participant":
                return run_participants(settings, console, validate=validate)
            return _run_group(settings) if level == "group" else _draw_figures(settings)
    except AlpsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by the user; finished runs are kept.\n")
        return _STOPPED
    except PermissionError as error:
        denied = permission_error(error)
        sys.stderr.write(f"{denied}\n")
        return denied.exit_code


def _run_group(settings: Settings) -> int:
    from bids_alps.group.run import run_group

    _remove_abandoned(settings.request.output_dir)
    _say(f"group table: {run_group(settings)}")
    _write_citation(settings)
    return 0


def _draw_figures(settings: Settings) -> int:
    from bids_alps.group.papers import write_paper_figures

    written = write_paper_figures(settings)
    _say(f"{len(written)} figures: {written[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
