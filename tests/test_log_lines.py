"""What the daemon logs about an item says which repository, which item and which run."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from orchestrator import log
from orchestrator.twin import Fault
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.merging import CALLED, SAID, green, no
from tests.story import expect_work, ready

BASE_READ = "GET git/ref/heads/main"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that is logged while the test runs."""
    root = logging.getLogger()
    before = list(root.handlers)
    stream = io.StringIO()
    log.configure("json", stream=stream)
    yield stream
    structlog.reset_defaults()
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def lines(written: io.StringIO, event: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in every if line["event"] == event]


def test_a_request_from_the_command_line(make_house: MakeHouse, written: io.StringIO) -> None:
    house = make_house(claude_command=stub("is-error"))
    issue = ready(house)
    house.quiet()
    house.stop()
    folder = house.folder / "state.json.requests"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps({"verb": "clear", "key": "acme/app#1/implement"}))
    house.start()
    house.until(lambda: house.jobs == [])
    [obeyed] = lines(written, "obeyed")
    assert (obeyed["repo"], obeyed["item"], obeyed["verb"]) == ("acme/app", "1/implement", "clear")
    expect_work(house, issue)


def test_an_answer_that_github_does_not_take(house: House, written: io.StringIO) -> None:
    pull = green(house)
    house.github.faults.add(
        Fault("POST issues/1/comments", no(403, "Unable to create comment because issue is locked."))
    )
    house.alice.comments(pull, "/merge soon")
    house.quiet()
    [refused] = lines(written, "reply_refused")
    assert (refused["repo"], refused["item"]) == ("acme/app", "1")
    house.expect(SAID)


def test_a_job_that_cannot_be_written_down(house: House, written: io.StringIO) -> None:
    file, aside = house.folder / "state.json", house.folder / "aside"

    def fills_up() -> None:
        file.rename(aside)
        file.mkdir()  # nothing can be put in its place

    pull = green(house)
    house.options["pre_merge_commands"] = ("true",)
    house.github.before(BASE_READ, fills_up, nth=2)
    house.alice.comments(pull, "/merge")
    house.until(file.is_dir)
    [lost] = lines(written, "job_lost")
    assert (lost["repo"], lost["item"], len(lost["run"])) == ("acme/app", "1/merge", 8)
    assert house.github.journal.count(CALLED) == 0
    file.rmdir()
    aside.rename(file)
    house.stop()
    house.expect(SAID, "POST issues/comments/*/reactions", "PATCH issues/comments/*")
