"""Endpoints that merge: at once, and in the background."""

from __future__ import annotations

from typing import Any

from orchestrator.twin import merging, queue
from orchestrator.twin.protocol import Call, Refusal, Reply, Routes, invalid, not_found
from orchestrator.twin.world import MergeRequest, Pull

routes = Routes()
R = "/repos/{owner}/{repo}"
ACTIONS = ("default", "direct_merge", "merge_queue")
MESSAGES = {
    "pending": "Merge request was accepted and will run in the background.",
    "enqueued": "Pull request is in the merge queue.",
    "merged": "Pull Request successfully merged",
}


def _order(call: Call, default: str) -> merging.Order:
    method = call.given("merge_method") or default
    if method not in merging.METHODS:
        raise invalid("PullRequest", "merge_method", "invalid")
    return merging.Order(method, call.given("sha"), call.given("commit_title"), call.given("commit_message"))


@routes.add("PUT", f"{R}/pulls/{{number:n}}/merge")
def merge(call: Call) -> Reply:
    """409 when `sha` is not the head any more; every other no is 405 and told by its text."""
    pull = call.pull
    call.need("write")
    try:
        sha = merging.merge(call.world, pull, call.viewer, _order(call, "merge"))
    except merging.NotMerged as refused:
        raise Refusal(refused.status, refused.message) from refused
    return Reply(200, {"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


@routes.add("PUT", f"{R}/pulls/{{number:n}}/merge-async")
def ask_for_merge(call: Call) -> Reply:
    """Only the state of the PR is looked at now; what the branch demands is, when the request runs."""
    pull = call.pull
    if not call.repo.offers_async:
        raise not_found()
    call.need("write")
    order = _order(call, "merge")
    action = call.given("merge_action") or "default"
    if action not in ACTIONS:
        raise invalid("PullRequest", "merge_action", "invalid")
    if pull.merged_at is not None:
        return Reply(200, _merged(pull, "Pull Request is already merged"))
    earlier = queue.pending(pull)
    if earlier is not None:
        return Reply(409, _result(earlier))
    waiter = queue.entry(pull)
    if waiter is not None and waiter.request is not None:
        return Reply(200, _result(waiter.request))
    if waiter is not None:
        return Reply(200, {"status": "enqueued", "details": {"message": MESSAGES["enqueued"]}})
    if pull.issue.state != "open" or pull.draft:
        why = "Pull Request is still a draft" if pull.draft else "Pull Request is closed"
        return Reply(400, {"status": "failed", "details": {"message": why}})
    method = call.given("merge_method") or "default"
    return Reply(202, _result(queue.ask(call.world, pull, call.viewer, order, method, action)))


@routes.add("GET", f"{R}/pulls/{{number:n}}/merge-async/{{uuid}}")
def get_merge_request(call: Call) -> Reply:
    """Kept for 24 hours after its last change."""
    for request in call.repo.merge_requests:
        kept = call.world.now() - request.updated_at <= queue.RETENTION
        if kept and request.uuid == call.args["uuid"] and request.pull is call.pull:
            return Reply(200, _result(request))
    raise not_found()


def _merged(pull: Pull, message: str) -> dict[str, Any]:
    return {"status": "merged", "details": {"message": message, "sha": pull.merge_sha}}


def _result(request: MergeRequest) -> dict[str, Any]:
    if request.status == "merged":
        return _merged(request.pull, MESSAGES["merged"])
    if request.status == "failed":
        return {"status": "failed", "details": {"message": request.message}}
    details = {
        "message": MESSAGES[request.status],
        "uuid": request.uuid,
        "merge_method": request.method,
        "merge_action": request.action,
        "expected_head_sha": request.sha,
    }
    return {"status": request.status, "details": details}
