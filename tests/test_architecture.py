"""The structure of the code: imports point one way, and each library is imported in few modules."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import bids_alps

ROOT = Path(bids_alps.__file__).parent
LAYERS = (
    *(
        "errors",
        "identity",
        "model",
        "numerics",
        "quality",
        "resources",
        "statistics",
        "io",
        "registration",
        "settings",
    ),
    *(
        "provenance",
        "cleanup",
        "consistency",
        "phantom",
        "progress",
        "report",
        "stages",
        "planning",
        "participant",
        "group",
    ),
    *("execution", "summary", "console", "arguments", "descriptor", "cli", "demo", "__main__"),
)
HOMES = {
    "matplotlib": {"report"},
    "contourpy": {"report"},
    "bids": {"io"},
    "nibabel": {"io"},
    "interpn": {"numerics"},
    "zlib_ng": {"io"},
    "jinja2": {"report"},
    "statsmodels": {"statistics"},
    "templateflow": {"io"},
    "argparse": {"arguments", "cli", "descriptor", "phantom"},
    "picsl_greedy": {"registration"},
    "SimpleITK": {"registration", "numerics", "io"},
    "skimage": {"numerics"},
}


@cache
def imports() -> list[tuple[str, Path, str]]:
    """Return (layer, file, imported module) of every import in the package."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.append((layer, path, node.module))
            elif isinstance(node, ast.Import):
                found += [(layer, path, name.name) for name in node.names]
    return found


def test_imports_point_one_way():
    wrong = []
    for layer, path, module in imports():
        parts = module.split(".")
        if layer == "__init__" or parts[0] != "bids_alps" or len(parts) == 1:
            continue
        if LAYERS.index(parts[1]) > LAYERS.index(layer):
            wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_each_library_is_imported_in_its_own_modules():
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for layer, path, module in imports()
        if module.split(".")[0] in HOMES and layer not in HOMES[module.split(".")[0]]
    ]
    assert wrong == []


def test_numerics_use_no_path_log_or_clock():
    forbidden = {"pathlib", "os", "logging", "time", "datetime", "random", "tempfile"}
    wrong = [
        f"{path.name} imports {module}"
        for layer, path, module in imports()
        if layer == "numerics" and module in forbidden
    ]
    assert wrong == []


def test_no_shell_is_called_and_no_code_of_a_dataset_is_run() -> None:
    """No ``shell=True``, pickle, eval or exec."""
    forbidden = {"eval", "exec", "system", "popen", "allow_pickle", "shell", "load_source", "unsafe_load", "Unpickler"}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                named = {keyword.arg for keyword in node.keywords}
                assert called not in forbidden, f"{path}:{node.lineno}"
                assert not named & {"shell", "allow_pickle"}, f"{path}:{node.lineno}"
