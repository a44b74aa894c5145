"""The state file as a disk keeps it: two generations, written out when the daemon is gone, for the next start."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from orchestrator.state import State
from orchestrator.statefile import Content, load


class Loss(str, Enum):
    """What of the memory is gone when the daemon starts again."""

    NOTHING = "nothing"
    FILE = "file"  # the newest generation
    TORN = "torn"  # the newest one is cut in the middle
    ALL = "all"  # the newest one is cut, and there is none before it


class Disk:
    """In place of `statefile.replace`; `edge` is called before and after each write, where the daemon may die."""

    def __init__(self, path: Path, edge: Callable[[str], None]) -> None:
        self.path = path
        self.writes = 0
        self.full = False
        self._edge = edge
        self._generations: list[Content] = []

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Until the end of this, states write here."""
        with (
            patch("orchestrator.state.replace", self._replace),
            # The content is not changed after it was handed over: it is turned into bytes only when somebody reads it.
            patch.object(Content, "encoded", lambda content, texts=None: content),
        ):
            yield

    def _replace(self, path: Path, content: object) -> None:
        assert path == self.path, f"{path} is not the state file"
        self._edge("save")
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._generations = [*self._generations[-1:], cast("Content", content)]
        self.writes += 1
        self._edge("saved")

    def dies(self, state: State) -> None:
        """What a kill leaves: the lock is free, and nothing was tidied up."""
        hidden = cast("Any", state)
        if hidden._fd is not None:
            os.close(hidden._fd)
            hidden._fd = None

    def settle(self, loss: Loss) -> None:
        """Write the files as they are found at the next start."""
        before = self.path.with_name(f"{self.path.name}.prev")
        for file in self.path.parent.glob(f"{self.path.name}*"):
            if not file.is_dir() and not file.name.endswith(".lock"):
                file.unlink()
        for file, content in zip((self.path, before), reversed(self._generations), strict=False):
            _write(file, _ENCODED(content))
        leftover = self.path.with_name(f"{self.path.name}.tmp-1-1")
        leftover.write_bytes(b"{")
        if loss is Loss.FILE and before.exists():
            self.path.unlink()
        if loss in (Loss.TORN, Loss.ALL) and self.path.exists():
            _write(self.path, self.path.read_bytes()[:-9])
        if loss is Loss.ALL:
            before.unlink(missing_ok=True)

    def whole(self, secret: str) -> bool:
        """Whether what was written last reads as it was meant, and does not hold the secret."""
        if not self._generations:
            return True
        scratch = self.path.with_name("scratch.json")
        _write(scratch, _ENCODED(self._generations[-1]))
        found = load(scratch)
        meant = self._generations[-1]
        read = found is not None and (found.jobs, found.repos, found.rest) == (meant.jobs, meant.repos, meant.rest)
        return read and secret.encode() not in scratch.read_bytes()


_ENCODED = Content.encoded


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
