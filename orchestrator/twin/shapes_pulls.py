"""World objects as GitHub's JSON: PRs, files, reviews."""

from __future__ import annotations

from urllib.parse import quote

from orchestrator.twin import merging
from orchestrator.twin.diffs import FileChange
from orchestrator.twin.shapes import Json, maybe_stamp, stamp
from orchestrator.twin.shapes_code import CodeShapes
from orchestrator.twin.world import Pull, Repository, Review, ReviewComment, User, node_id


class PullShapes(CodeShapes):
    """All bodies."""

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
            rebaseable=mergeable and merging.rebaseable(pull),
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


def _test_merge(pull: Pull) -> str | None:
    """An open PR shows the commit of GitHub's own test merge here, so the field alone never means merged."""
    if pull.unknown_reads or pull.issue.state != "open":
        return None
    return pull.head_sha[::-1]
