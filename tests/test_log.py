"""Log lines cannot be forged, carry no secret and never stop the work."""

from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from orchestrator import log
from orchestrator.redactor import OURS

TOKEN = "ghp_canary0123456789"


@pytest.fixture(autouse=True)
def _unconfigured_afterwards() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    OURS.know((), {})
    structlog.reset_defaults()
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_what_was_bound() -> None:
    stream = io.StringIO()
    log.configure("json", stream=stream)
    log.get(repo="octo/demo", item=42).bind(run="r1").info("agent started", turns=3)
    (line,) = lines(stream)
    assert (line["repo"], line["item"], line["run"]) == ("octo/demo", 42, "r1")
    assert (line["event"], line["level"], line["turns"]) == ("agent started", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_a_logger_made_before_the_configuration_follows_it() -> None:
    early = log.get(item=1)
    stream = io.StringIO()
    log.configure("json", stream=stream)
    early.info("hello")
    assert lines(stream)[0]["item"] == 1


def test_off_a_terminal_auto_is_json_and_on_one_it_is_readable() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal = io.StringIO(), Terminal()
    log.configure("auto", stream=pipe)
    log.get(item=42).info("polled")
    assert lines(pipe)[0]["event"] == "polled"
    log.configure("auto", stream=terminal)
    log.get(item=42).info("polled")
    assert "polled" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_only_verbose_shows_details() -> None:
    for verbose, count in ((False, 1), (True, 2)):
        stream = io.StringIO()
        log.configure("json", verbose, stream=stream)
        log.get().debug("detail")
        log.get().info("fact")
        assert len(lines(stream)) == count


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_form_of_a_secret_gets_out(format: Any) -> None:
    stream = io.StringIO()
    secret = TOKEN + "/+"
    OURS.know([secret, "", "abc"], {})
    log.configure(format, stream=stream)
    logger = log.get(run=secret)
    logger.info(f"push to https://x:{secret}@host", headers={"a": [secret, secret.encode()]}, **{secret: 1})
    logger.info("git", header="eC1hY2Nlc3MtdG9rZW46Z2hwX2NhbmFyeTAxMjM0NTY3ODkvKw==", url="ghp_canary0123456789%2F%2B")
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("boom abc")
    logging.getLogger("urllib3").warning("retrying with %s", secret)
    said = stream.getvalue()
    assert "canary" not in said
    assert "Z2hwX2Nhb" not in said  # the token in base64
    assert said.count("[secret]") >= 8
    assert "retrying with [secret]" in said
    assert "boom abc" in said  # too short to be a secret


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_title_can_neither_forge_a_line_nor_drive_the_terminal(format: Any) -> None:
    stream = io.StringIO()
    log.configure(format, stream=stream)
    log.get().info("seen \x1b[2J\nforged", title="a\r\nb \x9b31m \u202e \u2028 c", nested={"k\n": ["\x07"]})
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in said.rstrip("\n"))
    assert "forged" in said


def test_a_traceback_stays_readable_on_the_console() -> None:
    stream = io.StringIO()
    log.configure("console", stream=stream)
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        log.get().exception("boom")
    assert "\nValueError: \\x1b[31mred\n" in stream.getvalue()


def test_a_sink_that_fails_does_not_stop_the_work() -> None:
    closed = io.StringIO()
    closed.close()
    log.configure("json", stream=closed)
    log.get().info("lost")

    class FullDisk(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    log.configure("json", stream=FullDisk())
    log.get().info("lost too")
