"""Small parts of listening to a child: waking the listener, splitting bytes into lines, writing them down."""

from __future__ import annotations

import contextlib
import io
import math
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from orchestrator.redactor import Stream

MAX_LINE = 64 * 1024 * 1024

_LULL = 0.03  # seconds
_LITTLE = 16 * 1024  # bytes
_MUCH_LATELY = 0.25  # seconds


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


class Lull:
    """Lets a child that said little say more before it is read again: to wake for each line is most of the work.

    Not so one that said much lately: it would fill its pipe and stand still. A wake ends the wait.
    """

    def __init__(self, waker: Waker) -> None:
        self._poll = select.poll()
        self._poll.register(waker.reader, select.POLLIN)
        self._much_at = -math.inf

    def after(self, came: int) -> None:
        """Wait, at most 30 ms, after `came` bytes."""
        now = time.monotonic()
        if came > _LITTLE:
            self._much_at = now
        elif came and now - self._much_at > _MUCH_LATELY:
            self._poll.poll(_LULL * 1000)


class Lines:
    """Splits bytes on newlines only: `splitlines` also breaks at U+2028, which agents write raw inside JSON."""

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give
        self._held = io.BytesIO()  # gives what it holds without a copy, which counts for a line of many megabytes
        self._too_long = False

    def feed(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._hold(first)
        if others:
            last = others.pop()
            self._emit()
            for piece in others:
                if len(piece) <= MAX_LINE:
                    self._give(piece)
            self._hold(last)

    def close(self) -> None:
        """Give what came after the last newline."""
        if self._held.tell():
            self._emit()

    def _hold(self, piece: bytes) -> None:
        self._too_long = self._too_long or self._held.tell() + len(piece) > MAX_LINE
        if self._too_long:
            self._held = io.BytesIO()
        else:
            self._held.write(piece)

    def _emit(self) -> None:
        line, whole = self._held.getvalue(), not self._too_long
        self._held, self._too_long = io.BytesIO(), False
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
