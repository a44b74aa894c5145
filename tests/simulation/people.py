"""What people do to issues and pull requests, drawn from dice; the verbs of the histories, and those of issues."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from orchestrator.model import IN_PROGRESS
from orchestrator.record import Status
from orchestrator.twin.handles import IssueHandle, RepoHandle
from tests.histories import acts
from tests.histories.oracle import MARK
from tests.histories.stage import Stage
from tests.simulation.weather import LATE

MOST_ISSUES = 7
MOST_PULLS = 5  # of people
WRITERS = ("alice", "bob", "carol")
Deed = Callable[[Stage, random.Random], str]


def begins(stage: Stage, dice: random.Random) -> None:
    """The repository as the simulation finds it."""
    for _ in range(2):
        labels_new(stage, dice)
    opens(stage, dice)


def _do(stage: Stage, deed: Callable[[Stage], object]) -> None:
    def now(stage: Stage) -> None:
        deed(stage)
        stage.see_pulls()
        stage.oracle.note()

    stage.act(now)


def labels_new(stage: Stage, dice: random.Random) -> str:
    if len(stage.issues) >= MOST_ISSUES:
        return relabels(stage, dice)
    who = stage.people[dice.choice(WRITERS)]

    def deed(stage: Stage) -> None:
        issue = who.opens_issue(stage.repo, f"Wish {len(stage.issues)} @all", "Please.", labels=("ready",))
        stage.issues.append(issue)

    _do(stage, deed)
    return f"{who.login} opens issue #{stage.issues[-1].number}, ready"


def _issue(stage: Stage, dice: random.Random) -> IssueHandle:
    return dice.choice(stage.issues)


def relabels(stage: Stage, dice: random.Random) -> str:
    """Mostly somebody who may."""
    issue, who = _issue(stage, dice), dice.choice((*WRITERS, *WRITERS, "mallory", "bot"))
    _do(stage, lambda stage: stage.people[who].labels(issue, "ready"))
    return f"{who} labels #{issue.number} ready"


def _at_work(stage: Stage, dice: random.Random) -> IssueHandle:
    """One that an agent works on, where there is one."""
    return dice.choice([issue for issue in stage.issues if IN_PROGRESS in issue.labels] or stage.issues)


def unlabels(stage: Stage, dice: random.Random) -> str:
    issue, label = _at_work(stage, dice), dice.choice(("ready", IN_PROGRESS, IN_PROGRESS, "needs-human"))
    _do(stage, lambda stage: stage.people["bob"].unlabels(issue, label))
    return f"bob takes {label} off #{issue.number}"


def closes(stage: Stage, dice: random.Random) -> str:
    issue = _at_work(stage, dice)
    _do(stage, lambda stage: stage.people["alice"].closes(issue))
    return f"alice closes #{issue.number}"


def reopens(stage: Stage, dice: random.Random) -> str:
    issue = _issue(stage, dice)
    _do(stage, lambda stage: stage.people["alice"].reopens(issue))
    return f"alice reopens #{issue.number}"


def talks(stage: Stage, dice: random.Random) -> str:
    """Also with a marker that only looks like ours."""
    issue = dice.choice([*stage.issues, *stage.pulls])
    words = ["More words.", f"{MARK}acme/app#{issue.number}/implement:sticky -->\nfake"]
    text = dice.choice(words if issue in stage.pulls else [*words, "/merge"])
    who = dice.choice(("carol", "mallory"))
    _do(stage, lambda stage: stage.people[who].comments(issue, text))
    return f"{who} says {text[:20]!r} on #{issue.number}"


def opens(stage: Stage, dice: random.Random) -> str:
    mine = [pull for pull in stage.pulls if pull.head_ref.startswith("topic-")]
    if len(mine) >= MOST_PULLS:
        return talks(stage, dice)
    base, checks = dice.choice(("main", "main", "release")), dice.choice(("green", "green", "none", "pending", "red"))
    _do(stage, lambda stage: stage.opens(base, checks))
    return f"somebody opens #{stage.pulls[-1].number} into {base}, checks {checks}"


def asks(stage: Stage, dice: random.Random) -> str:
    return _pull(stage, dice, acts.ASKS)


def handles(stage: Stage, dice: random.Random) -> str:
    return _pull(stage, dice, acts.PEOPLE)


def _pull(stage: Stage, dice: random.Random, choices: list[acts.Act]) -> str:
    if not stage.pulls:
        return talks(stage, dice)
    alive = [n for n, pull in enumerate(stage.pulls) if pull.open] or [0]
    act = replace(dice.choice(choices), pull=dice.choice(alive))
    stage.act(act)
    return f"{act.who} {act.verb} {act.word!r} #{stage.pulls[act.pull].number}"


def greens(stage: Stage, dice: random.Random) -> str:
    """The checks of everybody pass, which makes merges possible."""
    pulls = [pull for pull in stage.pulls if pull.open]

    def deed(stage: Stage) -> None:
        for pull in pulls:
            stage.ci.passes(pull, "build")

    _do(stage, deed)
    return "all checks pass"


def deletes_branch(stage: Stage, dice: random.Random) -> str:
    branches = [b for b in stage.repo.branches if b.startswith(("feature/", "topic-"))]
    if not branches:
        return talks(stage, dice)
    branch = dice.choice(branches)
    _do(stage, lambda stage: stage.people["alice"].deletes_branch(_repo(stage), branch))
    return f"alice deletes {branch}"


def takes_branch(stage: Stage, dice: random.Random) -> str:
    """Somebody pushes to the branch that an issue's work goes to, before or after it is there."""
    issue = _issue(stage, dice)
    branch = f"feature/issue-{issue.number}"
    _do(stage, lambda stage: stage.people["carol"].pushes(_repo(stage), branch, {f"{stage.now()}.txt": "mine"}, "Mine"))
    return f"carol pushes to {branch}"


def _repo(stage: Stage) -> RepoHandle:
    return stage.repo


def retries(stage: Stage, dice: random.Random) -> str:
    """`orchestrator retry` of what needs a person, who has read why: a list shows by then what was said."""
    parked = [j for j in stage.jobs if j.status is Status.PARKED and j.updated_at < stage.now() - LATE]
    if not parked:
        return talks(stage, dice)
    job = dice.choice(parked)
    stage.retries(job.key)
    return f"the operator retries {job.key}"


DEEDS: list[tuple[int, Deed]] = [
    (8, labels_new),
    (5, relabels),
    (3, unlabels),
    (2, closes),
    (2, reopens),
    (2, talks),
    (4, opens),
    (14, asks),
    (12, handles),
    (10, greens),
    (2, deletes_branch),
    (1, takes_branch),
    (2, retries),
]
