"""Things that must fit together are read without a wait between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orchestrator.clock import Clock
from orchestrator.errors import Retry
from orchestrator.github.transport import Transport

FRESH = 60.0  # seconds that what is acted on may be old
TRIES = 3
LATER = 60.0  # seconds

T = TypeVar("T")


def at_once(transport: Transport, clock: Clock, read: Callable[[], T]) -> T:
    """What `read` gives when none of its requests had to wait and all of them took no longer than `FRESH`.

    Retry when it cannot be had so in a few tries: its beginning would be old when its end is known.
    """
    waited = 0
    for _ in range(TRIES):
        waits, began = transport.waits, clock.now()
        found = read()
        waited = transport.waits - waits
        if not waited and clock.now() - began <= FRESH:
            return found
    # GitHub's limits and outages are no fault of the item.
    raise Retry(f"GitHub let us wait {TRIES} times while things were read together", LATER if waited else None)
