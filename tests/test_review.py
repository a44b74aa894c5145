"""Pull requests get one careful review for each head: which, when, and what becomes of a review that fails."""

from __future__ import annotations

import shlex

import psutil
import pytest

from orchestrator import state
from orchestrator.record import Status
from orchestrator.twin import Fault, PullHandle, status
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, eventually, expect_pull, outcomes, poll, ready, sticky


def opens(house: House, branch: str = "topic", **files: str | bytes) -> PullHandle:
    """A PR of alice's."""
    house.alice.pushes(house.repo, branch, files or {"topic.txt": "one\ntwo\nthree\n"})
    return house.alice.opens_pr(house.repo, branch, title="Change the topic")


def expect_review(house: House, *pulls: PullHandle) -> None:
    """These PRs were looked at, and reviews were posted."""
    for pull in pulls:
        expect_look(house, pull)
        house.expect(f"POST pulls/{pull.number}/reviews")


def expect_look(house: House, pull: PullHandle) -> None:
    """This PR was looked at."""
    house.expect(f"POST issues/{pull.number}/reactions", f"POST issues/{pull.number}/comments")
    house.expect("PATCH issues/comments/*")


def passes(house: House, seconds: float) -> None:
    """Let time pass, with the daemon at work."""
    end = house.clock.now() + seconds
    house.until(lambda: house.clock.now() >= end)


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    """A house whose daemon reviews every pull request."""
    return make_house(review_prs="all")


def test_a_new_pull_request_is_reviewed_once_at_its_head(house: House) -> None:
    pull = opens(house)
    house.quiet()
    house.clock.advance(86_400)
    house.quiet()
    [review] = pull.reviews
    assert (review.author, review.event, review.commit_id) == ("robot", "COMMENT", pull.head_sha)
    assert [(c.path, c.line) for c in review.comments] == [("topic.txt", 1)]
    assert "The stub wonders." in review.comments[0].body
    assert "The stub read it." in review.body
    assert "$0.25" in review.body
    assert "eyes" in pull.reactions
    assert len(house.said(pull)) == 1
    assert not list((house.folder / "worktrees/acme/app").glob("pr-review-*"))
    expect_review(house, pull)


def test_each_new_head_is_reviewed_once(house: House) -> None:
    pull = opens(house)
    house.quiet()
    house.alice.pushes(house.repo, "topic", {"topic.txt": "four\n"})
    house.quiet()
    assert [r.commit_id for r in pull.reviews][1:] == [pull.head_sha]
    assert len(pull.reviews) == 2
    assert len(house.said(pull)) == 1
    expect_review(house, pull)


def test_its_own_pull_request_is_reviewed_too(house: House) -> None:
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert pull.author == "robot"
    assert len(pull.reviews) == 1
    expect_pull(house, issue)
    expect_review(house, pull)


def test_a_draft_is_reviewed_when_it_is_ready_and_not_before(house: House) -> None:
    house.alice.pushes(house.repo, "topic", {"topic.txt": "one\n"})
    pull = house.alice.opens_pr(house.repo, "topic", draft=True)
    house.quiet()
    assert pull.reviews == []
    house.alice.readies(pull)
    house.quiet()
    assert len(pull.reviews) == 1
    expect_review(house, pull)


@pytest.mark.parametrize("change", ["drafts", "closes"])
def test_a_pull_request_that_is_taken_back_at_the_last_moment_is_not_reviewed(house: House, change: str) -> None:
    pull = opens(house)
    house.github.before("GET pulls/1", lambda: getattr(house.alice, change)(pull))
    house.quiet()
    assert pull.reviews == []
    assert house.said(pull) == []


def test_a_head_is_left_to_rest_while_pushes_keep_coming(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=60, poll_interval=20)
    house.quiet()
    pull = opens(house)
    for number in range(5):
        passes(house, 40)
        assert pull.reviews == []
        house.alice.pushes(house.repo, "topic", {"topic.txt": f"{number}\n"})
    pushed = house.clock.now()
    house.until(lambda: bool(pull.reviews))
    assert 60 <= house.clock.now() - pushed <= 100
    house.quiet()
    assert [r.commit_id for r in pull.reviews] == [pull.head_sha]
    expect_review(house, pull)


