"""What the loop leaves at each poll for `status` to find, beside the state file and without a write to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from orchestrator.record import Quota

LENGTH = 400  # bytes, more than the longest


def leave(path: Path, quota: Quota | None) -> None:
    """Now, and what is left of GitHub's limit. A full disk must not end the loop."""
    text = "" if quota is None else json.dumps(dataclasses.asdict(quota))
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # In place and always of one length, so that nobody finds a part of it.
            os.pwrite(fd, text.ljust(LENGTH).encode(), 0)
        finally:
            os.close(fd)


def found(path: Path) -> tuple[float | None, Quota | None]:
    """When the last poll was, and what was left then; None where nothing tells."""
    try:
        at, text = path.stat().st_mtime, path.read_text("utf-8")
    except OSError:
        return None, None
    try:
        known = {field.name for field in dataclasses.fields(Quota)}
        return at, Quota(**{name: value for name, value in json.loads(text).items() if name in known})
    except (AttributeError, TypeError, ValueError):
        return at, None
