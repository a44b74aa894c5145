"""From a label to a pull request: who may ask, what is worked on, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.record import Status
from orchestrator.twin import Fault, apply_then, apply_then_reset, status
from orchestrator.twin.faults import Kind
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, expect_pull, expect_work, outcomes, ready, sticky


@pytest.mark.parametrize("permission", ["none", "read", "triage"])
def test_a_label_by_somebody_without_write_permission_starts_nothing_and_is_answered_once(
    house: House, permission: str
) -> None:
    house.github.permission(house.mallory, house.repo, permission)
    issue = house.mallory.opens_issue(house.repo, "Mine bitcoin", "For me.")
    house.mallory.labels(issue, "ready")
    house.quiet()
    house.github.permission(house.mallory, house.repo, "write")
    house.alice.comments(issue, "What is this? Only a new label counts.")
    house.quiet()
    assert len(house.said(issue)) == 1
    assert "@mallory" in house.said(issue)[0]
    assert "write permission" in house.said(issue)[0]
    assert issue.labels == ["ready"]
    assert issue.reactions == []
    assert not (house.folder / "worktrees/acme/app/mirror.git").exists()
    house.expect("POST issues/1/comments")


def test_a_label_by_a_bot_with_write_permission_starts_nothing(house: House) -> None:
    bot = house.github.user("labeller[bot]", house.repo, "write", kind="Bot")
    issue = house.alice.opens_issue(house.repo, "Update everything", "")
    bot.labels(issue, "ready")
    house.quiet()
    assert len(house.said(issue)) == 1
    assert "@labeller[bot]" in house.said(issue)[0]
    house.expect("POST issues/1/comments")


def test_a_label_that_nobody_is_known_to_have_put_on_starts_nothing(house: House) -> None:
    issue = ready(house)
    with issue.looking():
        issue.thing.events.clear()
    house.quiet()
    house.alice.comments(issue, "Well?")
    house.quiet()
    assert len(house.said(issue)) == 1
    assert "@" not in house.said(issue)[0]
    house.expect("POST issues/1/comments")


def test_a_label_put_on_again_by_somebody_who_may_starts_the_first_attempt(house: House) -> None:
    issue = house.mallory.opens_issue(house.repo, "Greet people", "")
    house.mallory.labels(issue, "ready")
    house.quiet()
    house.alice.unlabels(issue, "ready")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    assert house.job("implement", 1).attempt == 1
    expect_pull(house, issue)


def test_ready_is_replaced_by_in_progress_while_the_agent_works(house: House) -> None:
    seen: list[list[str]] = []
    issue = ready(house)
    house.github.before("PUSH *", lambda: seen.append(issue.labels))
    house.github.before("POST */git-receive-pack", lambda: seen.append(issue.labels))
    house.github.before("POST pulls", lambda: seen.append(issue.labels))
    house.quiet()
    assert seen
    assert all(labels == ["in-progress"] for labels in seen)
    assert issue.labels == []
    expect_pull(house, issue)


def test_work_starts_from_the_newest_commit_of_the_default_branch(house: House) -> None:
    first = ready(house)
    house.quiet()
    newest = house.alice.pushes(house.repo, "main", {"new.txt": "new\n"})
    second = ready(house)
    house.quiet()
    assert house.repo.git("merge-base", "main", f"feature/issue-{second.number}").strip() == newest
    assert house.repo.pulls[-1].base_ref == "main"
    expect_pull(house, first, second)


def test_work_starts_from_and_goes_back_to_the_branch_that_is_set(make_house: MakeHouse) -> None:
    house = make_house(base_branch="next")
    tip = house.alice.pushes(house.repo, "next", {"next.txt": "next\n"})
    issue = ready(house)
    house.quiet()
    assert house.repo.pulls[0].base_ref == "next"
    assert house.repo.git("merge-base", "next", "feature/issue-1").strip() == tip
    expect_pull(house, issue)


def test_set_up_commands_run_in_the_worktree_before_the_agent(make_house: MakeHouse) -> None:
    house = make_house(setup_commands=("test -f README.md && echo set-up > made.txt", "cat made.txt"))
    issue = ready(house)
    house.quiet()
    assert house.repo.file("feature/issue-1", "made.txt") is None, "what a set-up leaves is no part of the work"
    assert "cat made.txt" in (house.repo.pulls[0].body or "")
    expect_pull(house, issue)


def test_a_failing_set_up_command_is_told_with_the_end_of_its_output(make_house: MakeHouse) -> None:
    house = make_house(setup_commands=("true", "seq 1 20000; echo the cause; exit 7"))
    record = Record(house.folder / "record")
    issue = ready(house)
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    [said] = outcomes(issue)
    assert "Command 2 of 2" in said
    assert "exit status 7" in said
    assert "the cause" in said
    assert "19999" in said
    assert "\n100\n" not in said
    assert issue.labels == ["needs-human"]
    assert record.runs == []
    expect_work(house, issue)


@pytest.mark.parametrize(("scenario", "commits"), [("commits", 1), ("success", 1)])
def test_what_the_agent_committed_and_what_it_left_both_become_commits(
    make_house: MakeHouse, scenario: str, commits: int
) -> None:
    house = make_house(claude_command=stub(scenario))
    issue = ready(house)
    house.quiet()
    subjects = house.repo.log("feature/issue-1")
    assert len(subjects) == 1 + commits
    assert subjects[0] == ("The stub's own commit" if scenario == "commits" else "Greet people")
    assert house.repo.file("feature/issue-1", "agent.txt") == "made by the stub\n"
    expect_pull(house, issue)


def test_the_pull_request_says_what_was_done_how_it_was_checked_and_what_it_cost(house: House) -> None:
    issue = ready(house)
    house.quiet()
    body = house.repo.pulls[0].body or ""
    assert body.startswith("Closes #1")
    assert "The stub did its work." in body
    assert "2 turns" in body
    assert "min" in body
    assert "$0.25" in body
    assert [text for text in sticky(issue) if "#2" in text]
    expect_pull(house, issue)


def test_one_comment_tells_what_is_done_now_and_how_to_cancel_it(house: House) -> None:
    seen: list[list[str]] = []
    issue = ready(house)
    house.github.before("POST pulls", lambda: seen.append(sticky(issue)))
    house.quiet()
    [[now]] = seen
    assert "Working on this issue" in now
    assert "attempt 1" in now
    assert "`feature/issue-1`" in now
    assert "$" in now
    assert "To cancel" in now
    assert [house.repo.pulls[0].number] == [2]
    [last] = sticky(issue)
    assert last.startswith("Done: #2")
    assert "To cancel" not in last
    expect_pull(house, issue)


def test_a_failure_is_one_comment_with_cause_log_worktree_and_next_step(make_house: MakeHouse) -> None:
    house = make_house(claude_command=stub("is-error"))
    issue = ready(house)
    house.quiet()
    [said] = outcomes(issue)
    assert said.startswith("Claude Code failed: It fell over.")
    assert "label the issue `ready` again" in said
    assert "orchestrator logs 1" in said
    assert house.job("implement", 1).log in said
    worktree = house.folder / "worktrees/acme/app/issue-1"
    assert str(worktree) in said
    assert worktree.is_dir()
    assert issue.labels == ["needs-human"]
    assert len(sticky(issue)) == 1
    assert house.repo.pulls == []
    expect_work(house, issue)


def test_a_label_after_a_failure_starts_an_attempt_that_holds_nothing_of_the_failed_one(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("nested-repo failed.txt\nsuccess good.txt\n")
    house = make_house(claude_command=stub(f"@{script}"))
    issue = ready(house)
    house.quiet()
    assert issue.labels == ["needs-human"]
    house.alice.labels(issue, "ready")
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.git("diff", "--name-only", "main", pull.head_sha).split() == ["good.txt"]
    assert "attempt 2" in (pull.body or "")
    assert issue.labels == []
    assert len(outcomes(issue)) == 1
    assert len(sticky(issue)) == 1
    expect_pull(house, issue)


def test_another_attempt_goes_on_with_the_open_pull_request(house: House) -> None:
    issue = ready(house)
    house.quiet()
    house.alice.pushes(house.repo, "feature/issue-1", {"by-alice.txt": "mine\n"}, "Alice helps")
    house.alice.labels(issue, "ready")
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.log(pull.head_sha)[:3] == ["Greet people", "Alice helps", "Greet people"]
    assert house.repo.file(pull.head_sha, "by-alice.txt") == "mine\n"
    assert house.repo.file(pull.head_sha, "agent.txt") == "made by the stub\n" * 2
    expect_pull(house, issue)


@pytest.mark.parametrize(("request_", "nth"), [("QUERY IssueFacts", 3), ("POST */git-receive-pack", 1)])
def test_a_commit_that_somebody_pushes_meanwhile_is_not_overwritten(house: House, request_: str, nth: int) -> None:
    issue = ready(house)
    house.quiet()
    house.github.before(
        request_,
        lambda: house.alice.pushes(house.repo, "feature/issue-1", {"by-alice.txt": "mine\n"}, "Alice helps"),
        nth,
    )
    house.alice.labels(issue, "ready")
    house.quiet()
    assert house.repo.log("feature/issue-1")[0] == "Alice helps"
    assert "Somebody else pushed" in outcomes(issue)[-1]
    assert issue.labels == ["needs-human"]
    expect_pull(house, issue)


def test_commits_of_others_on_a_branch_without_a_pull_request_are_not_overwritten(house: House) -> None:
    foreign = house.alice.pushes(house.repo, "feature/issue-1", {"by-alice.txt": "mine\n"}, "Alice was first")
    issue = ready(house)
    house.quiet()
    assert house.repo.sha("feature/issue-1") == foreign
    [said] = outcomes(issue)
    assert "`feature/issue-1`" in said
    assert issue.labels == ["needs-human"]
    expect_work(house, issue)


def test_after_a_closed_pull_request_the_next_attempt_starts_afresh(house: House) -> None:
    issue = ready(house)
    house.quiet()
    house.alice.closes(house.repo.pulls[0])
    house.alice.labels(issue, "ready")
    house.quiet()
    pull = house.repo.pulls[-1]
    assert len(house.repo.pulls) == 2
    assert pull.open
    assert house.repo.log(pull.head_sha) == ["Greet people", "First commit"]
    expect_pull(house, issue)


def test_the_prompt_holds_the_issue_and_the_comments_of_people_who_may_write_and_no_others(
    make_house: MakeHouse,
) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    bot = house.github.user("helper[bot]", house.repo, "write", kind="Bot")
    issue = house.alice.opens_issue(house.repo, "Greet people", "The body.")
    house.bob.comments(issue, "Bob wants it in French.")
    house.mallory.comments(issue, "Mallory wants the keys.")
    bot.comments(issue, "The bot has an opinion.")
    house.github.ghost(house.bob.comments(issue, "A ghost speaks."))
    house.clock.advance(1)
    house.alice.labels(issue, "ready")
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    [prompt] = record.prompts
    assert "Greet people" in prompt
    assert "The body." in prompt
    assert "Bob wants it in French." in prompt
    assert not [word for word in ("Mallory", "opinion", "ghost", "Working on this issue") if word in prompt]
    expect_pull(house, issue)


def test_the_agent_gets_no_github_token_and_no_git_variables(make_house: MakeHouse) -> None:
    house = make_house()
    record = Record(house.folder / "record")
    issue = ready(house)
    house.start(claude_command=stub("--record", str(record.file), "success"))
    house.quiet()
    [run] = record.runs
    assert house.token not in json.dumps(run)
    assert not [name for name in run["env"] if name.startswith(("GIT_", "GITHUB_", "GH_T", "GH_E"))]
    assert run["env"]["GH_CONFIG_DIR"] == "/dev/null"
    expect_pull(house, issue)


def test_an_issue_that_was_labelled_while_the_daemon_was_down_is_found(house: House) -> None:
    house.quiet()
    house.stop()
    issue = ready(house)
    house.clock.advance(3 * 86_400)
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    expect_pull(house, issue)


def test_every_ready_issue_is_found_however_many_pages_there_are(make_house: MakeHouse) -> None:
    house = make_house(max_concurrent=5)
    issues = [ready(house, f"Task {number}") for number in range(5)]
    house.quiet()
    assert len(house.repo.pulls) == 5
    expect_pull(house, *issues)


@pytest.mark.parametrize("trouble", [apply_then(500), apply_then_reset(), status(502)])
@pytest.mark.parametrize("late", [0, 4])
def test_a_pull_request_whose_answer_was_lost_is_there_once(house: House, trouble: Kind, late: int) -> None:
    issue = ready(house)
    house.github.lag("pulls", late)
    house.github.faults.add(Fault("POST pulls", trouble))
    house.quiet()
    [pull] = house.repo.pulls
    assert house.job("implement", 1).pr == pull.number
    assert outcomes(issue) == []
    expect_pull(house, issue)


def test_an_item_costs_at_most_fifteen_writes(house: House) -> None:
    issue = ready(house)
    house.quiet()
    writes = [e for e in house.github.journal.mutations if e.login == "robot"]
    assert len(writes) <= 15
    expect_pull(house, issue)


def test_a_deleted_sticky_comment_is_made_again_once(house: House) -> None:
    issue = ready(house)

    def delete() -> None:
        for comment in issue.comments:
            house.alice.deletes(comment)

    house.github.before("GET issues/1", delete, nth=2)
    house.github.before("POST pulls", delete)
    house.quiet()
    assert len(house.github.journal.find("POST issues/1/comments")) == 2
    assert house.job("implement", 1).status is Status.DONE
    expect_pull(house, issue)


def test_a_conversation_that_takes_no_comment_does_not_stop_the_work(house: House) -> None:
    issue = ready(house)
    house.github.faults.add(
        Fault("POST issues/1/comments", status(403, {"message": "Unable to create comment because issue is locked."}))
    )
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    assert house.said(issue) == []
    house.expect("POST issues/1/reactions", "POST issues/1/labels", "DELETE issues/1/labels/*")
    house.expect("POST issues/1/comments", "PUSH refs/heads/feature/issue-1", "POST pulls")
