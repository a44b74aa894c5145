"""Rows P about issues: labels that come and go, and two daemons that see the same wish."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orchestrator.daemon import Daemon
from orchestrator.instance import instance_id
from orchestrator.record import Status
from orchestrator.settings import Settings
from orchestrator.state import State
from orchestrator.twin import Fault, apply_then
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.merging import EDITED
from tests.story import Record, expect_pull, outcomes, ready, sticky


class Second:
    """A daemon on another machine: the same account, settings and repository, its own folder and memory."""

    def __init__(self, house: House) -> None:
        self.house = house
        folder = house.folder / "second"
        options: dict[str, Any] = {**house.options, "state_file": folder / "state.json", "worktree_base": folder}
        self.settings = Settings(**options)
        self.daemon: Daemon | None = None

    def start(self) -> None:
        state = State.open(self.settings.state_file)
        daemon = self.daemon = Daemon(self.settings, self.house.token, state, clock=self.house.clock)

        def loop() -> None:
            daemon.loop(once=False)

        self.house.clock.start(loop, "second")

    def stop(self) -> None:
        assert self.daemon is not None
        self.daemon.halt.set("the test ends")
        self.daemon.wake.set("the test ends")
        self.house.clock.settle()


def together(house: House, record: Record) -> tuple[Daemon, Second]:
    """Two daemons begin at the same moment; time stands still until both have looked once."""
    house.options["claude_command"] = stub("--record", str(record.file), "success")
    second = Second(house)
    first = house.start()
    second.start()
    return first, second


def meet(house: House, pattern: str) -> None:
    """The next two such requests wait for each other, so that both daemons do the same at the same time."""
    both = threading.Barrier(2)
    for nth in (1, 2):
        house.github.before(pattern, lambda: both.wait(20), nth)


def test_P16_a_label_that_is_taken_off_before_the_claim_starts_nothing(house: House) -> None:
    house.start()
    house.quiet()
    issue = ready(house)
    house.github.before("GET issues/1", lambda: house.alice.unlabels(issue, "ready"))
    house.until(lambda: bool(house.jobs))
    house.quiet()
    assert house.job("implement", issue.number).status is Status.DONE
    assert house.said(issue) == []
    assert issue.reactions == []
    assert house.repo.branches == ["main"]


@pytest.mark.parametrize("moment", ["POST issues/1/comments", "GET issues/1"])
def test_P17_of_two_daemons_that_see_one_wish_exactly_one_works(make_house: MakeHouse, moment: str) -> None:
    house = make_house()
    issue, record = ready(house), Record(house.folder / "record")
    meet(house, moment)
    _, second = together(house, record)
    house.quiet()
    second.stop()
    assert len(record.runs) == 1
    assert [pull.head_ref for pull in house.repo.pulls] == ["feature/issue-1"]
    assert [text.startswith("Done") for text in sticky(issue)].count(True) == 1
    # The other one says where it goes on, if it said anything before, and touches neither labels nor branch.
    assert len(sticky(issue)) == 1 or "Another daemon claimed this first" in sticky(issue)[1]
    house.github.journal.claim("POST issues/1/labels", times=1)
    house.github.journal.claim("DELETE issues/1/labels/ready", times=1)
    house.github.journal.claim("DELETE issues/1/labels/in-progress", times=1)
    house.github.journal.claim("PUSH refs/heads/feature/issue-1", times=1)
    assert issue.labels == []
    assert outcomes(issue) == []
    expect_pull(house, issue)


def test_P17_a_second_wish_is_claimed_anew_by_exactly_one(make_house: MakeHouse) -> None:
    house = make_house()
    issue, record = ready(house), Record(house.folder / "record")
    _, second = together(house, record)
    house.quiet()
    # Both look before either wrote; the one that edits its old comment is slower than the one that posts a new one.
    meet(house, "GET issues/1/comments")
    house.github.before(EDITED, lambda: threading.Event().wait(0.5))
    house.alice.labels(issue, "ready")
    house.until(lambda: len(record.runs) == 2)
    house.quiet()
    second.stop()
    assert len(record.runs) == 2
    assert len(house.repo.pulls) == 1
    assert sorted("Another daemon claimed this first" in text for text in sticky(issue)) == [False, True]
    house.github.journal.claim("POST issues/1/labels", times=2)
    expect_pull(house, issue)


def test_P17_a_daemon_that_lost_its_memory_knows_its_own_claim_and_not_the_others(make_house: MakeHouse) -> None:
    house = make_house()
    issue, record = ready(house), Record(house.folder / "record")
    house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    house.stop()
    for name in ("state.json", "state.json.prev"):
        (house.folder / name).write_text("damaged")
    second = Second(house)
    second.settings.state_file.parent.mkdir()
    second.settings.state_file.write_text("damaged")
    second.start()
    house.options["claude_command"] = stub("--record", str(record.file), "success")
    house.quiet()
    second.stop()
    assert len(record.runs) == 2
    assert len(sticky(issue)) == 1
    assert second.daemon is not None
    assert second.daemon.state.jobs["acme/app#1/implement"].status is Status.DONE
    assert [pull.head_ref for pull in house.repo.pulls] == ["feature/issue-1"]
    expect_pull(house, issue)


def test_P17_the_name_of_a_daemon_is_the_same_after_its_file_is_lost_and_differs_from_every_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = house.folder / "state.json"
    name = instance_id(path)
    assert name == instance_id(path)
    assert len(name) == 12
    assert int(name, 16) >= 0
    assert name != instance_id(house.folder / "other.json")
    monkeypatch.chdir(house.folder)
    assert instance_id(path.relative_to(house.folder)) == name
    monkeypatch.setattr("orchestrator.instance._MACHINE", ())
    monkeypatch.setattr("platform.node", lambda: "another-host")
    assert instance_id(path) != name


def test_P18_a_label_that_is_put_on_again_is_one_wish_for_each_time(make_house: MakeHouse) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    issue = ready(house)
    house.alice.unlabels(issue, "ready")
    house.alice.labels(issue, "ready")
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    assert len(record.runs) == 1
    for _ in range(2):
        house.quiet()
    assert len(record.runs) == 1
    house.alice.labels(issue, "ready")
    house.quiet()
    assert len(record.runs) == 2
    assert len(house.repo.pulls) == 1
    expect_pull(house, issue)


def test_P19_nothing_is_looked_for_in_the_search_index(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    issue = ready(house)
    house.github.faults.add(Fault("POST pulls", apply_then(502)))
    house.quiet()
    [pull] = house.repo.pulls
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    assert len(pull.reviews) == 1
    asked = {exchange.path for exchange in house.github.journal.exchanges}
    assert not [path for path in asked if "search" in path]
    house.expect("P*", "DELETE *")
    assert not issue.open
