"""Identity of the code: its version, and a digest of its files, which may differ within a version."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from bids_alps import __version__

CODE_URL = "https://github.com/bids-apps/alps"


@cache
def code_digest() -> str:
    """Return the first digits of the SHA-256 of the program's files; equal for a checkout, a wheel and the image."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    paths = (path for path in root.rglob("*.*") if path.is_file() and path.parent.name != "__pycache__")
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def code_name() -> str:
    """Return version and digest, such as ``0.1.0 (1f2e3d4c5b6a)``."""
    return f"{__version__} ({code_digest()})"


def code_url() -> str:
    """Return the URL of the code, of the commit that the image was built from if known."""
    revision = os.environ.get("BIDS_ALPS_REVISION")
    return f"{CODE_URL}/tree/{revision}" if revision else CODE_URL