def test_only_labelled_pull_requests_are_reviewed_where_that_is_set(make_house: MakeHouse) -> None:
    house = make_house(review_prs="label", review_label="look")
    pull, other = opens(house), opens(house, "other")
    house.alice.labels(pull, "look")
    house.quiet()
    assert (len(pull.reviews), len(other.reviews)) == (1, 0)
    house.alice.labels(other, "look")
    house.quiet()
    assert len(other.reviews) == 1
    expect_review(house, pull, other)


def test_nothing_is_reviewed_where_that_is_off(make_house: MakeHouse) -> None:
    house = make_house(review_prs="off")
    pull = opens(house)
    house.quiet()
    assert pull.reviews == []


def test_a_pull_request_from_a_fork_is_reviewed_as_it_is(house: House) -> None:
    record = Record(house.folder / "record")
    pull = house.mallory.opens_fork_pr(house.repo, {"README.md": "theirs\n"}, head="main")
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    [review] = pull.reviews
    assert review.commit_id == pull.head_sha
    assert "+theirs" in record.prompts[0]
    assert house.repo.branches == ["main"]
    expect_review(house, pull)


def test_a_pull_request_whose_fork_is_gone_is_reviewed(house: House) -> None:
    pull = house.mallory.opens_fork_pr(house.repo, {"README.md": "theirs\n"})
    house.github.deletes_fork(pull)
    house.quiet()
    assert len(pull.reviews) == 1
    expect_review(house, pull)


def test_the_reviewer_has_reading_tools_only_and_sees_the_head(house: House) -> None:
    record = Record(house.folder / "record")
    pull = opens(house)
    seen = house.folder / "seen"
    look = f'cat topic.txt > {seen}; exec "$0" "$@"'
    house.start(claude_command=f"sh -c {shlex.quote(look)} {stub('--record', str(record.file), 'success')}")
    house.quiet()
    assert seen.read_text() == "one\ntwo\nthree\n"
    [run] = record.runs
    tools = run["argv"][run["argv"].index("--tools") + 1]
    assert set(tools.split(",")) == {"Read", "Glob", "Grep"}
    assert run["cwd"].endswith("acme/app/pr-review-1")
    assert pull.head_sha in record.prompts[0]
    expect_review(house, pull)


def test_a_push_during_the_review_stops_it_and_the_new_head_is_reviewed(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=0)
    record = Record(house.folder / "record")
    pull = opens(house)
    old = pull.head_sha
    house.start(claude_command=stub("--record", str(record.file), "--review", "silence", "success"))
    record.until(1)
    house.clock.advance(1)
    house.alice.pushes(house.repo, "topic", {"topic.txt": "newer\n"})
    poll(house)
    eventually(lambda: house.job("review", 1).status is Status.DONE, "the stop")
    assert not psutil.pid_exists(record.runs[0]["pid"])
    house.stop()
    house.start(claude_command=stub("success"))
    house.quiet()
    assert [r.commit_id for r in pull.reviews] == [pull.head_sha]
    assert old != pull.head_sha
    assert outcomes(pull) == []
    expect_review(house, pull)


def test_no_run_begins_for_a_head_that_moved_just_before(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=0)
    record = Record(house.folder / "record")
    house.options["claude_command"] = stub("--record", str(record.file), "success")
    pull = opens(house)
    # 1: heard, 2: prepared, 3: before the run
    house.github.before("GET pulls/1", lambda: house.alice.pushes(house.repo, "topic", {"README.md": "more\n"}), nth=3)
    house.quiet()
    assert len(record.runs) == 1
    assert [r.commit_id for r in pull.reviews] == [pull.head_sha]
    expect_review(house, pull)


def test_a_push_right_before_the_review_is_posted_is_not_reviewed_as_what_it_is_not(house: House) -> None:
    pull = opens(house)
    first = pull.head_sha
    house.github.before(
        "POST pulls/1/reviews", lambda: house.alice.pushes(house.repo, "topic", {"README.md": "more\n"})
    )
    house.quiet()
    assert [r.commit_id for r in pull.reviews] == [first, pull.head_sha]
    expect_review(house, pull)


