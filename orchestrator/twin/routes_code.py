"""Endpoints of accounts, the repository, permissions, refs, branches, activity, checks and statuses."""

from __future__ import annotations

from orchestrator.twin import checks, protection, pushes
from orchestrator.twin.protection import Protection, RuleSet
from orchestrator.twin.protocol import Call, Refusal, Reply, Routes, not_found

routes = Routes()
R = "/repos/{owner}/{repo}"
PERIODS = {"day": 1, "week": 7, "month": 30, "quarter": 91, "year": 366}


@routes.add("GET", "/user")
def get_user(call: Call) -> Reply:
    """Whose token this is."""
    return Reply(200, call.shape.private_user(call.viewer))


@routes.add("GET", R)
def get_repo(call: Call) -> Reply:
    """`permissions` are the viewer's own."""
    return Reply(200, call.shape.full_repository(call.repo, call.viewer))


@routes.add("GET", f"{R}/collaborators/{{login}}/permission")
def get_permission(call: Call) -> Reply:
    """403 without push access; 404 for a login that does not exist; `none` for a stranger."""
    if not call.world.may(call.repo, call.viewer, "write"):
        raise Refusal(403, "Must have push access to view collaborator permission.")
    user = call.world.users.get(call.args["login"].lower())
    if user is None:
        raise Refusal(404, f"{call.args['login']} is not a user")
    return Reply(200, call.shape.permission(call.repo, user))


@routes.add("GET", f"{R}/branches/{{branch:path}}")
def get_branch(call: Call) -> Reply:
    """Protection as far as a reader may see it: the required checks."""
    name = call.args["branch"]
    sha = call.repo.tip(name)
    if sha is None:
        raise Refusal(404, "Branch not found")
    return Reply(200, call.shape.branch(call.repo, name, sha))


@routes.add("GET", f"{R}/rules/branches/{{branch:path}}")
def get_rules(call: Call) -> Reply:
    """Rule sets; empty for a branch that none applies to, even for one that does not exist."""
    repo, branch = call.repo, call.args["branch"]
    own = repo.protections.get(branch, Protection())
    rules = call.shape.rules(repo, own) if own.by_rules else []
    rules += [rule for one in protection.rule_sets(repo, branch) for rule in call.shape.rule_set_rules(repo, one)]
    return call.pages(rules, lambda rule: rule)


@routes.add("GET", f"{R}/rulesets/{{number:n}}")
def get_rule_set(call: Call) -> Reply:
    """With the branches that it is about; a reader does not see who may bypass it."""
    repo, number = call.repo, int(call.args["number"])
    own = tuple(f"{pushes.BRANCHES}{name}" for name, one in repo.protections.items() if one.by_rules)
    named = [RuleSet(repo.id, (), own)] if own else []
    found = next((one for one in [*named, *repo.rule_sets] if one.id == number), None)
    if found is None:
        raise not_found()
    return Reply(200, call.shape.rule_set(repo, found))


@routes.add("GET", f"{R}/pages")
def get_pages(call: Call) -> Reply:
    """404 where no web site is published."""
    call.need("write")
    if call.repo.site_from is None:
        raise not_found()
    return Reply(200, call.shape.site(call.repo, call.repo.site_from))


def _need_commits(call: Call) -> None:
    if not call.repo.refs:
        raise Refusal(409, "Git Repository is empty.")


@routes.add("GET", f"{R}/git/ref/{{ref:path}}")
def get_ref(call: Call) -> Reply:
    """Exactly this ref; 409 in a repository without commits."""
    _need_commits(call)
    name = f"refs/{call.args['ref']}"
    sha = call.repo.refs.get(name)
    if sha is None:
        raise not_found()
    return Reply(200, call.shape.ref(call.repo, name, sha))


@routes.add("GET", f"{R}/git/matching-refs/{{ref:path}}")
def matching_refs(call: Call) -> Reply:
    """Every ref that starts so."""
    _need_commits(call)
    start = f"refs/{call.args['ref']}"
    return Reply(
        200,
        [call.shape.ref(call.repo, ref, sha) for ref, sha in sorted(call.repo.refs.items()) if ref.startswith(start)],
    )


