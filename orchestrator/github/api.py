"""Typed calls of one repository: what GitHub is asked and what it is told. No decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.errors import Missing, Retry
from orchestrator.github import ci, facts, shape
from orchestrator.github.transport import Answer, ApiError, Moved, NoJson, TokenRefused, Transport
from orchestrator.model import (
    Access,
    Actor,
    BranchRules,
    CheckRun,
    Comment,
    Issue,
    IssueFacts,
    MergeState,
    Permission,
    PullRequest,
    Repo,
    RepoFacts,
    Review,
)

LINKED_ISSUES = """query LinkedIssues($o: String!, $r: String!, $n: Int!) {
  repository(owner: $o, name: $r) { pullRequest(number: $n) {
    closingIssuesReferences(first: 50) { nodes { number state repository { nameWithOwner isPrivate } } } } } }"""

COMMENT_EDITS = """query CommentEdits($id: ID!) {
  node(id: $id) { ... on IssueComment { id lastEditedAt } } }"""


MERGE_STATE = """query MergeState($o: String!, $r: String!, $n: Int!) {
  repository(owner: $o, name: $r) { pullRequest(number: $n) {
    id mergeStateStatus reviewDecision isMergeQueueEnabled isInMergeQueue } } }"""

# For servers from before merge queues.
QUEUELESS_STATE = """query QueuelessState($o: String!, $r: String!, $n: Int!) {
  repository(owner: $o, name: $r) { pullRequest(number: $n) {
    id mergeStateStatus reviewDecision } } }"""

ENQUEUE = """mutation Enqueue($id: ID!, $sha: GitObjectID!) {
  enqueuePullRequest(input: {pullRequestId: $id, expectedHeadOid: $sha}) { mergeQueueEntry { state } } }"""

DEQUEUE = """mutation Dequeue($id: ID!) {
  dequeuePullRequest(input: {id: $id}) { mergeQueueEntry { state } } }"""


@dataclass(frozen=True)
class MergeFacts:
    """GitHub's own judgement of a PR; `id` is its global id."""

    id: str
    state: MergeState
    decision: str  # "" where no review is required
    has_queue: bool  # its base takes merges through a queue, by a protection or by a rule set
    queued: bool  # it is in the branch's merge queue


