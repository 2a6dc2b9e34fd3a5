"""The parser: one option per field of the settings, and the configuration file that says the same."""

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
TITLES = {"request": "which files", "method": "method", "execution": "machine"}
SECTIONS: dict[str, tuple[str, ...]] = {
    "which data": (
        *("participant_label", "session_label", "run_label", "bids_filter_file", "derivatives"),
        *("bids_database_dir", "longitudinal"),
    ),
    "what is done": (*("dry_run", "force", "stop_on_first_crash", "reports_only", "boilerplate_only"),),
    "preprocessing of raw series": (
        *("skip_preprocessing", "denoising", "unringing", "motion_correction", "distortion_correction"),
        *("combine_runs", "b0_threshold"),
    ),
    "tensors and alignment": (
        *("shells", "gradient_calibration", "template", "registrar", "pose_correction", "random_seed"),
    ),
    "regions": (
        *("rois", "roi_radius", "roi_weighting", "atlas", "atlas_threshold", "exclude_lesions", "t1w_aligned"),
    ),
    "quality": ("threshold", "keep_failed"),
    "group level": (
        *("group_column", "reference_group", "covariates", "model", "test", "weights", "equivalence_margin"),
        *("permutations", "sessions", "include_status", "subset", "pool_across", "ratings", "harmonise"),
    ),
    "processes and machines": (),
}
"""Options in the order of the help; those that no section names stand at the end of one by `_OTHERS`."""
_OTHERS = {"request": "which data", "method": "tensors and alignment", "execution": "processes and machines"}
POSITIONAL = ("bids_dir", "output_dir")
_VALIDATION = ("--skip-bids-validation", "--skip_bids_validation", "--skip-bids-validator", "--skip_bids_validator")


class _Help(argparse.HelpFormatter):
    """Shows an option by its first spelling, and ``--no-`` where there is one; the other spellings work too."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if name.startswith("--")][:1]
        if not names:
            return super()._format_action_invocation(action)
        names = [name for name in action.option_strings if not name.startswith("--")] + names
        if isinstance(action, argparse.BooleanOptionalAction):
            names.append(names[-1].replace("--", "--no-", 1))
        shown = ", ".join(names)
        return shown if action.nargs == 0 else f"{shown} {self._format_args(action, str(action.metavar or ''))}"


_NOT_HERE = {
    "--fs-": "FreeSurfer is not used",
    "--output-space": "the index is measured in the space of the diffusion images",
    "--output-resolution": "images are not resampled",
    "--use-syn-sdc": "there is no correction of distortion without a fieldmap",
    "--anat-modality": "no anatomical image is needed",
    "--anatomical-template": "the template is chosen by --template",
    "--dwi-only": "only diffusion images are processed",
    "--anat-only": "only diffusion images are processed",
    "--hmc-": "head motion is corrected by one method, or not (--no-motion-correction)",
    "--eddy-config": "eddy of FSL is not used",
    "--pepolar-method": "there is one method",
    "--recon-": "there is one analysis",
    "--use-plugin": "work is distributed by --nprocs or --executor dask",
    "--nipype-plugin": "work is distributed by --nprocs or --executor dask",
    "--dwi-denoise-window": "noise is reduced by --denoising, in a window of its own choice",
    "--unringing-method": "Gibbs ringing is removed by --unringing",
    "--b0-motion-corr-to": "all volumes are aligned together",
    "--skull-strip-": "no T1w image is skull-stripped",
    "--cifti-output": "no surfaces are made",
}
"""Options of fMRIPrep, QSIPrep and XCP-D by their beginnings, and why they mean nothing here."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line, with the option or the choice that is nearest."""
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
        description="DTI-ALPS index of every diffusion run of a BIDS dataset, with uncertainty, checks and reports.",
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="where derivatives go")
    parser.add_argument(
        "level",
        metavar="{participant,group,figures}",
        help="measure participants; then the cohort; then figures for publication",
    )
    sections = {title: parser.add_argument_group(title) for title in SECTIONS}
    for setting, hint, title in sorted(_settings(), key=lambda entry: _place(entry[0].name)):
        _add_option(sections[title], setting, hint)
    _add_controls(parser)
    return parser


def _settings() -> Iterator[tuple[Field[Any], Any, str]]:
    """Yield every setting with its type and the section of the help that it stands in."""
    sections = {name: title for title, names in SECTIONS.items() for name in names}
    for name, group in GROUPS.items():
        hints = get_type_hints(group)
        for setting in fields(group):
            if setting.name not in POSITIONAL:
                yield setting, hints[setting.name], sections.get(setting.name, _OTHERS[name])


def _place(name: str) -> int:
    """Return the place of a setting within the help; settings that no section names keep their order, at the end."""
    listed = [one for names in SECTIONS.values() for one in names]
    return listed.index(name) if name in listed else len(listed)


