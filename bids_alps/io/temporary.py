"""Temporary files: named by the process that writes them, so that those of killed processes can be removed."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_SECONDS = 600
_NAME = re.compile(r"\..+\.(?P<system>[a-zA-Z0-9]+-\d+)-(?P<pid>\d+)-(?P<start>\d+)\.[0-9a-f]+\.tmp")


def create_temporary(target: Path) -> tuple[int, Path]:
    """Create a temporary file next to `target`; return its descriptor, open for writing, and its path.

    It gets the permissions of any new file, by the umask or the default ACL of the folder.
    """
    while True:
        name = f".{target.name[:60]}.{_system()}-{os.getpid()}-{_start_of(os.getpid())}.{secrets.token_hex(4)}.tmp"
        path = target.with_name(name)
        with suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def remove_abandoned(folder: Path, stem: str = "") -> None:
    """Remove the temporary files of killed processes from a folder, with names that begin with `stem`.

    A process of this kernel and PID namespace is checked directly. One of another machine or container cannot be
    checked, even if its PID exists here: its file counts as abandoned if it has not changed for ten minutes. Files
    with names that this program does not write are kept.
    """
    for path in folder.glob(f".{stem}*.tmp"):
        with suppress(OSError):  # already finished or removed, or of another user
            if _is_abandoned(path):
                path.unlink()


def _is_abandoned(path: Path) -> bool:
    writer = _NAME.fullmatch(path.name)
    if writer is None:
        return False
    if writer["system"] != _system():
        return path.stat().st_mtime < time.time() - _ABANDONED_SECONDS
    pid = int(writer["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is running, by another user
        return False
    return _start_of(pid) not in ("0", writer["start"])  # the PID now belongs to another process


def _system() -> str:
    """Return a name of the running kernel and PID namespace, within which a PID is unique.

    Containers have their own PID namespace, and often the host's name; the initial namespace has the same number on
    every machine, so the boot ID is needed too.
    """
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        kernel, namespace = platform.node(), "0"
    return f"{re.sub('[^a-zA-Z0-9]', '', kernel)[:12] or 'here'}-{re.sub('[^0-9]', '', namespace)}"


def _start_of(pid: int) -> str:
    """Return the start time of a process, in clock ticks since boot; 0 if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
