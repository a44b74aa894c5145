"""What CI says of commits: suites, runs and statuses, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.twin.world import Repository

GREEN = ("success", "skipped", "neutral")
ACTIONS = "github-actions"


@dataclass(eq=False)
class App:
    id: int
    slug: str


@dataclass(eq=False)
class Suite:
    """What one app does on a commit; GitHub Actions has one for every run of a workflow."""

    id: int
    app: App
    sha: str
    created_at: int
    updated_at: int
    workflow: str = "ci.yml"  # of Actions only, like `event`
    event: str = "pull_request"
    more_to_come: bool = False  # jobs that wait for others have no run yet
    ended: str | None = None  # how it ended without any run


@dataclass(eq=False)
class CheckRun:
    id: int
    suite: Suite
    name: str
    started_at: int
    status: str = "queued"
    conclusion: str | None = None
    completed_at: int | None = None


@dataclass(eq=False)
class Status:
    id: int
    sha: str
    context: str
    state: str
    created_at: int


def latest_runs(repo: Repository, sha: str) -> list[CheckRun]:
    """The newest run of every name and suite on a commit: a newer suite hides nothing of an older one."""
    newest: dict[tuple[str, int], CheckRun] = {}
    for run in repo.check_runs:
        if run.suite.sha == sha:
            newest[run.name, run.suite.id] = run
    return sorted(newest.values(), key=lambda run: run.id)


def latest_statuses(repo: Repository, sha: str) -> list[Status]:
    """The newest status of every context on a commit."""
    newest: dict[str, Status] = {}
    for status in repo.statuses:
        if status.sha == sha:
            newest[status.context] = status
    return sorted(newest.values(), key=lambda status: status.id)


def states(repo: Repository, sha: str) -> dict[str, str]:
    """Each name on a commit as `failing`, `pending` or `passing`: the worst of what its runs and its status say."""
    found: dict[str, list[str]] = {}
    for run in latest_runs(repo, sha):
        done = "passing" if run.conclusion in GREEN else "failing"
        found.setdefault(run.name, []).append(done if run.status == "completed" else "pending")
    words = {"success": "passing", "pending": "pending"}
    for status in latest_statuses(repo, sha):
        found.setdefault(status.context, []).append(words.get(status.state, "failing"))
    order = ("failing", "pending", "passing")
    return {name: min(said, key=order.index) for name, said in found.items()}