def _add_controls(parser: Parser) -> None:
    parser.add_argument(
        "--mem-gb", "--mem_gb", dest="mem", type=lambda text: megabytes(f"{text}G"), metavar="GB", help="the same, GB"
    )
    parser.add_argument(
        "--config-file", "--config_file", type=Path, metavar="TOML", help="settings; the command line goes first"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for everything")
    parser.add_argument("--version", action="version", version=f"bids-alps {__version__}")
    parser.add_argument("--bids-exec-spec", action="store_true", help="print a Boutiques descriptor and stop")
    parser.add_argument(
        *_VALIDATION, action="store_true", help="do not run the full validator; what is read is checked all the same"
    )
    parser.add_argument(
        *("--separate-all-dwis", "--separate_all_dwis"),
        action="store_const",
        const=False,
        dest="combine_runs",
        default=argparse.SUPPRESS,
        help="never merge runs: QSIPrep's word for --no-combine-runs",
    )
    parser.add_argument(
        "--debug", nargs="*", metavar="WHAT", help="log everything; what is named after it makes no difference"
    )
    parser.add_argument(
        *("--output-layout", "--output_layout"), choices=("bids",), help="outputs are always laid out as BIDS"
    )
    parser.add_argument(
        *("--clean-workdir", "--clean_workdir"),
        action="store_true",
        help="accepted for compatibility: scratch files are removed when they are no longer needed",
    )
    parser.add_argument("--notrack", action="store_true", help="accepted for compatibility: there is no telemetry")


def _add_option(section: argparse._ArgumentGroup, setting: Field[Any], hint: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    spellings = [name, *setting.metadata["spellings"]]
    default = None if setting.default is MISSING else setting.default
    told = _with_default(setting.metadata["description"], default)
    common: dict[str, Any] = {"dest": setting.name, "default": default, "help": told}
    kind, many = _kind_of(hint)
    kind = setting.metadata.get("parse", kind)
    if kind is bool:
        section.add_argument(*spellings, action=argparse.BooleanOptionalAction, **common)
    elif choices := setting.metadata.get("choices", get_args(kind) if get_origin(kind) is Literal else ()):
        section.add_argument(*spellings, choices=choices, nargs="+" if many else None, **common)
    else:
        metavar = setting.name.upper()
        section.add_argument(*spellings, type=kind, nargs="+" if many else None, metavar=metavar, **common)


def _with_default(description: str, default: Any) -> str:
    """Return the help of an option with its default, where the description does not tell it."""
    if "default:" in description:
        return description
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    else:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)
    return f"{description} (default: {(shown or 'none').replace('%', '%%')})"


def _kind_of(hint: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether there may be many: ``tuple[int, ...] | None`` gives (int, True)."""
    if get_origin(hint) is UnionType:
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says, over what its configuration file says, over the defaults.

    Raises
    ------
    UsageError
        If either is wrong.
    """
    parser = make_parser()
    arguments = list(_spelled_out(arguments))
    chosen = parser.parse_args(arguments)
    if chosen.config_file is None:
        return chosen
    tokens = read_config(chosen.config_file)
    try:
        below = parser.parse_args([".", ".", "participant", *tokens])
    except UsageError as error:
        raise UsageError(str(chosen.config_file), error.what, "see bids-alps --help") from error
    for name in (*POSITIONAL, "level", "config_file"):
        delattr(below, name)
    return parser.parse_args(arguments, namespace=below)


def _spelled_out(arguments: Sequence[str]) -> Iterator[str]:
    """Yield a command line whose options of other BIDS Apps are ours; refuse in a sentence those that cannot apply."""
    for word in arguments:
        name = word.partition("=")[0].replace("_", "-")
        reason = next((why for start, why in _NOT_HERE.items() if name.startswith(start)), None)
        if reason is not None:
            raise UsageError(name, f"an option of other BIDS Apps that cannot apply here: {reason}", "leave it out")
        yield from ("--dry-run", "--plan-json") if word == "--dry-run=json" else (word,)


def read_config(path: Path) -> list[str]:
    """Read a configuration file as the arguments that would say the same.

    Raises
    ------
    UsageError
        If it is no TOML, or names a setting that there is not.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("--config-file", f"{path} cannot be read ({error})", "give a TOML file") from error
    known = {setting.name: setting for group in GROUPS.values() for setting in fields(group)}
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat.update(value if name in GROUPS and isinstance(value, dict) else {name: value})
    tokens = []
    for name, value in flat.items():
        field = name.replace("-", "_")
        if field not in known:
            raise UsageError(
                str(path), f"no setting is called {name}{did_you_mean(field, known)}", "see bids-alps --help"
            )
        if field not in POSITIONAL:
            tokens += _tokens("--" + field.replace("_", "-"), value)
    return tokens


def _tokens(option: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    if isinstance(value, list):
        return [option, *map(str, value)] if value else []
    return [f"{option}={value}"]


def settings_of(chosen: argparse.Namespace) -> Settings:
    """Return the settings that a command line chose."""

    def of(group: type[Any]) -> Any:
        values = {setting.name: getattr(chosen, setting.name) for setting in fields(group)}
        return group(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    return Settings(request=of(Request), method=of(Method), execution=of(Execution))
