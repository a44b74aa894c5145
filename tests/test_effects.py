"""Changes on GitHub: announced before, recorded after, looked for when the answer says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.clock import Stop
from orchestrator.errors import Retry, Stopped
from orchestrator.github.api import Api
from orchestrator.github.effects import Effects
from orchestrator.github.transport import ApiError, Transport, Unknown
from orchestrator.marks import Marks
from orchestrator.record import Job, Kind
from orchestrator.twin import Fault, apply_then, apply_then_reset, reset, status
from tests.house import House


class Bench:
    """The effects of one job on issue 1, without a daemon; `kept`: every record; `written`: those on the disk."""

    def __init__(self, house: House, issue: int) -> None:
        self.halt = Stop()
        self.transport = Transport(house.github.url, house.token, house.clock, self.halt)
        self.api = Api(self.transport, "acme/app")
        self.kept = [Job("acme/app", Kind.IMPLEMENT, issue, "7")]
        self.written: list[Job] = []
        self.marks = Marks(house.token, house.robot.id)
        self.effects = self.new(house)

    def new(self, house: House) -> Effects:
        return Effects(self.api, self.marks, lambda: self.job, self._keep, self.kept.append, house.clock)

    def _keep(self, job: Job) -> None:
        self.kept.append(job)
        self.written.append(job)

    @property
    def job(self) -> Job:
        return self.kept[-1]

    def forget(self, **effects: Any) -> None:
        """The state file knows this and no more."""
        self.kept.append(replace(self.job, effects=effects, facts={}))


@pytest.fixture
def bench(house: House) -> Iterator[Bench]:
    house.alice.opens_issue(house.repo, "Greet people", "")
    made = Bench(house, 1)
    yield made
    made.transport.close()
    if house.github.journal.mutations:
        house.expect("P*")


def comments(house: House) -> list[str]:
    return [c.body for c in house.repo.issues[0].comments]


def test_an_effect_is_announced_before_it_is_done_and_recorded_after(bench: Bench) -> None:
    seen = []

    def do() -> int:
        seen.append(dict(bench.written[-1].effects))
        return 5

    assert bench.effects.once("key", do, lambda: None) == 5
    assert seen == [{"key": None}]
    assert bench.job.effects == {"key": 5}
    assert len(bench.written) == 1  # the outcome goes with the next write: lost, it would be looked for


@pytest.mark.parametrize("outcome", [5, 0, "", "sha", True, False])
def test_an_effect_with_an_outcome_is_neither_looked_for_nor_done_again(bench: Bench, outcome: Any) -> None:
    bench.forget(key=outcome)

    def never() -> Any:
        raise AssertionError

    assert bench.effects.once("key", never, never) == outcome


@pytest.mark.parametrize("known", [{}, {"key": None}])
def test_an_effect_without_a_known_outcome_is_looked_for_first(bench: Bench, known: dict[str, Any]) -> None:
    bench.forget(**known)
    done: list[int] = []
    assert bench.effects.once("key", lambda: done.append(1) or 1, lambda: 9) == 9  # type: ignore[func-returns-value]
    assert done == []
    assert bench.job.effects == {"key": 9}


def test_an_unknown_outcome_is_looked_for_after_ten_seconds_and_repeated_only_when_it_is_not_there(
    house: House, bench: Bench
) -> None:
    begun = house.clock.now()
    done: list[float] = []

    def do() -> int:
        done.append(house.clock.now() - begun)
        if len(done) < 3:
            raise Unknown("reset")
        return 5

    assert bench.effects.once("key", do, lambda: None) == 5
    assert done == [0, 10, 20]


def test_an_outcome_that_stays_unknown_is_tried_again_later(bench: Bench) -> None:
    done: list[int] = []

    def do() -> int:
        done.append(1)
        raise Unknown("reset")

    with pytest.raises(Retry, match="3 times"):
        bench.effects.once("key", do, lambda: None)
    assert len(done) == 3
    assert bench.job.effects == {"key": None}


def test_a_definite_no_is_passed_on_and_not_repeated(bench: Bench) -> None:
    def do() -> int:
        raise ApiError(403, "no")

    with pytest.raises(ApiError):
        bench.effects.once("key", do, lambda: None)


def test_a_stop_ends_the_wait_for_an_unknown_outcome(bench: Bench) -> None:
    def do() -> int:
        bench.halt.set("the daemon stops")
        raise Unknown("reset")

    with pytest.raises(Stopped, match="the daemon stops"):
        bench.effects.once("key", do, lambda: None)
    assert bench.job.effects == {"key": None}


@pytest.mark.parametrize("trouble", [apply_then(500), apply_then_reset(), status(502), reset()])
def test_a_comment_whose_answer_was_lost_is_there_once(house: House, bench: Bench, trouble: Any) -> None:
    house.github.faults.add(Fault("POST issues/1/comments", trouble))
    number = bench.effects.say("done", 1, "It is done.")
    assert comments(house) == [bench.marks.marked(bench.job, "done", "It is done.")]
    assert number == house.repo.issues[0].comments[0].id


def test_a_comment_that_the_record_forgot_is_found_by_mark_and_author(house: House, bench: Bench) -> None:
    number = bench.effects.say("done", 1, "It is done.")
    bench.forget()
    assert bench.effects.say("done", 1, "It is done.") == number
    assert len(comments(house)) == 1


@pytest.mark.parametrize("who", ["mallory", "alice"])
def test_a_mark_in_the_comment_of_somebody_else_is_not_ours(house: House, bench: Bench, who: str) -> None:
    mark = bench.marks.of(bench.job, "done")
    getattr(house, who).comments(house.repo.issues[0], f"{mark}\nIt is done.")
    bench.effects.say("done", 1, "It is done.")
    assert len(comments(house)) == 2


def test_a_mark_with_a_wrong_digest_is_not_ours_even_from_our_account(house: House, bench: Bench) -> None:
    mark = bench.marks.of(bench.job, "done")
    house.robot.comments(house.repo.issues[0], f"{mark[:-20]}{'0' * 16} -->\nIt is done.")
    bench.effects.say("done", 1, "It is done.")
    assert len(comments(house)) == 2


def test_a_mark_of_another_token_is_not_ours(house: House, bench: Bench) -> None:
    other = Marks("another-token", house.robot.id)
    house.robot.comments(house.repo.issues[0], other.marked(bench.job, "done", "It is done."))
    bench.effects.say("done", 1, "It is done.")
    assert len(comments(house)) == 2


def test_a_mark_that_our_account_quotes_is_not_the_comment(house: House, bench: Bench) -> None:
    other, mark = bench.marks.of(bench.job, "other"), bench.marks.of(bench.job, "done")
    house.robot.comments(house.repo.issues[0], f"{other}\nSee {mark}")
    bench.effects.say("done", 1, "It is done.")
    assert len(comments(house)) == 2


def test_a_comment_that_github_refuses_is_not_tried_again(house: House, bench: Bench) -> None:
    house.github.faults.add(Fault("POST issues/1/comments", status(403, {"message": "locked"})))
    assert bench.effects.say("done", 1, "It is done.") == 0
    assert bench.effects.say("done", 1, "It is done.") == 0
    assert house.github.journal.count("POST issues/1/comments") == 1


def test_a_comment_is_cut_to_what_github_takes(house: House, bench: Bench) -> None:
    assert bench.effects.say("done", 1, "🎉 long " * 20_000) > 0
    assert len(comments(house)[0]) <= 65_536


def test_the_shown_comment_is_one_and_written_only_when_it_differs(house: House, bench: Bench) -> None:
    for text in ("one", "one", "two", "two", "three"):
        bench.effects.show("sticky", 1, text)
    assert comments(house) == [bench.marks.marked(bench.job, "sticky", "three")]
    assert [e.method for e in house.github.journal.mutations] == ["POST", "PATCH", "PATCH"]


def test_the_shown_comment_is_found_again_by_an_attempt_that_knows_nothing(house: House, bench: Bench) -> None:
    bench.effects.show("sticky", 1, "one")
    bench.forget()
    bench.effects.show("sticky", 1, "two")
    assert comments(house) == [bench.marks.marked(bench.job, "sticky", "two")]


def test_a_deleted_comment_is_shown_again_once(house: House, bench: Bench) -> None:
    issue = house.repo.issues[0]
    for text, left in (("one", 1), ("two", 1), ("three", 0), ("four", 0)):
        bench.effects.show("sticky", 1, text)
        assert len(issue.comments) == left
        for comment in issue.comments:
            house.alice.deletes(comment)
    assert house.github.journal.count("POST issues/1/comments") == 2


@pytest.mark.parametrize("trouble", [status(502), reset(), apply_then(500)])
def test_an_edit_whose_answer_was_lost_is_made_again(house: House, bench: Bench, trouble: Any) -> None:
    bench.effects.show("sticky", 1, "one")
    house.github.faults.add(Fault("PATCH issues/comments/*", trouble, times=2))
    bench.effects.show("sticky", 1, "two")
    assert comments(house) == [bench.marks.marked(bench.job, "sticky", "two")]


@pytest.mark.parametrize(("trouble", "times"), [(status(403, {"message": "no"}), 1), (status(502), 3)])
def test_an_edit_that_fails_does_not_stop_the_work(house: House, bench: Bench, trouble: Any, times: int) -> None:
    bench.effects.show("sticky", 1, "one")
    house.github.faults.add(Fault("PATCH issues/comments/*", trouble, times=times))
    bench.effects.show("sticky", 1, "two")
    bench.effects.show("sticky", 1, "three")
    assert comments(house) == [bench.marks.marked(bench.job, "sticky", "three")]


def test_a_harmless_effect_is_repeated_until_it_is_known_to_be_done(house: House, bench: Bench) -> None:
    house.github.faults.add(Fault("POST issues/1/labels", apply_then(500)))
    bench.effects.again("busy", lambda: bench.api.add_label(1, "in-progress"))
    bench.effects.again("busy", lambda: bench.api.add_label(1, "in-progress"))
    assert house.github.journal.count("POST issues/1/labels") == 2
    assert bench.job.effects == {"busy": True}


def test_what_was_announced_and_never_heard_is_looked_for_ten_seconds_later(house: House, bench: Bench) -> None:
    announced = house.clock.now()
    bench.kept.append(replace(bench.job, effects={"key": None}, facts={"announced_at": announced}))
    looked: list[float] = []

    def find() -> int:
        looked.append(house.clock.now())
        return 7

    assert bench.effects.once("key", lambda: 8, find) == 7
    assert looked == [announced + 10]
