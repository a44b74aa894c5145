"""Which daemon this is, when several work with one GitHub account."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from pathlib import Path

_MACHINE = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def instance_id(state_file: Path) -> str:
    """12 hex digits for this machine and state file: the same after a restart and after the file was lost."""
    source = f"{_machine()}\0{state_file.absolute()}"
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _machine() -> str:
    for file in _MACHINE:
        with contextlib.suppress(OSError):
            if found := file.read_text().strip():
                return found
    return platform.node()