class NotTaken(Missing):
    """GitHub does not take the token; `what` it said."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}. Renew it with `gh auth login`, or put a valid one into GITHUB_TOKEN.")
        self.what = what


class NotGithub(Missing):
    """Something else answers at the address; `what` says so."""

    def __init__(self, url: str) -> None:
        self.what = f"{url} does not answer as GitHub does"
        super().__init__(f"{self.what}. Check GITHUB_API_URL.")


def sign_in(transport: Transport) -> tuple[Actor, Answer]:
    """Whose token this is, and the answer that says so. NotTaken, NotGithub, or Retry where nobody answers."""
    try:
        answer = transport.get("/user")
        found = shape.actor(answer.data)
    except TokenRefused as error:
        raise NotTaken(str(error)) from error
    except ApiError as error:
        raise (NotTaken(str(error)) if error.status == 403 else NotGithub(transport.url)) from error
    except (Moved, KeyError, TypeError, ValueError) as error:
        raise NotGithub(transport.url) from error
    except Retry as error:
        if isinstance(error.__cause__, NoJson):
            raise NotGithub(transport.url) from error
        raise
    if found is None:
        raise NotGithub(transport.url)
    return found, answer


class Api:
    """One repository. Reads raise ApiError or Retry, writes ApiError or Unknown (see `transport`)."""

    def __init__(self, transport: Transport, name: str) -> None:
        """`name`: as it is set; jobs and folders go by it."""
        self.transport = transport
        self.name = name
        self.called = name  # on GitHub, where somebody may have renamed it
        self._seen: dict[int, tuple[str | None, Access]] = {}

    @property
    def at(self) -> str:
        """Where its endpoints are."""
        return f"/repos/{self.called}"

    def follow(self, repo_id: int) -> None:
        """Go on under the present name of the repository with this id. ApiError when we may not see it."""
        self.called = shape.repo(self.transport.get(f"/repositories/{repo_id}").data).name

    def repo(self) -> Repo:
        return self.facts().repo

    def facts(self) -> RepoFacts:
        return shape.repo_facts(self.transport.get(self.at).data)

    def label_names(self) -> list[str]:
        return [str(label["name"]) for label in self.transport.pages(f"{self.at}/labels")]

    def create_label(self, name: str, color: str, description: str) -> None:
        """Make a label; one that exists already is fine."""
        try:
            self.transport.write(
                "POST", f"{self.at}/labels", {"name": name, "color": color, "description": description}
            )
        except ApiError as error:
            if not error.says("already_exists"):
                raise

    def issue(self, number: int) -> Issue:
        return shape.issue(self.transport.get(f"{self.at}/issues/{number}").data)

    def is_pull(self, number: int) -> bool:
        try:
            return "pull_request" in self.transport.get(f"{self.at}/issues/{number}").data
        except ApiError as error:
            if error.status != 410:
                raise
        try:  # issues are switched off, or this one was deleted
            return bool(self.pull(number))
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    def pull(self, number: int) -> PullRequest:
        return shape.pull(self.transport.get(f"{self.at}/pulls/{number}").data)

    def comments(self, number: int) -> list[Comment]:
        return [shape.comment(c) for c in self.transport.pages(f"{self.at}/issues/{number}/comments")]

    def was_edited(self, comment: Comment) -> bool:
        """`updated_at` alone also moves for other reasons, so a difference is confirmed by GraphQL."""
        if comment.updated_at == comment.created_at:
            return False
        node = self.transport.graphql("CommentEdits", COMMENT_EDITS, {"id": comment.node_id})["node"]
        return node is None or node.get("lastEditedAt") is not None

    def issue_facts(self, number: int) -> IssueFacts:
        """Who labelled an issue and who wrote its text when. Retry for an answer that is not what was asked for."""
        owner, name = self.called.split("/")
        data = self.transport.graphql("IssueFacts", facts.ISSUE_FACTS, {"o": owner, "r": name, "n": number})
        try:
            return facts.issue_facts(data["repository"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Retry(f"what GitHub says of #{number} cannot be understood: {error!r}") from error

    def permission(self, actor: Actor) -> Permission:
        """As `access`, without the role."""
        return self.access(actor).permission

    def access(self, actor: Actor) -> Access:
        """Live. A renamed or re-registered login, an unknown word and a 404 are all `none`.

        A 403 is passed on: it says that *we* may not write any more, and nothing of the one who is asked about.
        """
        return self._access(actor, None)[1]

    def access_again(self, actor: Actor) -> Access:
        """As `access`, for whom is asked about at every poll: by a request that is free while nothing changed."""
        self._seen[actor.id] = self._access(actor, self._seen.get(actor.id))
        return self._seen[actor.id][1]

    def _access(self, actor: Actor, seen: tuple[str | None, Access] | None) -> tuple[str | None, Access]:
        path = f"{self.at}/collaborators/{quote(actor.login, safe='')}/permission"
        try:
            answer = self.transport.get(path, etag=seen[0] if seen else None)
        except ApiError as error:
            if error.status == 404:
                return None, Access(Permission.NONE)
            raise
        if seen is not None and answer.status == 304:
            return seen
        return answer.headers.get("etag"), _rights(actor, answer.data)

    def react(self, number: int, content: str) -> None:
        self.transport.write("POST", f"{self.at}/issues/{number}/reactions", {"content": content})

    def react_to_comment(self, comment: int, content: str) -> None:
        self.transport.write("POST", f"{self.at}/issues/comments/{comment}/reactions", {"content": content})

    def add_label(self, number: int, label: str) -> None:
        self.transport.write("POST", f"{self.at}/issues/{number}/labels", {"labels": [label]})

    def remove_label(self, number: int, label: str) -> None:
        """Take a label off; an absent one is fine."""
        try:
            self.transport.write("DELETE", f"{self.at}/issues/{number}/labels/{quote(label, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise

    def comment(self, number: int, body: str) -> int:
        return int(self.transport.write("POST", f"{self.at}/issues/{number}/comments", {"body": body}).data["id"])

    def edit_comment(self, comment: int, body: str) -> None:
        self.transport.write("PATCH", f"{self.at}/issues/comments/{comment}", {"body": body})

    def close_issue(self, number: int) -> None:
        self.transport.write("PATCH", f"{self.at}/issues/{number}", {"state": "closed", "state_reason": "completed"})

    def find_pull(self, branch: str, state: str = "open") -> PullRequest | None:
        """The newest PR of this repository's own `branch`."""
        owner = self.called.split("/")[0]
        for data in self.transport.pages(f"{self.at}/pulls", head=f"{owner}:{branch}", state=state):
            return shape.pull(data)
        return None

    def create_pull(self, title: str, head: str, base: str, body: str, draft: bool) -> int:
        """Its number. Retry instead of a wait behind a limit."""
        wanted = {"title": title, "head": head, "base": base, "body": body, "draft": draft}
        return int(self.transport.write("POST", f"{self.at}/pulls", wanted, patient=False).data["number"])

    def reviews(self, number: int) -> list[Review]:
        """Every review, oldest first."""
        return [shape.review(r) for r in self.transport.pages(f"{self.at}/pulls/{number}/reviews")]

    def review(self, number: int, sha: str, body: str, comments: Sequence[dict[str, Any]]) -> int:
        """One COMMENT review on exactly `sha`; all or nothing."""
        answer = self.transport.write(
            "POST",
            f"{self.at}/pulls/{number}/reviews",
            {"commit_id": sha, "event": "COMMENT", "body": body, "comments": list(comments)},
        )
        return int(answer.data["id"])

    def check_runs(self, sha: str) -> list[CheckRun]:
        """What CI shows of exactly `sha`, every page. Fewer than GitHub counts is an error."""
        return ci.observed(self.transport, self.at, sha)

    def rules(self, branch: str) -> BranchRules:
        """What the branch's protection and every rule set that covers it demand."""
        at = quote(branch, safe="")
        checks: set[str] = set()
        strict = False
        protection = self.transport.get(f"{self.at}/branches/{at}").data.get("protection") or {}
        required = protection.get("required_status_checks") or {}
        checks.update(required.get("contexts") or ())
        checks.update(check["context"] for check in required.get("checks") or ())
        for rule in self.rule_sets(branch):
            if rule["type"] == "required_status_checks":
                wanted = rule["parameters"]
                strict = strict or bool(wanted.get("strict_required_status_checks_policy"))
                checks.update(c["context"] for c in wanted["required_status_checks"])
        return BranchRules(tuple(sorted(checks)), strict)

    def rule_sets(self, branch: str) -> list[Any]:
        """Every rule of a rule set that covers `branch`, as GitHub words it."""
        try:
            return list(self.transport.pages(f"{self.at}/rules/branches/{quote(branch, safe='')}"))
        except ApiError as error:
            # A private repository whose plan has no rule sets is told to buy them.
            if error.status == 403 and error.says("upgrade to github"):
                return []
            raise

    def branch_sha(self, branch: str) -> str | None:
        try:
            return str(self.transport.get(f"{self.at}/git/ref/heads/{quote(branch)}").data["object"]["sha"])
        except ApiError as error:
            if error.status in (404, 409):  # no such branch, or no commit at all
                return None
            raise

    def pushed_within_a_day(self) -> frozenset[str]:
        """The SHAs that were pushed to any branch of the repository in the last 24 hours."""
        path = f"{self.at}/activity"
        return frozenset(str(a["after"]) for a in self.transport.pages(path, time_period="day"))

    def pushes(self, branch: str) -> list[tuple[float, str]]:
        """When `branch` was pushed to (GitHub's clock) and what it showed then, newest first."""
        record = self.transport.pages(f"{self.at}/activity", ref=f"refs/heads/{branch}")
        return [(shape.seconds(push["timestamp"]), str(push["after"])) for push in record]

    def retargeted_since(self, number: int, time: float) -> bool:
        """Whether the PR was given another base in the second `time` or later."""
        events = self.transport.pages(f"{self.at}/issues/{number}/events")
        return any(e["event"] == "base_ref_changed" and shape.seconds(e["created_at"]) >= time for e in events)

    def merge_state(self, number: int) -> MergeFacts:
        """What GitHub says of the PR as a whole; a word that we do not know is UNKNOWN."""
        owner, name = self.called.split("/")
        variables = {"o": owner, "r": name, "n": number}
        try:
            data = self.transport.graphql("MergeState", MERGE_STATE, variables)
        except Retry as trouble:
            if "doesn't exist on type" not in str(trouble):
                raise
            data = self.transport.graphql("QueuelessState", QUEUELESS_STATE, variables)
        pull = data["repository"]["pullRequest"]
        word = pull["mergeStateStatus"]
        return MergeFacts(
            id=str(pull["id"]),
            state=MergeState(word) if word in MergeState.__members__ else MergeState.UNKNOWN,
            decision=str(pull["reviewDecision"] or ""),
            has_queue=bool(pull.get("isMergeQueueEnabled")),
            queued=bool(pull.get("isInMergeQueue")),
        )

    def merge(self, number: int, sha: str, method: str) -> str:
        """Merge exactly `sha`, with the title and message of the repository's own setting; the base's new tip.

        Retry when GitHub limits us: what was read before the call would be old after the wait.
        """
        body = {"sha": sha, "merge_method": method}
        answer = self.transport.write("PUT", f"{self.at}/pulls/{number}/merge", body, patient=False)
        if not (answer.data or {}).get("merged"):
            raise ApiError(answer.status, "GitHub did not merge: " + str((answer.data or {}).get("message", "")))
        return str(answer.data["sha"])

    def enqueue(self, number: int, sha: str, method: str) -> str:
        """Put exactly `sha` into the branch's merge queue; the id of the request, "" when it is in already.

        A request that exists is adopted; a server without asynchronous merges is asked by GraphQL.
        """
        body = {"sha": sha, "merge_method": method, "merge_action": "merge_queue"}
        try:
            answer = self.transport.write("PUT", f"{self.at}/pulls/{number}/merge-async", body, patient=False)
        except ApiError as error:
            known = error.errors.get("uuid") if error.status == 409 and isinstance(error.errors, dict) else None
            if known is None and error.status != 404:
                raise
            if known is None:
                wanted = {"id": self.merge_state(number).id, "sha": sha}
                self.transport.mutate("Enqueue", ENQUEUE, wanted, patient=False)
            return str(known or "")
        return str(answer.data["details"].get("uuid") or "")

    def enqueued(self, number: int, request: str) -> tuple[str, str]:
        """What became of a request: `pending`, `enqueued`, `merged` or `failed`, and GitHub's sentence."""
        data = self.transport.get(f"{self.at}/pulls/{number}/merge-async/{quote(request, safe='')}").data
        return str(data["status"]), str(data["details"].get("message", ""))

    def dequeue(self, pull_id: str) -> None:
        """Take a PR out of the merge queue; one that is not in it is fine."""
        self.transport.mutate("Dequeue", DEQUEUE, {"id": pull_id})

    def linked_issues(self, number: int) -> tuple[list[int], list[str]]:
        """What the PR closes, as GitHub links it: open issues of this repository; names of those of others.

        What lies in a private repository goes by the empty name.
        """
        owner, name = self.called.split("/")
        data = self.transport.graphql("LinkedIssues", LINKED_ISSUES, {"o": owner, "r": name, "n": number})
        nodes = data["repository"]["pullRequest"]["closingIssuesReferences"]["nodes"]
        own, foreign = [], []
        for node in nodes:
            where = node["repository"]
            if where["nameWithOwner"].lower() != self.called.lower():
                foreign.append("" if where["isPrivate"] else f"{where['nameWithOwner']}#{node['number']}")
            elif node["state"] == "OPEN":
                own.append(int(node["number"]))
        return own, foreign


def _rights(actor: Actor, data: Any) -> Access:
    word = data.get("permission")
    if int((data.get("user") or {}).get("id", 0)) != actor.id or word not in [p.value for p in Permission]:
        return Access(Permission.NONE)
    return Access(Permission(word), str(data.get("role_name") or ""))
