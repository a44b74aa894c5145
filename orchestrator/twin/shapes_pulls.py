"""World objects as GitHub's JSON: PRs, reviews, commits, branches, checks, activity."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from orchestrator.twin import merging
from orchestrator.twin.diffs import FileChange
from orchestrator.twin.shapes import Json, Shapes, maybe_stamp, stamp
from orchestrator.twin.world import (
    Activity,
    App,
    CheckRun,
    Protection,
    Pull,
    Repository,
    Review,
    ReviewComment,
    Status,
    Suite,
    User,
    node_id,
)


class PullShapes(Shapes):
    """As `Shapes`, for what lives around commits."""

    def pull(self, pull: Pull) -> Json:
        """As in lists: without `merged`, `mergeable` and the counts."""
        issue, repo = pull.issue, pull.repo
        at = f"{self.at(repo)}/pulls/{pull.number}"
        issue_at = f"{self.at(repo)}/issues/{pull.number}"
        html = f"{self.page(repo)}/pull/{pull.number}"
        links = {
            "self": at,
            "html": html,
            "issue": issue_at,
            "comments": f"{issue_at}/comments",
            "review_comments": f"{at}/comments",
            "review_comment": f"{self.at(repo)}/pulls/comments{{/number}}",
            "commits": f"{at}/commits",
            "statuses": f"{self.at(repo)}/statuses/{pull.head_sha}",
        }
        shared = self.issue(issue)
        copied = (
            "number title body user labels locked active_lock_reason assignee assignees milestone author_association"
        )
        merged = pull.merged_at if not pull.merged_hidden else None
        return {
            **{name: shared[name] for name in copied.split()},
            "id": pull.id,
            "node_id": node_id("PR", pull.id),
            "url": at,
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "issue_url": issue_at,
            **{f"{name}_url": links[name] for name in links if name not in ("self", "html", "issue")},
            "state": "open" if pull.merged_hidden else issue.state,
            "created_at": stamp(issue.created_at),
            "updated_at": stamp(pull.updated_at),
            "closed_at": maybe_stamp(issue.closed_at) if not pull.merged_hidden else None,
            "merged_at": maybe_stamp(merged),
            "merge_commit_sha": pull.merge_sha if merged else _test_merge(pull),
            "requested_reviewers": [],
            "requested_teams": [],
            "draft": pull.draft,
            "auto_merge": None,
            "head": self._side(pull.head_owner, pull.head_ref, pull.head_sha, pull.head_repo),
            "base": self._side(repo.owner, pull.base_ref, pull.base_sha, repo),
            "_links": {name: {"href": href} for name, href in links.items()},
        }

    def full_pull(self, pull: Pull) -> Json:
        """One PR by itself. Counts as a read for `mergeable`, which is null for a while after a push."""
        mergeable, state = merging.mergeability(self.world, pull)
        body = self.pull(pull)
        base = pull.repo.bare.merge_base(pull.base_sha, pull.head_sha)
        stat = pull.repo.bare.numstat(base, pull.head_sha)
        hidden = pull.merged_hidden > 0
        pull.merged_hidden = max(0, pull.merged_hidden - 1)
        body.update(
            merged=pull.merged_at is not None and not hidden,
            mergeable=mergeable,
            rebaseable=mergeable,
            mergeable_state=state,
            merged_by=self.maybe_user(None if hidden else pull.merged_by),
            comments=len(pull.issue.comments),
            review_comments=len(pull.review_comments),
            maintainer_can_modify=pull.maintainer_can_modify,
            commits=len(pull.repo.bare.commits(base, pull.head_sha)),
            additions=sum(added for added, _ in stat),
            deletions=sum(removed for _, removed in stat),
            changed_files=len(stat),
        )
        return body

    def _side(self, owner: User, ref: str, sha: str, repo: Repository | None) -> Json:
        return {
            "label": f"{owner.login}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.user(owner),
            "repo": None if repo is None else self.repository(repo),
        }

    def file(self, pull: Pull, change: FileChange) -> Json:
        at = self.page(pull.repo)
        body: Json = {
            "sha": change.blob,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{at}/blob/{pull.head_sha}/{quote(change.path)}",
            "raw_url": f"{at}/raw/{pull.head_sha}/{quote(change.path)}",
            "contents_url": f"{self.at(pull.repo)}/contents/{quote(change.path)}?ref={pull.head_sha}",
        }
        if change.patch is not None:
            body["patch"] = change.patch
        if change.previous is not None:
            body["previous_filename"] = change.previous
        return body

    def review(self, pull: Pull, review: Review) -> Json:
        at = f"{self.at(pull.repo)}/pulls/{pull.number}"
        html = f"{self.page(pull.repo)}/pull/{pull.number}#pullrequestreview-{review.id}"
        body: Json = {
            "id": review.id,
            "node_id": node_id("PRR", review.id),
            "user": self.maybe_user(review.user),
            "body": review.body,
            "state": review.state,
            "html_url": html,
            "pull_request_url": at,
            "author_association": self.association(pull.repo, review.user),
            "_links": {"html": {"href": html}, "pull_request": {"href": at}},
            "commit_id": review.commit_id,
        }
        if review.state != "PENDING":
            body["submitted_at"] = stamp(review.submitted_at)
        return body

    def review_comment(self, pull: Pull, comment: ReviewComment) -> Json:
        at = f"{self.at(pull.repo)}/pulls/comments/{comment.id}"
        html = f"{self.page(pull.repo)}/pull/{pull.number}#discussion_r{comment.id}"
        pull_at = f"{self.at(pull.repo)}/pulls/{pull.number}"
        return {
            "id": comment.id,
            "node_id": node_id("PRRC", comment.id),
            "url": at,
            "pull_request_review_id": comment.review.id,
            "diff_hunk": comment.hunk,
            "path": comment.path,
            "commit_id": comment.commit_id,
            "original_commit_id": comment.commit_id,
            "user": self.maybe_user(comment.user),
            "body": comment.body,
            "created_at": stamp(comment.created_at),
            "updated_at": stamp(comment.created_at),
            "html_url": html,
            "pull_request_url": pull_at,
            "author_association": self.association(pull.repo, comment.user),
            "_links": {"self": {"href": at}, "html": {"href": html}, "pull_request": {"href": pull_at}},
            "reactions": self.reactions(at, ()),
            "start_line": comment.start_line,
            "original_start_line": comment.start_line,
            "start_side": comment.start_side,
            "line": comment.line,
            "original_line": comment.line,
            "side": comment.side,
            "subject_type": "line",
        }

    def app(self, app: App) -> Json:
        owner = self.world.user("github")
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": node_id("A", app.id),
            "owner": self.user(owner),
            "name": app.slug.replace("-", " ").title(),
            "description": "",
            "external_url": f"{self.url}/apps/{app.slug}",
            "html_url": f"{self.url}/apps/{app.slug}",
            "created_at": stamp(owner.created_at),
            "updated_at": stamp(owner.created_at),
            "permissions": {"checks": "write", "metadata": "read"},
            "events": ["check_run"],
        }

    def check_run(self, repo: Repository, run: CheckRun) -> Json:
        at = f"{self.at(repo)}/check-runs/{run.id}"
        html = f"{self.page(repo)}/runs/{run.id}"
        return {
            "id": run.id,
            "node_id": node_id("CR", run.id),
            "head_sha": run.suite.sha,
            "external_id": "",
            "url": at,
            "html_url": html,
            "details_url": html,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": stamp(run.started_at),
            "completed_at": maybe_stamp(run.completed_at),
            "output": {
                "title": None,
                "summary": None,
                "text": None,
                "annotations_count": 0,
                "annotations_url": f"{at}/annotations",
            },
            "name": run.name,
            "check_suite": {"id": run.suite.id},
            "app": self.app(run.suite.app),
            "pull_requests": [],
        }

    def suite(self, repo: Repository, suite: Suite) -> Json:
        """A suite without runs stays queued for ever; many repositories have such."""
        runs = [run for run in merging.latest_runs(repo, suite.sha) if run.suite is suite]
        status, conclusion = _suite_state(runs)
        at = f"{self.at(repo)}/check-suites/{suite.id}"
        return {
            "id": suite.id,
            "node_id": node_id("CS", suite.id),
            "head_branch": None,
            "head_sha": suite.sha,
            "status": status,
            "conclusion": conclusion,
            "url": at,
            "before": None,
            "after": suite.sha,
            "pull_requests": [],
            "app": self.app(suite.app),
            "repository": self.repository(repo),
            "created_at": stamp(suite.created_at),
            "updated_at": stamp(suite.updated_at),
            "head_commit": self._simple_commit(repo, suite.sha),
            "latest_check_runs_count": len(runs),
            "check_runs_url": f"{at}/check-runs",
        }

    def _simple_commit(self, repo: Repository, sha: str) -> Json:
        facts = repo.bare.commit_facts(sha)
        return {
            "id": sha,
            "tree_id": facts.tree,
            "message": facts.message,
            "timestamp": stamp(facts.date),
            "author": {"name": facts.author.name, "email": facts.author.email},
            "committer": {"name": facts.committer.name, "email": facts.committer.email},
        }

    def status(self, repo: Repository, status: Status) -> Json:
        return {
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "url": f"{self.at(repo)}/statuses/{status.sha}",
            "avatar_url": None,
            "state": status.state,
            "description": None,
            "target_url": None,
            "context": status.context,
            "created_at": stamp(status.created_at),
            "updated_at": stamp(status.created_at),
        }

    def commit(self, repo: Repository, sha: str) -> Json:
        facts = repo.bare.commit_facts(sha)
        at = f"{self.at(repo)}/commits/{sha}"
        git_at = f"{self.at(repo)}/git/commits/{sha}"
        page = f"{self.page(repo)}/commit"

        def person(who: Any) -> Json:
            return {"name": who.name, "email": who.email, "date": stamp(facts.date)}

        return {
            "sha": sha,
            "node_id": node_id("C", int(sha[:12], 16)),
            "url": at,
            "html_url": f"{page}/{sha}",
            "comments_url": f"{at}/comments",
            "commit": {
                "url": git_at,
                "author": person(facts.author),
                "committer": person(facts.committer),
                "message": facts.message,
                "tree": {"sha": facts.tree, "url": f"{self.at(repo)}/git/trees/{facts.tree}"},
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
            "author": None,
            "committer": None,
            "parents": [
                {"sha": parent, "url": f"{self.at(repo)}/commits/{parent}", "html_url": f"{page}/{parent}"}
                for parent in facts.parents
            ],
        }

    def branch(self, repo: Repository, name: str, sha: str) -> Json:
        protection = repo.protections.get(name)
        if protection is not None and protection.by_rules:
            protection = None
        at = f"{self.at(repo)}/branches/{name}"
        contexts = protection.checks if protection else []
        return {
            "name": name,
            "commit": self.commit(repo, sha),
            "_links": {"self": at, "html": f"{self.page(repo)}/tree/{name}"},
            "protected": protection is not None,
            "protection": {
                "enabled": protection is not None,
                "required_status_checks": {
                    "enforcement_level": "non_admins" if contexts else "off",
                    "contexts": contexts,
                    "checks": [{"context": context, "app_id": None} for context in contexts],
                },
            },
            "protection_url": f"{at}/protection",
        }

    def rules(self, repo: Repository, protection: Protection) -> list[Json]:
        where = {"ruleset_source_type": "Repository", "ruleset_source": repo.full_name, "ruleset_id": repo.id}
        rules: list[Json] = []
        if protection.checks:
            parameters = {
                "required_status_checks": [{"context": context} for context in protection.checks],
                "strict_required_status_checks_policy": protection.strict,
            }
            rules.append({"type": "required_status_checks", "parameters": parameters, **where})
        return rules

    def ref(self, repo: Repository, ref: str, sha: str) -> Json:
        return {
            "ref": ref,
            "node_id": node_id("REF", int(sha[:12], 16)),
            "url": f"{self.at(repo)}/git/{ref}",
            "object": {"sha": sha, "type": "commit", "url": f"{self.at(repo)}/git/commits/{sha}"},
        }

    def activity(self, activity: Activity) -> Json:
        return {
            "id": activity.id,
            "node_id": node_id("PSH", activity.id),
            "before": activity.before,
            "after": activity.after,
            "ref": activity.ref,
            "timestamp": stamp(activity.timestamp),
            "activity_type": activity.type,
            "actor": self.maybe_user(activity.actor),
        }


def _test_merge(pull: Pull) -> str | None:
    """An open PR shows the commit of GitHub's own test merge here, so the field alone never means merged."""
    if pull.unknown_reads or pull.issue.state != "open":
        return None
    return pull.head_sha[::-1]


def _suite_state(runs: list[CheckRun]) -> tuple[str, str | None]:
    if not runs:
        return "queued", None
    if any(run.status != "completed" for run in runs):
        return "in_progress", None
    bad = [run.conclusion for run in runs if run.conclusion not in merging.GREEN]
    return "completed", bad[0] if bad else "success"
