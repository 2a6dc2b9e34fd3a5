"""The command-line parser, with one option per field of the settings, and the configuration file."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from bids_alps import __version__
from bids_alps.errors import UsageError, did_you_mean
from bids_alps.settings import Execution, Method, Request, Settings, megabytes

GROUPS: dict[str, type[Request | Method | Execution]] = {"request": Request, "method": Method, "execution": Execution}
TITLES = {"request": "input data", "method": "method", "execution": "execution"}
SECTIONS: dict[str, tuple[str, ...]] = {
    "input data": (
        *("participant_label", "session_label", "run_label", "bids_filter_file", "derivatives"),
        *("bids_database_dir", "longitudinal"),
    ),
    "workflow": (
        *("dry_run", "force", "stop_on_first_crash", "reports_only", "boilerplate_only", "md_only_boilerplate"),
    ),
    "preprocessing of raw series": (
        *("skip_preprocessing", "denoising", "unringing", "motion_correction", "distortion_correction"),
        *("combine_runs", "b0_threshold"),
    ),
    "tensors and registration": (
        *("shells", "gradient_calibration", "template", "registrar", "pose_correction", "random_seed"),
    ),
    "regions of interest": (
        *("rois", "roi_radius", "roi_weighting", "atlas", "atlas_threshold", "exclude_lesions", "t1w_aligned"),
    ),
    "quality checks": ("threshold", "keep_failed"),
    "group level": (
        *("group_column", "reference_group", "covariates", "model", "test", "weights", "equivalence_margin"),
        *("permutations", "sessions", "include_status", "subset", "pool_across", "ratings", "harmonize"),
    ),
    "resources and execution": (),
}
"""Options in the order of the help; fields not listed here go to the end of a section, by `_OTHERS`."""
_OTHERS = {"request": "input data", "method": "tensors and registration", "execution": "resources and execution"}
POSITIONAL = ("bids_dir", "output_dir")
_VALIDATION = ("--skip-bids-validation", "--skip_bids_validation", "--skip-bids-validator", "--skip_bids_validator")


class _Help(argparse.HelpFormatter):
    """Shows each option by its first spelling and its ``--no-`` form only; the other spellings work too."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if name.startswith("--")][:1]
        if not names:
            return super()._format_action_invocation(action)
        names = [name for name in action.option_strings if not name.startswith("--")] + names
        if isinstance(action, argparse.BooleanOptionalAction):
            names.append(names[-1].replace("--", "--no-", 1))
        shown = ", ".join(names)
        return shown if action.nargs == 0 else f"{shown} {self._format_args(action, str(action.metavar or ''))}"


_NO_SYN = (
    "distortion is not corrected without a fieldmap, since registration to the T1w image left the index of scans with "
    "opposite phase encoding as different as before (docs/validation.md); the check residual_distortion shows where it "
    "may matter"
)
_INAPPLICABLE = {
    "--fs-": "FreeSurfer is not used",
    "--output-space": "the index is measured in the space of the diffusion images",
    "--output-resolution": "images are not resampled",
    "--use-syn-sdc": _NO_SYN,
    "--force-syn": _NO_SYN,
    "--anat-modality": "no anatomical image is needed",
    "--anatomical-template": "the template is chosen by --template",
    "--dwi-only": "only diffusion images are processed",
    "--anat-only": "only diffusion images are processed",
    "--hmc-": "there is one method of head motion correction; switch it off by --no-motion-correction",
    "--eddy-config": "eddy of FSL is not used",
    "--pepolar-method": "there is one method",
    "--recon-": "there is one analysis",
    "--use-plugin": "use --nprocs or --executor dask",
    "--nipype-plugin": "use --nprocs or --executor dask",
    "--dwi-denoise-window": "use --denoising, which chooses the window size itself",
    "--unringing-method": "use --unringing for Gibbs ringing correction",
    "--b0-motion-corr-to": "all volumes are aligned together",
    "--skull-strip-": "no T1w image is skull-stripped",
    "--cifti-output": "no surfaces are reconstructed",
}
"""Prefixes of options of fMRIPrep, QSIPrep and XCP-D that do not apply here, with the reason."""


class Parser(argparse.ArgumentParser):
    """A parser that raises an error instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError, with a suggestion of the closest option or choice."""
        raise UsageError("command line", message + self._nearest(message), f"see {self.prog} --help")

    def _nearest(self, message: str) -> str:
        if unknown := re.search(r"unrecognized arguments: .*?(--[\w-]+)", message):
            return did_you_mean(unknown[1], self._option_string_actions)
        if wrong := re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message):
            return did_you_mean(wrong[1], re.findall(r"[\w.-]+", wrong[2]))
        return ""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="bids-alps",
        usage="%(prog)s bids_dir output_dir {participant,group,figures} [options]",
        formatter_class=_Help,
        allow_abbrev=False,
        description="DTI-ALPS index of every diffusion run of a BIDS dataset, with uncertainty, quality checks and "
        "reports.",
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="output folder for the derivatives")
    parser.add_argument(
        "level",
        metavar="{participant,group,figures}",
        help="participant: process each run; group: tables and statistics; figures: figures for publication",
    )
    sections = {title: parser.add_argument_group(title) for title in SECTIONS}
    order = [setting for names in SECTIONS.values() for setting in names]
    position = {name: n for n, name in enumerate(order)}  # settings of no section come last, in their order
    for setting, hint, title in sorted(_settings(), key=lambda entry: position.get(entry[0].name, len(order))):
        _add_option(sections[title], setting, hint)
    _add_controls(parser)
    return parser


