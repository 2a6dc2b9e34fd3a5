"""The parser: one option per field of the settings, and the configuration file that says the same."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from bids_alps import __version__
from bids_alps.errors import UsageError
from bids_alps.settings import Execution, Method, Request, Settings, megabytes

GROUPS: dict[str, type[Request | Method | Execution]] = {"request": Request, "method": Method, "execution": Execution}
TITLES = {"request": "which files", "method": "method", "execution": "machine"}
POSITIONAL = ("bids_dir", "output_dir")
_VALIDATION = ("--skip-bids-validation", "--skip_bids_validation", "--skip-bids-validator", "--skip_bids_validator")


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise UsageError("command line", message, f"see {self.prog} --help")


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="bids-alps",
        allow_abbrev=False,
        description="DTI-ALPS index of every diffusion run of a BIDS dataset, with uncertainty, checks and reports.",
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="where derivatives go")
    parser.add_argument("level", metavar="{participant,group}", help="what to do")
    for name, group in GROUPS.items():
        section = parser.add_argument_group(TITLES[name])
        hints = get_type_hints(group)
        for setting in fields(group):
            if setting.name not in POSITIONAL:
                _add_option(section, setting, hints[setting.name])
    _add_controls(parser)
    return parser


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
    parser.add_argument("--notrack", action="store_true", help="accepted for compatibility: there is no telemetry")


def _add_option(section: argparse._ArgumentGroup, setting: Field[Any], hint: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    spellings = [name, *setting.metadata["spellings"]]
    default = None if setting.default is MISSING else setting.default
    common: dict[str, Any] = {"dest": setting.name, "default": default, "help": setting.metadata["description"]}
    kind, many = _kind_of(hint)
    kind = setting.metadata.get("parse", kind)
    if kind is bool:
        section.add_argument(*spellings, action=argparse.BooleanOptionalAction, **common)
    elif choices := setting.metadata.get("choices", get_args(kind) if get_origin(kind) is Literal else ()):
        section.add_argument(*spellings, choices=choices, **common)
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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says, over what its configuration file says, over the defaults.

    Raises
    ------
    UsageError
        If either is wrong.
    """
    parser = make_parser()
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
            raise UsageError(str(path), f"no setting is called {name}", "see bids-alps --help")
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
