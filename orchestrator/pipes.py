"""Small parts of listening to a child: waking the listener, splitting bytes into lines, writing them down."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from orchestrator.redactor import Stream

MAX_LINE = 64 * 1024 * 1024


class Waker:
    """Wakes a selector from any thread; a late call finds it closed and cannot touch a reused descriptor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._writer.fileno() != -1:
                self._writer.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.reader.recv(4096)

    def __enter__(self) -> Waker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.reader.close()
            self._writer.close()


class Lines:
    """Splits bytes on newlines only: `splitlines` also breaks at U+2028, which agents write raw inside JSON."""

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give
        self._held = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._hold(first)
        for piece in others:
            self._emit()
            self._hold(piece)

    def close(self) -> None:
        """Give what came after the last newline."""
        if self._held:
            self._emit()

    def _hold(self, piece: bytes) -> None:
        self._too_long = self._too_long or len(self._held) + len(piece) > MAX_LINE
        if self._too_long:
            self._held.clear()
        else:
            self._held += piece

    def _emit(self) -> None:
        line, whole = bytes(self._held), not self._too_long
        self._held.clear()
        self._too_long = False
        if whole:
            self._give(line)


@dataclass(frozen=True)
class Sink:
    """Where a stream goes: to its file line by line and without secrets, to `lines` as it is."""

    file: IO[bytes]
    lines: Lines | None
    is_sign_of_life: bool
    shown: Stream = field(default_factory=Stream)

    def put(self, chunk: bytes) -> None:
        self.file.write(self.shown.feed(chunk))
        self.file.flush()  # somebody may be following the log
        if self.lines:
            self.lines.feed(chunk)

    def close(self) -> None:
        self.file.write(self.shown.close())