def _settings() -> Iterator[tuple[Field[Any], Any, str]]:
    """Yield every setting with its type and its section of the help."""
    sections = {name: title for title, names in SECTIONS.items() for name in names}
    for name, group in GROUPS.items():
        hints = get_type_hints(group)
        for setting in fields(group):
            if setting.name not in POSITIONAL:
                yield setting, hints[setting.name], sections.get(setting.name, _OTHERS[name])


def _add_controls(parser: Parser) -> None:
    parser.add_argument(
        "--mem-gb",
        "--mem_gb",
        dest="mem",
        type=lambda text: megabytes(f"{text}G"),
        metavar="GB",
        help="same as --mem, in GB",
    )
    parser.add_argument(
        "--config-file",
        "--config_file",
        type=Path,
        metavar="TOML",
        help="file with settings; command-line options have priority",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="more log messages; -vv for debugging")
    parser.add_argument("--version", action="version", version=f"bids-alps {__version__}")
    parser.add_argument("--bids-exec-spec", action="store_true", help="print a Boutiques descriptor and stop")
    parser.add_argument(
        *_VALIDATION, action="store_true", help="do not run the BIDS validator; files that are used are still checked"
    )
    parser.add_argument(
        *("--separate-all-dwis", "--separate_all_dwis"),
        action="store_const",
        const=False,
        dest="combine_runs",
        default=argparse.SUPPRESS,
        help="never merge runs; same as --no-combine-runs, for compatibility with QSIPrep",
    )
    parser.add_argument("--debug", nargs="*", metavar="WHAT", help="log all debugging messages; arguments are ignored")
    parser.add_argument(
        *("--output-layout", "--output_layout"),
        choices=("bids",),
        help="accepted for compatibility: the output layout is always BIDS",
    )
    parser.add_argument(
        *("--clean-workdir", "--clean_workdir"),
        action="store_true",
        help="accepted for compatibility: temporary files are always removed",
    )
    parser.add_argument("--notrack", action="store_true", help="accepted for compatibility: there is no telemetry")


def _add_option(section: argparse._ArgumentGroup, setting: Field[Any], hint: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    spellings = [name, *setting.metadata["spellings"]]
    default = None if setting.default is MISSING else setting.default
    help_text = setting.metadata["description"]
    if "default:" not in help_text:
        shown = "" if default is None else str(default)
        shown = ("yes" if default else "no") if isinstance(default, bool) else shown
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else shown
        help_text = f"{help_text} (default: {(shown or 'none').replace('%', '%%')})"
    common: dict[str, Any] = {"dest": setting.name, "default": default, "help": help_text}
    if get_origin(hint) is UnionType:  # X of `X | None`
        hint = next(part for part in get_args(hint) if part is not NoneType)
    many = get_origin(hint) is tuple
    kind = setting.metadata.get("parse", get_args(hint)[0] if many else hint)
    if kind is bool:
        section.add_argument(*spellings, action=argparse.BooleanOptionalAction, **common)
    elif choices := setting.metadata.get("choices", get_args(kind) if get_origin(kind) is Literal else ()):
        section.add_argument(*spellings, choices=choices, nargs="+" if many else None, **common)
    else:
        metavar = setting.name.upper()
        section.add_argument(*spellings, type=kind, nargs="+" if many else None, metavar=metavar, **common)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; its options have priority over the configuration file, and that over the defaults.

    Raises
    ------
    UsageError
        If either is invalid.
    """
    parser = make_parser()
    expanded = list[str]()
    for word in arguments:
        name = word.partition("=")[0].replace("_", "-")
        reason = next((why for start, why in _INAPPLICABLE.items() if name.startswith(start)), None)
        if reason is not None:
            raise UsageError(name, f"an option of other BIDS Apps that does not apply here: {reason}", "remove it")
        expanded += ("--dry-run", "--plan-json") if word == "--dry-run=json" else (word,)
    options = parser.parse_args(expanded)
    if options.config_file is None:
        return options
    tokens = read_config(options.config_file)
    try:
        from_file = parser.parse_args([".", ".", "participant", *tokens])
    except UsageError as error:
        raise UsageError(str(options.config_file), error.what, "see bids-alps --help") from error
    for name in (*POSITIONAL, "level", "config_file"):
        delattr(from_file, name)
    return parser.parse_args(expanded, namespace=from_file)


def read_config(path: Path) -> list[str]:
    """Read a configuration file as the equivalent command-line arguments.

    Raises
    ------
    UsageError
        If it is not valid TOML, or has an unknown setting.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("--config-file", f"{path} cannot be read ({error})", "give a TOML file") from error
    known = {setting.name: setting for group in GROUPS.values() for setting in fields(group)}
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat.update(value if name in GROUPS and isinstance(value, dict) else {name: value})
    arguments = []
    for name, value in flat.items():
        field = name.replace("-", "_")
        if field not in known:
            raise UsageError(str(path), f"unknown setting {name}{did_you_mean(field, known)}", "see bids-alps --help")
        if field in POSITIONAL:
            continue
        option = "--" + field.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(option if value else option.replace("--", "--no-", 1))
        elif isinstance(value, list):
            arguments += [option, *map(str, value)] if value else []
        else:
            arguments.append(f"{option}={value}")
    return arguments


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings from parsed command-line options."""

    def build(group: type[Any]) -> Any:
        values = {setting.name: getattr(options, setting.name) for setting in fields(group)}
        return group(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    return Settings(request=build(Request), method=build(Method), execution=build(Execution))
