"""World objects as GitHub's full JSON bodies: accounts, repositories, issues, comments, events.

Every field that GitHub's published OpenAPI requires is there. URLs start with the host and port of the request,
because PyGithub refuses any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from orchestrator.twin.world import Comment, Event, Issue, Label, Reaction, Repository, User, World, node_id

Json = dict[str, Any]

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPO_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_CONTENTS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")


def stamp(seconds: int) -> str:
    """`2026-01-02T03:04:05Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def maybe_stamp(seconds: int | None) -> str | None:
    return None if seconds is None else stamp(seconds)


class Shapes:
    """Bodies for one request: `url` is its scheme, host and port."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.url = url

    def at(self, repo: Repository) -> str:
        """The API address of a repository."""
        return f"{self.url}/repos/{repo.full_name}"

    def page(self, repo: Repository) -> str:
        """The address a person would open."""
        return f"{self.url}/{repo.full_name}"

    def user(self, user: User) -> Json:
        login = quote(user.login)  # a bot's name holds brackets
        at = f"{self.url}/users/{login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": node_id("U", user.id),
            "avatar_url": f"{self.url}/avatars/u/{user.id}",
            "gravatar_id": "",
            "url": at,
            "html_url": f"{self.url}/{login}",
            **{name: at + tail for name, tail in _USER_LINKS.items()},
            "type": user.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def maybe_user(self, user: User | None) -> Json | None:
        """A deleted account is null."""
        return None if user is None else self.user(user)

    def private_user(self, user: User) -> Json:
        zeros = "public_repos public_gists followers following private_gists total_private_repos owned_private_repos"
        return {
            **self.user(user),
            "user_view_type": "private",
            **dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"), None),
            **dict.fromkeys((*zeros.split(), "disk_usage", "collaborators"), 0),
            "two_factor_authentication": True,
            "created_at": stamp(user.created_at),
            "updated_at": stamp(user.created_at),
        }

    def repository(self, repo: Repository, viewer: User | None = None) -> Json:
        at, page = self.at(repo), self.page(repo)
        issues = sum(issue.state == "open" for issue in repo.issues.values())
        forks = sum(other.parent is repo for other in self.world.repos.values())
        body: Json = {
            "id": repo.id,
            "node_id": node_id("R", repo.id),
            "name": repo.name,
            "full_name": repo.full_name,
            "owner": self.user(repo.owner),
            "private": repo.private,
            "visibility": "private" if repo.private else "public",
            "html_url": page,
            "description": None,
            "fork": repo.parent is not None,
            "url": at,
            **{name: at + tail for name, tail in _REPO_LINKS.items()},
            "git_url": f"git:{page.partition(':')[2]}.git",
            "ssh_url": f"git@127.0.0.1:{repo.full_name}.git",
            "clone_url": f"{page}.git",
            "svn_url": page,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "forks": forks,
            "forks_count": forks,
            "stargazers_count": 0,
            "watchers": 0,
            "watchers_count": 0,
            "size": 0,
            "default_branch": repo.default_branch,
            "open_issues": issues,
            "open_issues_count": issues,
            "is_template": False,
            "topics": [],
            **dict.fromkeys(("has_projects", "has_wiki", "has_downloads"), True),
            "has_issues": repo.has_issues,
            "has_pull_requests": repo.has_pulls,
            "has_pages": repo.site_from is not None,
            "has_discussions": False,
            "archived": repo.archived,
            "disabled": False,
            "allow_forking": True,
            "web_commit_signoff_required": False,
            "pushed_at": stamp(repo.pushed_at),
            "created_at": stamp(repo.created_at),
            "updated_at": stamp(repo.created_at),
        }
        if viewer is not None:
            wanted = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage", "pull": "read"}
            body["permissions"] = {name: self.world.may(repo, viewer, word) for name, word in wanted.items()}
        return body

    def full_repository(self, repo: Repository, viewer: User) -> Json:
        above = {}
        if repo.parent is not None and self.world.may(repo.parent, viewer, "read"):
            first = repo.parent
            while first.parent is not None:
                first = first.parent
            above = {"parent": self.repository(repo.parent), "source": self.repository(first)}
        return {
            **self.repository(repo, viewer),
            **above,
            "allow_squash_merge": repo.allow_squash,
            "allow_merge_commit": repo.allow_merge,
            "allow_rebase_merge": repo.allow_rebase,
            "allow_auto_merge": False,
            "delete_branch_on_merge": repo.delete_branch_on_merge,
            "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
            "squash_merge_commit_message": "COMMIT_MESSAGES",
            "subscribers_count": 0,
            "network_count": 0,
        }

    def permission(self, repo: Repository, user: User) -> Json:
        """`permission` knows four words; `role_name` has the finer ones."""
        role = self.world.permission(repo, user)
        known = {"maintain": "write", "triage": "read"}.get(role, role)
        known, role = repo.told_permissions.get(user.id, (known, role))
        rights = self.repository(repo, user)["permissions"]
        return {
            "permission": known,
            "role_name": role,
            "user": {**self.user(user), "permissions": rights, "role_name": role},
        }

    def label(self, repo: Repository, label: Label) -> Json:
        return {
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": f"{self.at(repo)}/labels/{quote(label.name, safe='')}",
            "name": label.name,
            "color": label.color,
            "default": False,
            "description": label.description,
        }

    def reactions(self, at: str, reactions: Sequence[Reaction]) -> Json:
        counts = {content: sum(one.content == content for one in reactions) for content in _CONTENTS}
        return {"url": f"{at}/reactions", "total_count": len(reactions), **counts}

    def reaction(self, reaction: Reaction) -> Json:
        return {
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.user(reaction.user),
            "content": reaction.content,
            "created_at": stamp(reaction.created_at),
        }

    def association(self, repo: Repository, user: User | None) -> str:
        """As GitHub tells it to others: it hides private membership, so nothing may be decided by it (lunar#2673)."""
        if user is not None and user.id in repo.told_associations:
            return repo.told_associations[user.id]
        if user is repo.owner:
            return "OWNER"
        return "CONTRIBUTOR" if self.world.may(repo, user, "write") else "NONE"

    def issue(self, issue: Issue) -> Json:
        repo, pull = issue.repo, issue.pull
        at = f"{self.at(repo)}/issues/{issue.number}"
        face = "pull" if pull else "issues"
        html = f"{self.page(repo)}/{face}/{issue.number}"
        body: Json = {
            "id": issue.id,
            "node_id": node_id("PR" if pull else "I", pull.id if pull else issue.id),
            "url": at,
            "repository_url": self.at(repo),
            "labels_url": f"{at}/labels{{/name}}",
            "comments_url": f"{at}/comments",
            "events_url": f"{at}/events",
            "timeline_url": f"{at}/timeline",
            "html_url": html,
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "user": self.maybe_user(issue.user),
            "labels": [self.label(repo, label) for label in issue.labels],
            "state": issue.state,
            "state_reason": issue.state_reason,
            "locked": issue.locked,
            "active_lock_reason": None,
            "assignee": self.maybe_user(next(iter(issue.assignees), None)),
            "assignees": [self.user(user) for user in issue.assignees],
            "milestone": None,
            "comments": len(issue.comments),
            "created_at": stamp(issue.created_at),
            "updated_at": stamp(issue.updated_at),
            "closed_at": maybe_stamp(issue.closed_at),
            "author_association": self.association(repo, issue.user),
            "performed_via_github_app": None,
            "reactions": self.reactions(at, issue.reactions),
        }
        if pull is not None:
            body["draft"] = pull.draft
            body["pull_request"] = {
                "url": f"{self.at(repo)}/pulls/{issue.number}",
                "html_url": html,
                "diff_url": f"{html}.diff",
                "patch_url": f"{html}.patch",
                "merged_at": maybe_stamp(pull.merged_at),
            }
        return body

    def full_issue(self, issue: Issue) -> Json:
        return {**self.issue(issue), "closed_by": self.maybe_user(issue.closed_by)}

    def comment(self, comment: Comment) -> Json:
        repo, issue = comment.issue.repo, comment.issue
        at = f"{self.at(repo)}/issues/comments/{comment.id}"
        face = "pull" if issue.pull else "issues"
        return {
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "url": at,
            "html_url": f"{self.page(repo)}/{face}/{issue.number}#issuecomment-{comment.id}",
            "issue_url": f"{self.at(repo)}/issues/{issue.number}",
            "user": self.maybe_user(comment.user),
            "body": comment.body,
            "created_at": stamp(comment.created_at),
            "updated_at": stamp(comment.updated_at),
            "author_association": self.association(repo, comment.user),
            "performed_via_github_app": None,
            "reactions": self.reactions(at, comment.reactions),
        }

    def event(self, repo: Repository, event: Event) -> Json:
        commit = event.commit_id
        body: Json = {
            "id": event.id,
            "node_id": node_id("EV", event.id),
            "url": f"{self.at(repo)}/issues/events/{event.id}",
            "actor": self.maybe_user(event.actor),
            "event": event.event,
            "commit_id": commit,
            "commit_url": f"{self.at(repo)}/commits/{commit}" if commit else None,
            "created_at": stamp(event.created_at),
            "performed_via_github_app": None,
        }
        if event.label is not None:
            body["label"] = {"name": event.label.name, "color": event.label.color}
        if event.rename is not None:
            body["rename"] = {"from": event.rename[0], "to": event.rename[1]}
        return body
