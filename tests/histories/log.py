"""No log lines while histories run; what the daemon calls a bug of its own is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from structlog.typing import EventDict, WrappedLogger

WORDS = ("job_broke", "job_lost", "job_parked", "poll_broke")


@dataclass
class Bugs:
    """What went wrong that nobody foresaw, each in its last words."""

    told: list[str] = field(default_factory=list)

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        said = str(event.get("exception"))
        # A definite no on the way to saying why is tried again, and no bug.
        if event["event"] in WORDS and "ApiError" not in said:
            self.told.append(f"{event['event']}: {said[-400:]}")
        raise structlog.DropEvent


@contextmanager
def listening() -> Iterator[Bugs]:
    """Every log line goes to the result."""
    bugs = Bugs()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, bugs],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )
    try:
        yield bugs
    finally:
        structlog.configure(**before)