@routes.add("DELETE", f"{R}/git/refs/{{ref:path}}")
def delete_ref(call: Call) -> Reply:
    """204; 422 says by its text whether the ref is gone already or must stay."""
    call.need("write")
    name = f"refs/{call.args['ref']}"
    branch = name.removeprefix(pushes.BRANCHES)
    if name not in call.repo.refs:
        raise Refusal(422, "Reference does not exist")
    if why_not := protection.may_delete(call.repo, branch):
        raise Refusal(422, why_not)
    call.repo.bare.delete_ref(name)
    pushes.moved(call.world, call.repo, name, None, call.viewer)
    return Reply(204)


@routes.add("GET", f"{R}/activity")
def list_activity(call: Call) -> Reply:
    """Newest first, with the server's own times; pages by cursor, not by number."""
    query = call.query
    ref = query.get("ref")
    if ref is not None and not ref.startswith("refs/"):
        ref = f"{pushes.BRANCHES}{ref}"
    days = PERIODS.get(query.get("time_period", ""), 36500)
    edge = call.world.now() - days * 86400
    found = [
        one
        for one in reversed(call.repo.activity)
        if ref in (None, one.ref)
        and one.timestamp >= edge
        and query.get("activity_type") in (None, one.type)
        and query.get("actor") in (None, one.actor.login if one.actor else None)
    ]
    if query.get("direction") == "asc":
        found.reverse()
    ids = [f"act{one.id}" for one in found]
    start, end = 0, len(found)
    if query.get("after") in ids:
        start = ids.index(query["after"]) + 1
    elif query.get("before") in ids:
        end = ids.index(query["before"])
        start = max(0, end - call.size())
    end = min(end, start + call.size())
    links = []
    if 0 < start < end:
        links.append(f'<{call.address(leaving="after", before=ids[start])}>; rel="prev"')
    if start < end < len(found):
        links.append(f'<{call.address(leaving="before", after=ids[end - 1])}>; rel="next"')
    shown = [call.shape.activity(one) for one in found[start:end]]
    return Reply(200, shown, {"Link": ", ".join(links)} if links else {})


def _commit(call: Call) -> str:
    ref = call.args["ref"]
    sha = call.repo.tip(ref) or call.repo.bare.resolve(ref)
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {ref}")
    return sha


@routes.add("GET", f"{R}/commits/{{ref:path}}/status")
def combined_status(call: Call) -> Reply:
    """`pending` also where there is no status at all: read `total_count`."""
    sha = _commit(call)
    latest = checks.latest_statuses(call.repo, sha)
    states = {status.state for status in latest}
    state = "pending"
    if states & {"failure", "error"}:
        state = "failure"
    elif states == {"success"}:
        state = "success"
    at = f"{call.shape.at(call.repo)}/commits/{sha}"
    return call.pages(
        latest,
        lambda status: call.shape.status(call.repo, status),
        lambda shown: {
            "state": state,
            "statuses": shown,
            "sha": sha,
            "total_count": len(latest),
            "repository": call.shape.repository(call.repo),
            "commit_url": at,
            "url": f"{at}/status",
        },
    )


@routes.add("GET", f"{R}/commits/{{ref:path}}/check-runs")
def list_check_runs(call: Call) -> Reply:
    """`filter=latest` (the default) hides the runs that were run again."""
    sha = _commit(call)
    runs = checks.latest_runs(call.repo, sha)
    if call.query.get("filter") == "all":
        runs = [run for run in call.repo.check_runs if run.suite.sha == sha]
    name = call.query.get("check_name")
    runs = [run for run in runs if name in (None, run.name)]
    return call.pages(
        runs,
        lambda run: call.shape.check_run(call.repo, run),
        lambda shown: {"total_count": len(runs), "check_runs": shown},
    )


@routes.add("GET", f"{R}/commits/{{ref:path}}/check-suites")
def list_suites(call: Call) -> Reply:
    """One suite per app and commit; of GitHub Actions one for every run of a workflow."""
    sha = _commit(call)
    suites = [suite for suite in call.repo.suites if suite.sha == sha]
    return call.pages(
        suites,
        lambda suite: call.shape.suite(call.repo, suite),
        lambda shown: {"total_count": len(suites), "check_suites": shown},
    )


@routes.add("GET", f"{R}/actions/runs")
def list_workflow_runs(call: Call) -> Reply:
    """Newest first; of the filters only `head_sha`."""
    wanted = call.query.get("head_sha")
    suites = [s for s in call.repo.suites if s.app.slug == checks.ACTIONS and wanted in (None, s.sha)]
    return call.pages(
        suites[::-1],
        lambda suite: call.shape.workflow_run(call.repo, suite),
        lambda shown: {"total_count": len(suites), "workflow_runs": shown},
    )
