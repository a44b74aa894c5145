"""The daemon's log while a simulation runs: its last lines for the report, its bugs and leaks for the watcher."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from structlog.typing import EventDict, WrappedLogger

from tests.histories.log import Bugs

LAST = 60  # lines


@dataclass
class Ears(Bugs):
    """Hears every line, also those below the level that an operator sees."""

    secret: str = "\0"
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST))
    events: Counter[str] = field(default_factory=Counter)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        line = str({key: value for key, value in event.items() if key != "exception"})
        self.lines.append(line)
        self.events[str(event["event"])] += 1
        if self.secret in f"{line}{event.get('exception')}":
            self.told.append(f"the token is in a log line: {line}")
        if "exception" not in event:
            raise structlog.DropEvent
        return super().__call__(logger, name, event)

    def fresh(self, secret: str) -> None:
        """Forget what was heard; from now on this is the secret."""
        self.secret = secret
        self.told.clear()
        self.lines.clear()


@contextmanager
def listening() -> Iterator[Ears]:
    """Every log line goes to the result."""
    ears = Ears()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, ears],
        wrapper_class=structlog.make_filtering_bound_logger(10),
        cache_logger_on_first_use=False,
    )
    try:
        yield ears
    finally:
        structlog.configure(**before)
