"""What CI shows of one commit: check runs, suites that are not finished, commit statuses. No verdict.

GitHub Actions makes a check suite for every run of a workflow, so one commit may carry several suites in
which the same job has run. A run replaces an older one of its name when both are one app's; of Actions,
when both are of one workflow and were started by the same kind of event: `push` tests another tree than
`pull_request` does, and two workflows may have a job of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.github.transport import ApiError, Transport
from orchestrator.model import CheckRun

ACTIONS = "github-actions"

Json = Mapping[str, Any]


def observed(transport: Transport, at: str, sha: str) -> list[CheckRun]:
    """Everything on exactly `sha`, every page; `at`: the repository's path. Retry when GitHub counts more."""
    commit = f"{at}/commits/{sha}"
    # Suites come first: all runs of one that is finished here are in the list that is read after it.
    suites = list(transport.pages(f"{commit}/check-suites"))
    runs = list(transport.pages(f"{commit}/check-runs", filter="latest"))
    workflows = _workflows(transport, at, sha, runs)
    return [
        *(_check_run(run, workflows) for run in runs),
        *_between_jobs(suites, runs),
        *_statuses(transport, f"{commit}/status"),
    ]


def _check_run(run: Json, workflows: Mapping[int, str]) -> CheckRun:
    app, suite = _app(run), _suite(run)
    return CheckRun(
        name=str(run["name"]),
        source=f"app/{app}" if app not in ("", ACTIONS) else workflows.get(suite, f"suite/{suite}"),
        conclusion=run["conclusion"] if run["status"] == "completed" else None,
        id=int(run["id"]),
    )


def _workflows(transport: Transport, at: str, sha: str, runs: Sequence[Json]) -> dict[int, str]:
    """Suite to what its runs replace, asked only when a name stands in two suites of Actions.

    What cannot be told is left out: such runs replace nothing, and all of them must pass.
    """
    jobs = {(str(run["name"]), _suite(run)) for run in runs if _app(run) == ACTIONS}
    if len(jobs) == len({name for name, _ in jobs}):
        return {}
    try:
        started = list(transport.pages(f"{at}/actions/runs", head_sha=sha))
    except ApiError:
        return {}
    return {
        int(one["check_suite_id"]): f"workflow/{one['workflow_id']}/{one['event']}"
        for one in started
        if "check_suite_id" in one
    }


def _between_jobs(suites: Sequence[Json], runs: Sequence[Json]) -> Iterator[CheckRun]:
    """A job that `needs` another has no run before that one ends: only the suite tells that more will come.

    A suite without any run says nothing: installed apps leave such behind, queued for ever. But a workflow that
    could not start, or waits for a person to allow it, ends its suite without a run.
    """
    begun = {_suite(run) for run in runs}
    under_way = {_suite(run) for run in runs if run["status"] != "completed"}
    for suite in suites:
        number = int(suite["id"])
        has_runs = suite["latest_check_runs_count"] > 0 or number in begun
        if suite["status"] != "completed" and has_runs and number not in under_way:
            yield CheckRun(_app(suite) or "check suite", f"suite/{number}", None, number)
        elif suite["status"] == "completed" and not has_runs and _app(suite) == ACTIONS:
            yield CheckRun(ACTIONS, f"suite/{number}", suite["conclusion"], number)


def _statuses(transport: Transport, path: str) -> Iterator[CheckRun]:
    for status in transport.pages(path):
        state = str(status["state"])
        yield CheckRun(
            name=str(status["context"]),
            source="status",
            conclusion=None if state == "pending" else state,
            id=int(status["id"]),
        )


def _app(data: Json) -> str:
    return str((data.get("app") or {}).get("slug", ""))


def _suite(run: Json) -> int:
    return int((run.get("check_suite") or {}).get("id", 0))
