"""The command ``bids-alps-phantom``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bids_alps.phantom.settings import FIELDMAPS, STORAGES, PhantomSettings


def make_parser() -> argparse.ArgumentParser:
    """Return the parser: one option per field of the settings."""
    parser = argparse.ArgumentParser(
        prog="bids-alps-phantom",
        description="Write a simulated digital brain phantom with known index as a BIDS dataset.",
    )
    parser.add_argument("out", type=Path, help="root of the output dataset")
    for setting in fields(PhantomSettings):
        name = "--" + setting.name.replace("_", "-")
        description = f"{setting.metadata['description']} (default: {setting.default})"
        default = setting.default
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default, help=description)
        elif isinstance(default, tuple):
            orders = STORAGES if setting.name == "storage" else None
            parser.add_argument(
                name, nargs="+", type=type(default[0]), choices=orders, default=default, help=description
            )
        else:
            choices = FIELDMAPS if setting.name == "fieldmap" else None
            parser.add_argument(name, type=type(default), choices=choices, default=default, help=description)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a phantom dataset; return the exit code."""
    from bids_alps.phantom.dataset import write_phantom  # imported after parsing, so that --help is fast

    options = vars(make_parser().parse_args(arguments))
    out = options.pop("out")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    settings = PhantomSettings(**values)
    for row in write_phantom(out, settings):
        sys.stdout.write(f"{row['scan']}: true index {row['alps_bilateral']:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
