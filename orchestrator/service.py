"""What a service manager is told: datagrams of the sd_notify protocol."""

from __future__ import annotations

import math
import os
import socket
import threading
import time

from orchestrator.clock import Stop, SystemClock


def notify(state: str) -> None:
    """Send `state` (`READY=1`, `WATCHDOG=1`, `STATUS=...`, `STOPPING=1`); nothing without a manager."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            # A full queue must not block the loop whose life this datagram proves.
            channel.setblocking(False)
            channel.sendto(state.encode(), address)
    except OSError:
        # The manager is gone or busy; it judges by what it does receive.
        return


def watchdog_seconds() -> float | None:
    """How often the manager wants `WATCHDOG=1` at least, None when it does not watch this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    word = os.environ.get("WATCHDOG_USEC", "")
    return int(word) / 1_000_000 if word.isdigit() and int(word) > 0 else None


class WatchedClock(SystemClock):
    """The machine's time for a daemon under a watchdog.

    While the thread that made the clock waits (for the next poll, for a rate limit to pass) the manager hears that it
    lives. Other threads' waits say nothing: they would hide a loop that hangs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = threading.get_ident()
        self._beat = (watchdog_seconds() or math.inf) / 3

    def wait(self, seconds: float, stop: Stop) -> bool:
        if threading.get_ident() != self._loop or self._beat == math.inf:
            return super().wait(seconds, stop)
        until = time.monotonic() + seconds
        while True:
            notify("WATCHDOG=1")
            left = until - time.monotonic()
            if super().wait(min(left, self._beat), stop):
                return True
            if left <= self._beat:
                return False