def test_remarks_outside_of_the_diff_stand_in_the_body(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", claude_command=stub("--review", "review-lines", "success"))
    pull = opens(house)
    house.quiet()
    [review] = pull.reviews
    assert review.comments == ()
    assert "There is no such line." in review.body
    assert "There is no such file." in review.body
    assert "`README.md` line 99999" in review.body
    assert review.event == "COMMENT"
    assert house.github.journal.count("POST pulls/1/reviews") == 1
    expect_review(house, pull)


def test_a_review_that_github_refuses_for_its_lines_is_posted_without_them(house: House) -> None:
    pull = opens(house)
    refusal = {
        "message": "Unprocessable Entity",
        "errors": ["Line could not be resolved"],
        "documentation_url": "https://docs.github.com/rest",
    }
    house.github.faults.add(Fault("POST pulls/1/reviews", status(422, refusal)))
    house.quiet()
    [review] = pull.reviews
    assert review.comments == ()
    assert "The stub wonders." in review.body
    expect_review(house, pull)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("review-prose", "without an answer in the form"),
        ("review-shape", "not in the form"),
        ("is-error", "It fell over."),
        ("exit-1", "out of order"),
        ("max-turns", "MAX_TURNS"),
        ("no-result", "no result"),
    ],
)
def test_an_agent_that_fails_or_talks_nonsense_is_a_comment_and_never_a_review(
    make_house: MakeHouse, scenario: str, said: str
) -> None:
    house = make_house(review_prs="all", claude_command=stub("--review", scenario, "success"))
    pull = opens(house)
    house.quiet()
    house.clock.advance(86_400)
    house.quiet()
    assert pull.reviews == []
    [text] = outcomes(pull)
    assert said in text
    assert "orchestrator retry 1" in text
    assert "orchestrator logs 1" in text
    assert house.job("review", 1).status is Status.PARKED
    expect_look(house, pull)


def test_a_failed_review_needs_nobody_any_more_once_the_pull_request_is_closed(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", claude_command=stub("--review", "is-error", "success"))
    pull = opens(house)
    house.until(lambda: any(j.status is Status.PARKED for j in house.jobs))
    house.alice.closes(pull)
    house.until(lambda: house.job("review", 1).status is Status.DONE)
    expect_look(house, pull)


def test_a_failed_review_is_made_when_somebody_asks_for_it_again(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house(review_prs="all", claude_command=stub("--review", "is-error", "success"))
    pull = opens(house)
    house.quiet()
    house.stop()
    house.start(claude_command=stub("success"))
    house.quiet()
    assert pull.reviews == []
    woken: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: woken.append(pid))
    state.ask(house.folder / "state.json", "retry", "acme/app#1/review")
    assert len(woken) == 1
    house.quiet()
    [review] = pull.reviews
    assert review.commit_id == pull.head_sha
    assert len(outcomes(pull)) == 1
    assert len(sticky(pull)) == 1
    expect_review(house, pull)


def test_binary_huge_and_renamed_files_are_reviewed(house: House) -> None:
    house.alice.pushes(house.repo, "main", {"old name.txt": "".join(f"line {n}\n" for n in range(50))})
    record = Record(house.folder / "record")
    house.alice.pushes(
        house.repo,
        "topic",
        {
            "picture.png": b"\x89PNG\r\n\x1a\n\x00\x01\x02" * 100,
            "zzz huge.txt": "x" * 79 + "\n" + "".join(f"{n:0>79}\n" for n in range(30_000)),
            "old name.txt": None,
            "new näme.txt": "".join(f"line {n}\n" for n in range(50)) + "and one more\n",
        },
    )
    pull = house.alice.opens_pr(house.repo, "topic")
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    [review] = pull.reviews
    assert review.commit_id == pull.head_sha
    assert len(record.prompts[0]) < 200_000
    assert "rename from old name.txt" in record.prompts[0]
    assert "Binary files /dev/null and b/picture.png differ" in record.prompts[0]
    assert "more characters are not shown" in record.prompts[0]
    expect_review(house, pull)


def test_github_may_show_the_head_to_git_later_than_to_the_api(house: House) -> None:
    pull = opens(house)
    house.quiet()
    house.github.lag("refs", 2)
    house.alice.pushes(house.repo, "topic", {"topic.txt": "late\n"})
    house.quiet()
    assert [r.commit_id for r in pull.reviews][-1] == pull.head_sha
    expect_review(house, pull)
