"""A daemon that lost its memory goes on from what GitHub shows, and repeats nothing."""

from __future__ import annotations

from orchestrator.state import RepoMemory, State
from orchestrator.twin import Fault, apply_then_reset
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, expect_pull, expect_work, outcomes, ready, sticky


def forgets(house: House) -> None:
    """Stop the daemon and damage both generations of its memory."""
    house.stop()
    for name in ("state.json", "state.json.prev"):
        (house.folder / name).write_text("damaged")


def test_an_issue_under_way_goes_on(make_house: MakeHouse) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    issue = ready(house)
    house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    forgets(house)
    daemon = house.start(claude_command=stub("success"))
    assert "rebuilt from GitHub" in daemon.state.warning
    house.quiet()
    assert [pull.head_ref for pull in house.repo.pulls] == ["feature/issue-1"]
    assert issue.labels == []
    assert len(sticky(issue)) == 1
    assert issue.reactions == ["eyes"]
    expect_pull(house, issue)


def test_a_pull_request_that_was_just_opened_is_not_opened_again(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    house.github.faults.add(Fault("POST pulls", apply_then_reset()))
    house.until(lambda: bool(house.repo.pulls))
    forgets(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert house.job("implement", 1).pr == pull.number
    assert issue.labels == []
    assert len(sticky(issue)) == 1
    expect_pull(house, issue)


def test_a_head_that_has_its_review_is_not_reviewed_again(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    record = Record(house.folder / "record")
    house.alice.pushes(house.repo, "topic", {"topic.txt": "new\n"})
    pull = house.alice.opens_pr(house.repo, "topic")
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    forgets(house)
    house.quiet()
    assert len(pull.reviews) == 1
    assert len(record.runs) == 1
    assert len(house.said(pull)) == 1
    house.expect("POST issues/1/reactions", "POST issues/1/comments", "PATCH issues/comments/*")
    house.expect("POST pulls/1/reviews")


def test_an_issue_that_waits_for_a_person_is_left_to_wait(make_house: MakeHouse) -> None:
    house = make_house(claude_command=stub("is-error"))
    issue = ready(house)
    house.quiet()
    forgets(house)
    house.quiet()
    assert issue.labels == ["needs-human"]
    assert len(outcomes(issue)) == 1
    expect_work(house, issue)


def test_a_label_that_people_use_for_themselves_starts_nothing(make_house: MakeHouse) -> None:
    house = make_house()
    issue = house.alice.opens_issue(house.repo, "Alice works on it", "")
    house.alice.labels(issue, "in-progress")
    house.quiet()
    forgets(house)
    house.quiet()
    assert house.said(issue) == []


def test_an_issue_under_way_goes_on_after_a_start_that_failed(make_house: MakeHouse) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    issue = ready(house)
    house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    house.stop()
    for name in ("state.json", "state.json.prev"):
        (house.folder / name).unlink()
    (house.folder / "state.json").write_text("damaged")
    State.open(house.folder / "state.json").close()  # and then there was no network
    house.start(claude_command=stub("success"))
    house.quiet()
    assert [pull.head_ref for pull in house.repo.pulls] == ["feature/issue-1"]
    assert issue.labels == []
    assert len(sticky(issue)) == 1
    expect_pull(house, issue)


def test_a_crash_after_the_first_of_two_repositories_was_read_leaves_the_second_to_be_rebuilt(
    make_house: MakeHouse,
) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    other = house.github.repo("acme/other", files={"README.md": "hello\n"})
    for person in (house.alice, house.robot):
        house.github.permission(person, other, "write")
    issue = house.alice.opens_issue(other, "Greet people", "Please.")
    house.alice.labels(issue, "ready")
    both = "acme/app,acme/other"
    house.start(github_repo=both, claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    forgets(house)
    memory = State.open(house.folder / "state.json")
    memory.put_repo(RepoMemory(id=house.repo.id, name="acme/app", since=1.0, cursor=1.0))
    memory.close()
    house.start(claude_command=stub("success"))
    house.quiet()
    assert [pull.head_ref for pull in other.pulls] == ["feature/issue-1"]
    assert issue.labels == []
    expect_pull(house, issue)


def test_the_generation_before_leads_to_the_same_end(make_house: MakeHouse) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    issue = ready(house)
    house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    house.stop()
    (house.folder / "state.json").write_text("damaged")
    daemon = house.start(claude_command=stub("success"))
    assert "previous generation" in daemon.state.warning
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert len(sticky(issue)) == 1
    expect_pull(house, issue)
