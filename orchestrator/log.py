"""Log lines on stderr: readable on a terminal, JSON otherwise.

Guaranteed: secrets leave as `[secret]` (`redactor.OURS` knows them), control characters leave escaped (a title
cannot forge a line or drive the terminal), and a sink that fails (closed, disk full) never stops the work: its line is
lost.
Left alone: a reader that holds the pipe open and does not read blocks the writer, as with every program.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from orchestrator.printable import printable
from orchestrator.redactor import OURS


def configure(
    format: Literal["auto", "console", "json"] = "auto",
    verbose: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the whole process; may be called again. `verbose` shows debug lines."""
    sink = stream or sys.stderr
    readable = format == "console" or (format == "auto" and sink.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
            structlog.processors.format_exc_info,
            _clean_event,
            _console(sink) if readable else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=lambda *_: _Sink(sink),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Library)]:
        root.removeHandler(handler)
    root.addHandler(_Library(logging.WARNING))


def get(**bound: object) -> FilteringBoundLogger:
    """A logger whose lines carry `bound`, usually repo, item and run."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def of_job(key: str) -> dict[str, str]:
    """What the lines about a job carry: the `repo` and the `item` of its key."""
    repo, _, item = key.partition("#")
    return {"repo": repo, "item": item}


def _console(sink: TextIO) -> Processor:
    colors = sink.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, pad_level=False, exception_formatter=structlog.dev.plain_traceback
    )


def _clean_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Redact and escape every value of an event."""
    return {_text(k): _clean(v, "\n\t" if k == "exception" else "") for k, v in event.items()}


def _clean(value: Any, keep: str = "") -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {_text(str(k)): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(v) for v in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return _text(str(value), keep)


def _text(text: str, keep: str = "") -> str:
    return printable(OURS.text(text), keep)


class _Sink:
    """Writes whole lines, one thread at a time."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        # OSError: the disk is full or the reader is gone; ValueError: the stream is closed.
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = msg


class _Library(logging.Handler):
    """What libraries log through the standard library takes the same way out."""

    def emit(self, record: logging.LogRecord) -> None:
        get(library=record.name).warning(record.getMessage())


def catch_all() -> None:
    """What nobody catches takes the same way out: a traceback quotes whatever it met."""
    sys.excepthook = lambda *error: get().critical("died", exc_info=error)
    threading.excepthook = lambda died: get().critical(
        "thread_died",
        thread=died.thread.name if died.thread else "",
        exc_info=(died.exc_type, died.exc_value, died.exc_traceback),
    )


def let_go() -> None:
    """Nobody reads the log any more: what could not be written must not become the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
