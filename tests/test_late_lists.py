"""Lists that are late or written otherwise than we are used to, and repositories that cannot be reached."""

from __future__ import annotations

from orchestrator.github.feed import FULL_READ
from orchestrator.record import Status
from orchestrator.twin import Fault, status
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.merging import LANDED, announced, opens
from tests.story import Record, expect_pull, ready

FOR_EVER = 1_000_000


def test_a_list_that_still_shows_an_old_head_does_not_end_the_attempt(make_house: MakeHouse) -> None:
    house = make_house(ci_timeout=3 * FULL_READ)
    pull = opens(house)
    house.start()
    house.quiet()
    before = house.github.journal.find("GET pulls")[0].answer
    house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.runs(pull, "build")
    house.clock.advance(5)
    house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    assert house.job("merge", pull.number).head == pull.head_sha != before[0]["head"]["sha"]
    house.github.faults.add(Fault("GET pulls", status(200, before), times=2))
    polled = house.github.journal.count("GET pulls")
    house.until(lambda: house.github.journal.count("GET pulls") == polled + 2)
    house.ci.passes(pull, "build")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_a_review_that_met_a_late_head_is_made_when_the_head_is_there_again(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    pull = opens(house)
    first = pull.head_sha
    # Between the poll and its review the PR becomes a draft, and is made ready again later: the same head.
    house.github.before(f"GET pulls/{pull.number}", lambda: house.alice.drafts(pull))
    house.until(lambda: any(job.status is Status.DONE for job in house.jobs))
    house.quiet()
    assert pull.reviews == []
    house.alice.readies(pull)
    house.quiet()
    assert [review.commit_id for review in pull.reviews] == [first]
    house.expect("POST *", "PATCH issues/comments/*")


def test_names_may_be_written_in_any_case(make_house: MakeHouse) -> None:
    house = make_house(github_repo="ACME/App", ready_label="Ready", review_prs="label", review_label="Look")
    issue = ready(house)
    house.start()
    house.quiet()
    [pull] = house.repo.pulls
    house.alice.labels(pull, "LOOK")
    house.ci.passes(pull, "build")
    house.quiet()
    assert len(pull.reviews) == 1
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    assert not issue.open
    assert issue.labels == []
    house.expect("P*", "DELETE *")


def test_without_a_settling_time_no_checks_pass_at_the_second_look(make_house: MakeHouse) -> None:
    house = make_house(ci_settle=0)
    pull = opens(house)
    house.start()
    house.quiet()
    asked = house.clock.now()
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=600)
    assert house.clock.now() - asked < 100
    assert 2 <= house.github.journal.count("GET commits/*/check-runs") <= 6
    house.quiet()
    assert "no checks" in announced(house, pull)
    house.expect(*LANDED)


def test_a_repository_that_cannot_be_reached_takes_no_slot_of_the_others(make_house: MakeHouse) -> None:
    house = make_house(github_repo="acme/app,acme/other", max_concurrent=1)
    other = house.github.repo("acme/other", files={"README.md": "hello\n"})
    for person in (house.robot, house.alice):
        house.github.permission(person, other, "write")
    record = Record(house.folder / "record")
    there = house.alice.opens_issue(other, "First", labels=("ready",))
    house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    house.stop()
    house.github.faults.add(Fault("GET /repos/acme/other*", status(503), times=FOR_EVER))
    issue = ready(house)
    house.start(claude_command=stub("success"))
    house.until(lambda: bool(house.repo.pulls), most=1200)
    assert there.labels == ["in-progress"]
    house.github.faults.clear()
    house.until(lambda: bool(other.pulls), most=1200)
    house.quiet()
    expect_pull(house, issue)
    house.expect("P*", "DELETE *")


def test_a_repository_that_is_lost_later_takes_no_slot_either(make_house: MakeHouse) -> None:
    house = make_house(github_repo="acme/app,acme/other", max_concurrent=1)
    other = house.github.repo("acme/other", files={"README.md": "hello\n"})
    for person in (house.robot, house.alice):
        house.github.permission(person, other, "write")
    house.start(claude_command=stub("success"))
    house.quiet()
    there = house.alice.opens_issue(other, "First", labels=("ready",))
    house.github.after("GET /repos/acme/other/issues", lambda: lose(house), 1)
    house.until(lambda: bool(house.jobs))
    here = ready(house)
    house.until(lambda: bool(house.repo.pulls), most=1200)
    waited = house.clock.now() + 1800
    house.until(lambda: house.clock.now() >= waited)
    # It is not tried while its repository is gone, so it neither wears out nor speaks.
    assert house.daemon is not None
    assert house.daemon.state.jobs["acme/other#1/implement"].failures <= 1
    house.github.faults.clear()
    house.until(lambda: bool(other.pulls), most=1200)
    house.quiet()
    assert [issue.labels for issue in (there, here)] == [[], []]
    house.expect("P*", "DELETE *")


def lose(house: House) -> None:
    """Two requests later the other repository is gone."""
    house.github.faults.add(Fault("* /repos/acme/other/*", status(404), nth=3, times=FOR_EVER))
