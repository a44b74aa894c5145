"""kill -9 around every change that the main story makes on GitHub: the world ends as without it.

The story is taken in its three parts, each with a world of its own. The lists of changes below are compared with a run
without a crash, so that a new change cannot be forgotten here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.twin.journal import matches
from tests.child import Child
from tests.house import stub

PUSH = "POST *.git/git-receive-pack"


@dataclass(frozen=True)
class Part:
    """One part of the story: how it begins, what it changes, when it is over, and what the world is then."""

    settings: dict[str, Any]
    begins: Callable[[Child], Any]
    changes: tuple[str, ...]
    ends: Callable[[Child], bool]
    world: Callable[[Child], dict[str, Any]]
    runs: int
    after: dict[str, Any]


def _implement_world(child: Child) -> dict[str, Any]:
    issue, *_ = child.repo.issues
    return {
        "branches": child.repo.branches,
        "pulls": [(pull.title, child.repo.log(pull.head_ref), child.said(pull)) for pull in child.repo.pulls],
        "work": child.repo.file("feature/issue-1", "agent.txt"),
        "labels": issue.labels,
        "reactions": issue.reactions,
        "said": child.said(issue),
        "last word": issue.comments[-1].body.splitlines()[1].split(":")[0],
    }


def _review_world(child: Child) -> dict[str, Any]:
    pull = child.repo.pulls[0]
    return {
        "reviews": [(review.event, len(review.comments)) for review in pull.reviews],
        "reactions": pull.reactions,
        "said": child.said(pull),
        "last word": pull.comments[-1].body.splitlines()[1].split(" ")[0],
    }


def _merge_world(child: Child) -> dict[str, Any]:
    pull, issue = child.repo.pulls[0], child.repo.issues[0]
    command = next(comment for comment in pull.comments if comment.author == "bob")
    return {
        "merged": pull.merged,
        "main": len(child.repo.log("main")),
        "merges": len([e for e in child.github.journal.find("PUT pulls/2/merge") if e.status == 200]),
        "branches": child.repo.branches,
        "issue": issue.open,
        "reactions": command.reactions,
        "said": child.said(pull),
        "last word": pull.comments[-1].body.splitlines()[1].split(" ")[0],
    }


def _a_pull_of_an_issue(child: Child) -> None:
    child.repo.settings(autoclose=False)  # as where the base is not the default branch
    issue = child.alice.opens_issue(child.repo, "Add a topic")
    child.asked(child.pull(issue.number))


IMPLEMENT = Part(
    settings={},
    begins=lambda child: child.labelled(),
    changes=(
        "POST issues/1/comments",
        "POST issues/1/reactions",
        "POST issues/1/labels",
        "DELETE issues/1/labels/ready",
        "PATCH issues/comments/*",
        "PATCH issues/comments/*",
        "PATCH issues/comments/*",
        PUSH,
        "PATCH issues/comments/*",
        "POST pulls",
        "DELETE issues/1/labels/in-progress",
        "PATCH issues/comments/*",
    ),
    ends=lambda child: child.is_done("implement", 1),
    world=_implement_world,
    runs=1,
    after={
        "branches": ["feature/issue-1", "main"],
        "pulls": [("Greet people", ["Greet people", "First commit"], [])],
        "work": "made by the stub\n",
        "labels": [],
        "reactions": ["eyes"],
        "said": ["sticky"],
        "last word": "Done",
    },
)
REVIEW = Part(
    settings={"review_prs": "all"},
    begins=lambda child: child.pull(),
    changes=(
        "POST issues/1/reactions",
        "POST issues/1/comments",
        "PATCH issues/comments/*",
        "PATCH issues/comments/*",
        "POST pulls/1/reviews",
        "PATCH issues/comments/*",
    ),
    ends=lambda child: child.is_done("review", 1),
    world=_review_world,
    runs=1,
    after={"reviews": [("COMMENT", 1)], "reactions": ["eyes"], "said": ["sticky"], "last word": "Reviewed"},
)
MERGE = Part(
    settings={"pre_merge_commands": '["test -f topic.txt"]'},
    begins=_a_pull_of_an_issue,
    changes=(
        "POST issues/comments/*/reactions",
        "POST issues/2/comments",
        "PATCH issues/comments/*",
        "PUT pulls/2/merge",
        "PATCH issues/comments/*",
        "PATCH issues/1",
        "DELETE git/refs/heads/topic",
    ),
    ends=lambda child: child.is_done("merge", 2),
    world=_merge_world,
    runs=0,
    after={
        "merged": True,
        "main": 2,
        "merges": 1,
        "branches": ["main"],
        "issue": False,
        "reactions": ["eyes"],
        "said": ["status-*"],
        "last word": "**Merged**",
    },
)
PARTS = {"implement": IMPLEMENT, "review": REVIEW, "merge": MERGE}
CRASHES = [
    pytest.param(part, number, id=f"{name}-{number + 1}-{part.changes[number].replace('/', ' ')}")
    for name, part in PARTS.items()
    for number in range(len(part.changes))
]


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_without_a_crash_the_story_makes_exactly_these_changes(tmp_path: Path, part: Part) -> None:
    child = Child(tmp_path, **part.settings)
    try:
        part.begins(child)
        child.start()
        child.until(lambda: part.ends(child))
        child.stop()
        made = [e for e in child.github.journal.exchanges if e.changes or matches(PUSH, e.method, e.path)]
        made = [e for e in made if e.method != "PUSH"]  # told by the request that carried it
        assert len(made) == len(part.changes), [e.short for e in made]
        for exchange, pattern in zip(made, part.changes, strict=True):
            assert matches(pattern, exchange.method, exchange.path), (exchange.short, pattern)
        assert part.world(child) == part.after
        assert (child.worktrees(), child.runs) == ([], part.runs)
    finally:
        child.close()


@pytest.mark.parametrize(("part", "number"), CRASHES)
def test_a_crash_before_and_one_after_a_change_leave_the_same_world(tmp_path: Path, part: Part, number: int) -> None:
    child = Child(tmp_path, **part.settings)
    request = part.changes[number]
    nth = part.changes[: number + 1].count(request)
    try:
        part.begins(child)
        child.dies_before(request, nth)
        child.start_and_die()
        # Not before GitHub is through with what it dropped, which would count as the request that is waited for.
        child.until(lambda: [e for e in child.github.journal.find(request) if e.status == 0])
        child.dies_after(request)
        child.start_and_die()
        child.start()
        child.until(lambda: part.ends(child))
        child.stop()
        assert part.world(child) == part.after
        assert (child.worktrees(), child.runs) == ([], part.runs)
    finally:
        child.close()


def test_a_crash_while_the_agent_works_costs_one_run_and_no_work(tmp_path: Path) -> None:
    child = Child(tmp_path)
    (tmp_path / "script").write_text("ignores-sigterm\nsuccess\n")
    child.settings["claude_command"] = stub("--record", str(child.record), f"@{tmp_path / 'script'}")
    try:
        child.labelled()
        child.start()
        child.until(lambda: child.runs == 1 and child.job("implement", 1).get("log"))
        log = Path(child.job("implement", 1)["log"])
        child.until(lambda: b"deaf" in log.read_bytes())
        (tmp_path / "worktrees/acme/app/issue-1/half.txt").write_text("half a thought\n")
        child.kill()
        assert child.processes() != []
        child.start()
        child.until(lambda: child.is_done("implement", 1))
        child.stop()
        assert child.processes() == []
        assert child.runs == 2
        assert _implement_world(child) == IMPLEMENT.after
        mirror = str(tmp_path / "worktrees/acme/app/mirror.git")
        saved = ["git", "-C", mirror, "show", "refs/orchestrator/salvage/issue-1/1:half.txt"]
        assert subprocess.run(saved, capture_output=True, text=True).stdout == "half a thought\n"
    finally:
        child.close()
