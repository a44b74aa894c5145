"""While agents work: people stop them, slots are kept, merges do not wait, and a daemon that ends takes them along."""

from __future__ import annotations

import psutil
import pytest

from orchestrator import state
from orchestrator.record import Status
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, at_work, eventually, expect_pull, expect_work, outcomes, poll, ready, sticky


def slow(house: House, scenario: str = "hang") -> Record:
    """Start the daemon with an agent that never ends by itself."""
    record = Record(house.folder / "record")
    house.start(claude_command=stub("--record", str(record.file), scenario))
    return record


@pytest.mark.parametrize("withdraw", ["close", "unlabel"])
def test_a_wish_that_is_withdrawn_stops_the_run_within_one_poll_and_nothing_is_pushed(
    make_house: MakeHouse, withdraw: str
) -> None:
    house = make_house()
    issue = ready(house)
    record = slow(house)
    record.until(1)
    if withdraw == "close":
        house.alice.closes(issue)
    else:
        house.alice.unlabels(issue, "in-progress")
    poll(house)
    house.quiet()
    assert not psutil.pid_exists(record.runs[0]["pid"])
    assert house.job("implement", 1).status is Status.DONE
    assert house.repo.branches == ["main"]
    assert issue.labels == []
    assert outcomes(issue) == []
    assert "nothing was pushed" in sticky(issue)[0]
    assert not (house.folder / "worktrees/acme/app/issue-1").exists()
    expect_work(house, issue)


def test_an_issue_on_a_later_page_can_be_withdrawn_too(make_house: MakeHouse) -> None:
    house = make_house(max_concurrent=3)
    issues = [ready(house, f"Task {number}") for number in range(3)]
    record = slow(house)
    record.until(3)
    poll(house)
    house.clock.advance(1)
    oldest = min(issues, key=lambda issue: (issue.thing.updated_at, issue.number))
    house.alice.closes(oldest)
    poll(house)
    eventually(lambda: house.job("implement", oldest.number).status is Status.DONE, "the stop")
    house.stop()
    expect_work(house, *issues)


def test_work_done_so_far_is_kept_when_the_wish_is_withdrawn(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    record = slow(house)
    record.until(1)
    (house.folder / "worktrees/acme/app/issue-1/half.txt").write_text("half\n")
    house.alice.closes(issue)
    poll(house)
    house.quiet()
    assert house.daemon is not None
    place = house.daemon.watches["acme/app"].place
    assert place is not None
    mirror = place.mirror
    assert mirror.sha("refs/orchestrator/salvage/issue-1/1") is not None
    expect_work(house, issue)


def test_no_more_agents_work_than_there_are_slots_and_a_free_slot_is_used_at_once(make_house: MakeHouse) -> None:
    house = make_house(max_concurrent=2)
    issues = [ready(house, f"Task {number}") for number in range(3)]
    record = slow(house)
    record.until(2)
    poll(house, 3)
    assert len(record.runs) == 2
    assert [j.status for j in house.jobs if j.status is Status.RUNNING] == [Status.RUNNING] * 2
    waiting = next(issue for issue in issues if house.job("implement", issue.number).status is Status.WAITING)
    assert (waiting.labels, waiting.reactions) == (["in-progress"], ["eyes"])  # heard all the same
    stopped = next(issue for issue in issues if issue is not waiting)
    house.alice.closes(stopped)
    poll(house)
    record.until(3)
    house.stop()
    expect_work(house, *issues)


def test_a_merge_does_not_wait_for_agents(make_house: MakeHouse) -> None:
    house = make_house(max_concurrent=1, poll_interval=10, ci_settle=5, ci_timeout=86_400)
    house.alice.pushes(house.repo, "topic", {"topic.txt": "topic\n"})
    pull = house.alice.opens_pr(house.repo, "topic")
    issue = ready(house)
    record = slow(house)
    record.until(1)
    poll(house)
    house.clock.advance(1)
    house.bob.comments(pull, "/merge")
    eventually(lambda: poll(house) or pull.merged, "the merge")  # type: ignore[func-returns-value]
    assert house.job("implement", issue.number).status is Status.RUNNING
    eventually(lambda: house.job("merge", pull.number).status is Status.DONE, "the end of the merge")
    house.stop()
    house.expect(*at_work(house, issue.number), "POST issues/1/comments", "PUT pulls/1/merge")
    house.expect("POST issues/comments/*/reactions", "DELETE git/refs/heads/topic")


def test_a_daemon_that_is_stopped_ends_its_agents_and_goes_on_with_the_issue_later(make_house: MakeHouse) -> None:
    house = make_house()
    house.options["setup_commands"] = (f"echo made >> {house.folder / 'set-ups'}",)
    issue = ready(house)
    record = slow(house)
    record.until(1)
    (house.folder / "worktrees/acme/app/issue-1/half.txt").write_text("half\n")
    house.stop()
    assert not psutil.pid_exists(record.runs[0]["pid"])
    assert issue.labels == ["in-progress"]
    house.start(claude_command=stub("success"))
    house.quiet()
    [pull] = house.repo.pulls
    assert (house.folder / "set-ups").read_text() == "made\n" * 2, "the new worktree was set up too"
    assert house.repo.file(pull.head_sha, "half.txt") is None
    assert house.job("implement", 1).attempt == 1, "it was ended in order"
    assert len(sticky(issue)) == 1
    expect_pull(house, issue)


def test_a_clear_stops_the_run_and_forgets_the_item(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    issue = ready(house)
    record = slow(house)
    record.until(1)
    with monkeypatch.context() as here:
        here.setattr("os.kill", lambda pid, number: None)
        state.ask(house.folder / "state.json", "clear", "acme/app#1/implement")
    poll(house)
    eventually(lambda: house.jobs == [], "the end of the cleared item")
    assert not psutil.pid_exists(record.runs[0]["pid"])
    house.quiet()
    assert house.repo.branches == ["main"]
    assert issue.labels == []
    expect_work(house, issue)
