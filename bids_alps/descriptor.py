"""The command line as a Boutiques descriptor, for platforms that run BIDS Apps."""

from __future__ import annotations

import argparse
import json
from typing import Any

from bids_alps import __version__
from bids_alps.arguments import GROUPS, TITLES, make_parser
from bids_alps.identity import CODE_URL

_POSITIONALS = ("bids_dir", "output_dir", "level")
_HIDDEN = ("help", "version", "bids_exec_spec", "verbose", "notrack")


def render_descriptor() -> str:
    """Return the descriptor as JSON."""
    actions = [action for action in make_parser()._actions if action.dest not in _HIDDEN]
    inputs: dict[str, dict[str, Any]] = {}
    for action in actions:
        inputs.setdefault(action.dest, _input(action))
    keys = [entry["value-key"] for entry in inputs.values()]
    descriptor = {
        "name": "bids-alps",
        "description": "DTI-ALPS index of every diffusion run of a BIDS dataset, with its uncertainty.",
        "tool-version": __version__,
        "schema-version": "0.5",
        "url": CODE_URL,
        "command-line": f"bids-alps {' '.join(keys)}",
        "container-image": {"type": "docker", "image": f"bids/alps:{__version__}"},
        "inputs": list(inputs.values()),
        "output-files": [
            {
                "id": "results",
                "name": "Results",
                "path-template": "[OUTPUT_DIR]",
                "description": "BIDS derivative dataset.",
            }
        ],
        "groups": _groups(inputs),
        "tags": {"domain": ["neuroinformatics", "mri", "bids-app"]},
    }
    return json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n"


def _input(action: argparse.Action) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "value-key": f"[{action.dest.upper()}]",
        "type": "Flag" if action.nargs == 0 else "Number" if action.type in (int, float) else "String",
        "optional": action.dest not in _POSITIONALS,
        "description": action.help,
    }
    if action.dest == "bids_dir":
        entry["type"] = "File"
    if action.dest == "level":
        entry["value-choices"] = ["participant", "group", "figures"]
    elif action.choices:
        entry["value-choices"] = list(action.choices)
    if action.option_strings:
        negative = entry["type"] == "Flag" and action.default is True
        entry["command-line-flag"] = next(
            name for name in action.option_strings if name.startswith("--no-") or not negative
        )
    return {**entry, "list": True} if action.nargs == "+" else entry


def _groups(inputs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{name}_group",
            "name": TITLES[name],
            "members": [dest for dest in GROUPS[name].__dataclass_fields__ if dest in inputs],
        }
        for name in GROUPS
    ]
