"""Half-written files: under a name that says which process writes them, so that those of a dead one can be removed."""

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
    """Create a file beside `target`; return its descriptor, open for writing, and its path.

    The kernel gives it the permissions that the umask, or the folder's own rules, leave to any new file.
    """
    while True:
        name = f".{target.name[:60]}.{_system()}-{os.getpid()}-{_start_of(os.getpid())}.{secrets.token_hex(4)}.tmp"
        path = target.with_name(name)
        with suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def remove_abandoned(folder: Path, stem: str = "") -> None:
    """Remove the half-written files of a folder whose names begin with `stem`, left by processes that were killed.

    A process of this kernel and PID namespace is asked whether it lives. One of another machine or container cannot be
    asked, even where its PID is in use here: its file is abandoned once it has not changed for ten minutes.
    """
    for path in folder.glob(f".{stem}*.tmp"):
        with suppress(OSError):  # it was finished or removed meanwhile, or is another user's
            if _is_abandoned(path):
                path.unlink()


def _is_abandoned(path: Path) -> bool:
    writer = _NAME.fullmatch(path.name)
    if writer is None or writer["system"] != _system():
        return path.stat().st_mtime < time.time() - _ABANDONED_SECONDS
    pid = int(writer["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return _start_of(pid) not in ("0", writer["start"])  # another process by now has the number


def _system() -> str:
    """Return a name of the running kernel and of the PID namespace, without which a PID means nothing.

    Containers of one machine have namespaces of their own, and often the host's name; the first namespace has the
    same number on every machine.
    """
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        kernel, namespace = platform.node(), "0"
    return f"{re.sub('[^a-zA-Z0-9]', '', kernel)[:12] or 'here'}-{re.sub('[^0-9]', '', namespace)}"


def _start_of(pid: int) -> str:
    """Return when a process started, in clock ticks since the kernel did; 0 where that cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
