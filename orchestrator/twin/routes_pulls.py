"""Endpoints of pull requests: list, open, change, files, reviews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.twin import acts, diffs
from orchestrator.twin.protocol import Call, Refusal, Reply, Routes, invalid
from orchestrator.twin.routes_issues import MAX_BODY, visible
from orchestrator.twin.world import Pull, Repository

routes = Routes()
R = "/repos/{owner}/{repo}"
STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED", None: "PENDING"}
NOT_IN_DIFF = [
    "Pull request review thread line must be part of the diff",
    "Pull request review thread diff hunk can't be blank",
]


@routes.add("GET", f"{R}/pulls")
def list_pulls(call: Call) -> Reply:
    """`head` counts only as `owner:branch`; descending by default only when sorted by creation."""
    query = call.query
    state, sort = query.get("state", "open"), query.get("sort", "created")
    owner, colon, branch = query.get("head", "").partition(":")
    found = [
        pull
        for pull in visible(call, call.repo.pulls, lambda pull: pull.issue)
        if state in ("all", pull.issue.state)
        and (not colon or (pull.head_owner.login.lower(), pull.head_ref) == (owner.lower(), branch))
        and query.get("base") in (None, pull.base_ref)
    ]
    keys: dict[str, Callable[[Pull], Any]] = {
        "created": lambda pull: (pull.issue.created_at, pull.number),
        "updated": lambda pull: (pull.updated_at, pull.number),
    }
    direction = query.get("direction", "desc" if sort == "created" else "asc")
    found.sort(key=keys.get(sort, keys["created"]), reverse=direction == "desc")
    return call.pages(found, call.shape.pull)


@routes.add("POST", f"{R}/pulls")
def create_pull(call: Call) -> Reply:
    """422 in three flavours: a branch is missing, nothing to merge, one exists already."""
    call.need("read")
    repo = call.repo
    title, head, base = (call.text("PullRequest", name) for name in ("title", "head", "base"))
    if len(title) > 256:
        raise invalid("PullRequest", "title", "custom", "title is too long (maximum is 256 characters)")
    if len(call.given("body") or "") > MAX_BODY:
        raise invalid("PullRequest", "body", "custom", f"body is too long (maximum is {MAX_BODY} characters)")
    source, branch = _head_of(call, head)
    sha = source.tip(branch) if source else None
    if source is None or sha is None:
        raise invalid("PullRequest", "head", "invalid")
    base_sha = repo.tip(base)
    if base_sha is None:
        raise invalid("PullRequest", "base", "invalid")
    if any(
        p.issue.state == "open" and (p.head_repo, p.head_ref, p.base_ref) == (source, branch, base) for p in repo.pulls
    ):
        said = f"A pull request already exists for {source.owner.login}:{branch}."
        raise Refusal(422, "Validation Failed", [{"resource": "PullRequest", "code": "custom", "message": said}])
    if source is repo and repo.bare.is_ancestor(sha, base_sha):
        said = f"No commits between {base} and {branch}"
        raise Refusal(422, "Validation Failed", [{"resource": "PullRequest", "code": "custom", "message": said}])
    made = acts.open_pull(
        call.world, repo, call.viewer, (source, branch), base, title, call.given("body"), bool(call.given("draft"))
    )
    return Reply(201, call.shape.full_pull(made))


def _head_of(call: Call, head: str) -> tuple[Repository | None, str]:
    owner, colon, branch = head.rpartition(":")
    if not colon or owner.lower() == call.repo.owner.login.lower():
        return call.repo, branch
    forks = (r for r in call.world.repos.values() if r.parent is call.repo and r.owner.login.lower() == owner.lower())
    return next(forks, None), branch


@routes.add("GET", f"{R}/pulls/{{number:n}}")
def get_pull(call: Call) -> Reply:
    """`mergeable` is null until GitHub has computed it; asking starts the computation."""
    return Reply(200, call.shape.full_pull(call.pull))


@routes.add("PATCH", f"{R}/pulls/{{number:n}}")
def patch_pull(call: Call) -> Reply:
    """Title, body, state, base."""
    pull, world = call.pull, call.world
    if pull.issue.user is not call.viewer:
        call.need("write")
    if call.given("title") not in (None, pull.issue.title):
        acts.rename(world, pull.issue, call.viewer, str(call.given("title")))
    if "body" in (call.body or {}) and len(call.given("body") or "") <= MAX_BODY:
        acts.rewrite(world, pull.issue, call.viewer, call.given("body"))
    if call.given("base") not in (None, pull.base_ref):
        if call.repo.tip(str(call.given("base"))) is None:
            raise invalid("PullRequest", "base", "invalid")
        acts.retarget(world, pull, call.viewer, str(call.given("base")))
    if call.given("state") == "closed":
        acts.close(world, pull.issue, call.viewer)
    elif call.given("state") == "open":
        acts.reopen(world, pull.issue, call.viewer)
    return Reply(200, call.shape.full_pull(pull))


@routes.add("GET", f"{R}/pulls/{{number:n}}/files")
def list_files(call: Call) -> Reply:
    """At most 3000 files; a binary one has no `patch`."""
    pull = call.pull
    found = diffs.changes(call.repo.bare, pull.base_sha, pull.head_sha)[:3000]
    return call.pages(found, lambda change: call.shape.file(pull, change))


@routes.add("GET", f"{R}/pulls/{{number:n}}/reviews")
def list_reviews(call: Call) -> Reply:
    """Oldest first; a pending review is seen by its author alone."""
    pull = call.pull
    found = [one for one in pull.reviews if one.state != "PENDING" or one.user is call.viewer]
    return call.pages(found, lambda review: call.shape.review(pull, review))


@routes.add("POST", f"{R}/pulls/{{number:n}}/reviews")
def create_review(call: Call) -> Reply:
    """200, not 201. One comment outside the diff refuses the whole review, and the offender is not named."""
    pull = call.pull
    event = call.given("event")
    if event not in STATES:
        raise Refusal(422, "Unprocessable Entity", [f"Variable $event of type PullRequestReviewEvent was {event}"])
    if pull.issue.user is call.viewer and event in ("APPROVE", "REQUEST_CHANGES"):
        said = "Can not approve your own pull request"
        raise Refusal(
            422, "Unprocessable Entity", [said if event == "APPROVE" else said.replace("approve", "request changes on")]
        )
    comments = call.given("comments") or []
    body = call.given("body") or ""
    if event in ("COMMENT", "REQUEST_CHANGES") and not body and not comments:
        raise Refusal(422, "Unprocessable Entity", ["Body can't be blank"])
    if len(body) > MAX_BODY:
        raise Refusal(422, "Unprocessable Entity", [f"Body is too long (maximum is {MAX_BODY} characters)"])
    if event is None and any(one.state == "PENDING" and one.user is call.viewer for one in pull.reviews):
        raise Refusal(422, "Unprocessable Entity", ["User can only have one pending review per pull request"])
    commit = call.given("commit_id") or pull.head_sha
    if call.repo.bare.resolve(commit) is None:
        raise Refusal(422, "Unprocessable Entity", ["Commit is not part of the pull request"])
    placed = [(one, _hunk_of(pull, commit, one)) for one in comments]
    made = acts.review(call.world, pull, call.viewer, STATES[event], body, commit)
    for comment, hunk in placed:
        start = comment.get("start_line")
        acts.review_comment(
            call.world,
            made,
            comment["path"],
            comment["body"],
            hunk,
            comment["line"],
            comment.get("side", "RIGHT"),
            None if start is None else (start, comment.get("start_side", "RIGHT")),
        )
    return Reply(200, call.shape.review(pull, made))


def _hunk_of(pull: Pull, commit: str, comment: Any) -> str:
    files = diffs.changes(pull.repo.bare, pull.base_sha, commit)
    change = next((one for one in files if one.path == comment.get("path")), None)
    if change is None:
        raise Refusal(422, "Unprocessable Entity", ["Path could not be resolved"])
    if not comment.get("body"):
        raise Refusal(422, "Unprocessable Entity", ["Body can't be blank"])
    side, line, start = comment.get("side", "RIGHT"), comment.get("line"), comment.get("start_line")
    for hunk in change.hunks:
        if line in hunk.lines(side) and (
            start is None or (start < line and start in hunk.lines(comment.get("start_side", side)))
        ):
            return hunk.text
    raise Refusal(422, "Unprocessable Entity", NOT_IN_DIFF)


@routes.add("GET", f"{R}/pulls/{{number:n}}/comments")
def list_review_comments(call: Call) -> Reply:
    """Inline comments, oldest first."""
    pull = call.pull
    return call.pages(pull.review_comments, lambda comment: call.shape.review_comment(pull, comment))
