"""What was done, one JSON object per line, append-only: kept when an item is forgotten, read by people and programs.

Guaranteed: a line that `append` wrote is whole on the disk when it returns, or it is no line at all for `read`; what
a crash left of one never spoils the next; it holds no secret. Nothing here ends the work that it tells of: a line that
cannot be written is lost, and the log says so once until lines can be written again.
Not guaranteed: an end. The file grows by one line per run and is the operator's to keep or to delete at any time.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.log import get
from orchestrator.redactor import OURS

_lock = threading.Lock()
_failing: set[Path] = set()


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line, durably; the folder is made where it is missing."""
    line = json.dumps(OURS.every(dict(entry))).encode() + b"\n"
    with _lock:  # a line that another thread is writing would look torn
        try:
            _add(path, line)
        except OSError as error:
            if path not in _failing:
                get().warning("history_lost", file=str(path), trouble=error.strerror)
            _failing.add(path)
        else:
            _failing.discard(path)


def _add(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        whole = b"\n" + line if torn else line
        if os.write(fd, whole) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a part, and no word, is how a full disk begins
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries, oldest first, without lines that are none; nothing where there is no file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry
