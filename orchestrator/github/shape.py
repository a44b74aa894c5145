"""GitHub's JSON to our frozen words. A deleted account or fork is None, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from orchestrator.model import Actor, Comment, Issue, PullRequest, Repo, RepoFacts, Review

Json = Mapping[str, Any]


def seconds(stamp: str | None) -> float:
    """`2026-01-02T03:04:05Z` as seconds since 1970; 0 where GitHub gives none."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() if stamp else 0.0


def stamp(at: float) -> str:
    """The other way round."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def actor(data: Json | None) -> Actor | None:
    return Actor(int(data["id"]), str(data["login"]), data.get("type") == "User") if data else None


def repo(data: Json) -> Repo:
    return Repo(int(data["id"]), str(data["full_name"]), str(data["default_branch"]), str(data["clone_url"]))


def repo_facts(data: Json) -> RepoFacts:
    rights = data.get("permissions") or {}
    above = (str(data[name]["full_name"]) for name in ("parent", "source") if data.get(name))
    return RepoFacts(
        repo=repo(data),
        may_push=bool(rights.get("push")),
        may_admin=bool(rights.get("admin")),
        archived=bool(data.get("archived")),
        disabled=bool(data.get("disabled")),
        has_issues=data.get("has_issues") is not False,
        has_pulls=data.get("has_pull_requests") is not False,
        upstream=tuple(dict.fromkeys(above)),
        has_pages=bool(data.get("has_pages")),
    )


def issue(data: Json) -> Issue:
    return Issue(
        number=int(data["number"]),
        title=str(data["title"]),
        body=str(data.get("body") or ""),
        author=actor(data.get("user")),
        labels=labels(data),
        open=data["state"] == "open",
        created_at=seconds(data["created_at"]),
        updated_at=seconds(data["updated_at"]),
    )


def labels(data: Json) -> frozenset[str]:
    """Label names in lower case, as GitHub compares them; old issues carry bare strings."""
    return frozenset(
        str(label if isinstance(label, str) else label["name"]).lower() for label in data.get("labels", ())
    )


def pull(data: Json) -> PullRequest:
    head_repo = data["head"].get("repo")
    return PullRequest(
        number=int(data["number"]),
        title=str(data["title"]),
        body=str(data.get("body") or ""),
        author=actor(data.get("user")),
        labels=labels(data),
        open=data["state"] == "open",
        draft=bool(data.get("draft")),
        head_sha=str(data["head"]["sha"]),
        head_ref=str(data["head"]["ref"]),
        head_repo_id=int(head_repo["id"]) if head_repo else None,
        base_ref=str(data["base"]["ref"]),
        base_sha=str(data["base"]["sha"]),
        created_at=seconds(data["created_at"]),
        updated_at=seconds(data["updated_at"]),
        head_pushed_at=seconds(head_repo.get("pushed_at")) if head_repo else None,
        merged=bool(data.get("merged_at")),
        merge_sha=data.get("merge_commit_sha"),
        merged_by=actor(data.get("merged_by")),
    )


def comment(data: Json) -> Comment:
    return Comment(
        id=int(data["id"]),
        number=int(str(data["issue_url"]).rsplit("/", 1)[1]),
        author=actor(data.get("user")),
        body=str(data.get("body") or ""),
        created_at=seconds(data["created_at"]),
        updated_at=seconds(data["updated_at"]),
        node_id=str(data.get("node_id", "")),
    )


def review(data: Json) -> Review:
    return Review(
        id=int(data["id"]),
        author=actor(data.get("user")),
        state=str(data["state"]),
        head=str(data.get("commit_id") or ""),
        body=str(data.get("body") or ""),
    )
