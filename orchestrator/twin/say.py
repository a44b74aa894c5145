"""User verbs: what people do on GitHub, as tests and the demo say it.

None of it passes through HTTP, so the journal holds only what the program under test did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from orchestrator.twin import acts, merging, pushes, queue
from orchestrator.twin.handles import (
    CommentHandle,
    Handle,
    IssueHandle,
    PullHandle,
    RepoHandle,
    ReviewHandle,
    ThreadHandle,
)
from orchestrator.twin.repository import BareRepository
from orchestrator.twin.world import Repository, User, World

Files: TypeAlias = Mapping[str, "str | bytes | None"]  # None deletes


class Person(Handle):
    """Somebody with an account."""

    def __init__(self, world: World, url: str, user: User) -> None:
        super().__init__(world, url)
        self.thing = user

    @property
    def login(self) -> str:
        return self.thing.login

    @property
    def id(self) -> int:
        return self.thing.id

    def opens_issue(
        self, repo: RepoHandle, title: str, body: str | None = "", labels: tuple[str, ...] = ()
    ) -> IssueHandle:
        """Open an issue, with labels if wanted."""
        with self.looking() as world:
            issue = acts.open_issue(world, repo.thing, self.thing, title, body)
            for name in labels:
                acts.add_label(world, issue, self.thing, name)
            return IssueHandle(world, self._url, issue)

    def labels(self, target: IssueHandle, *names: str) -> None:
        """Put labels on."""
        with self.looking() as world:
            for name in names:
                acts.add_label(world, target.thing, self.thing, name)

    def unlabels(self, target: IssueHandle, *names: str) -> None:
        """Take labels off."""
        with self.looking() as world:
            for name in names:
                acts.remove_label(world, target.thing, self.thing, name)

    def comments(self, target: IssueHandle, body: str) -> CommentHandle:
        """Comment on an issue or PR."""
        with self.looking() as world:
            return CommentHandle(world, self._url, acts.add_comment(world, target.thing, self.thing, body))

    def edits(self, target: CommentHandle | IssueHandle, body: str) -> None:
        """Change the text of a comment, or the body of an issue or PR."""
        with self.looking() as world:
            if isinstance(target, CommentHandle):
                acts.edit_comment(world, target.thing, body)
            else:
                acts.rewrite(world, target.thing, self.thing, body)

    def renames(self, target: IssueHandle, title: str) -> None:
        """Change the title of an issue or PR."""
        with self.looking() as world:
            acts.rename(world, target.thing, self.thing, title)

    def minimizes(self, comment: CommentHandle, minimized: bool = True) -> None:
        """Hide a comment (as spam, off topic ...), or show it again; moves no time."""
        with self.looking():
            comment.thing.minimized = minimized

    def deletes(self, comment: CommentHandle) -> None:
        """Delete a comment."""
        with self.looking():
            acts.delete_comment(comment.thing)

    def locks(self, target: IssueHandle) -> None:
        """Lock a conversation."""
        with self.looking() as world:
            target.thing.locked = True
            acts.add_event(world, target.thing, "locked", self.thing)
            acts.touch(world, target.thing)

    def transfers(self, issue: IssueHandle, to: RepoHandle) -> None:
        """Move an issue to another repository; the handle follows it, the old number answers 301."""
        with self.looking() as world:
            acts.transfer(world, issue.thing, to.thing, self.thing)

    def deletes_issue(self, issue: IssueHandle) -> None:
        """Delete an issue: its number answers 410."""
        with self.looking():
            acts.delete_issue(issue.thing)

    def blocks(self, repo: RepoHandle, person: Person) -> None:
        """Block somebody: whatever they would post here is 403."""
        with self.looking():
            repo.thing.blocked.add(person.id)

    def unlocks(self, target: IssueHandle) -> None:
        """Unlock a conversation."""
        with self.looking() as world:
            target.thing.locked = False
            acts.add_event(world, target.thing, "unlocked", self.thing)
            acts.touch(world, target.thing)

    def closes(self, target: IssueHandle) -> None:
        """Close an issue or PR."""
        with self.looking() as world:
            acts.close(world, target.thing, self.thing)

    def reopens(self, target: IssueHandle) -> None:
        """Open it again."""
        with self.looking() as world:
            acts.reopen(world, target.thing, self.thing)

    def pushes(
        self, repo: RepoHandle, branch: str, files: Files, message: str = "Change", date: int | None = None
    ) -> str:
        """Commit on top of a branch (a new one starts at the default branch) and push; the new SHA.

        `date`: seconds for author and committer date, which anybody may choose; the push itself happens now.
        """
        with self.looking():
            parent = repo.thing.tip(branch) or repo.thing.tip(repo.thing.default_branch)
            return self._push(repo.thing, branch, parent, files, message, date)

    def force_pushes(
        self,
        repo: RepoHandle,
        branch: str,
        files: Files | None = None,
        message: str = "Rewrite",
        sha: str | None = None,
    ) -> str:
        """Replace a branch: by one new commit on the default branch, or by `sha`."""
        with self.looking() as world:
            if sha is not None:
                pushes.push(world, repo.thing, branch, sha, self.thing)
                return sha
            parent = repo.thing.tip(repo.thing.default_branch)
            return self._push(repo.thing, branch, parent, files or {}, message, None)

    def _push(
        self, repo: Repository, branch: str, parent: str | None, files: Files, message: str, date: int | None
    ) -> str:
        when = self.world.now() if date is None else date
        sha = repo.bare.commit(parent, files, message, self.thing.person, when)
        pushes.push(self.world, repo, branch, sha, self.thing)
        return sha

    def deletes_branch(self, repo: RepoHandle, branch: str) -> None:
        """Delete a branch."""
        with self.looking() as world:
            repo.thing.bare.delete_ref(f"{pushes.BRANCHES}{branch}")
            pushes.moved(world, repo.thing, f"{pushes.BRANCHES}{branch}", None, self.thing)

    def opens_pr(
        self,
        repo: RepoHandle,
        head: str,
        base: str | None = None,
        title: str = "Change something",
        body: str | None = "",
        draft: bool = False,
        into: RepoHandle | None = None,
    ) -> PullHandle:
        """Open a PR for a branch of the repository; `base` is the default branch unless named.

        `into`: in the repository that it is a fork of.
        """
        with self.looking() as world:
            place = (into or repo).thing
            onto = base or place.default_branch
            pull = acts.open_pull(world, place, self.thing, (repo.thing, head), onto, title, body, draft)
            return PullHandle(world, self._url, pull)

    def opens_fork_pr(
        self,
        repo: RepoHandle,
        files: Files,
        head: str = "patch-1",
        base: str | None = None,
        title: str = "Change something",
        body: str | None = "",
        draft: bool = False,
    ) -> PullHandle:
        """Fork the repository, push `files` to a branch of the fork and open a PR from there."""
        with self.looking() as world:
            fork = self._fork(repo.thing)
            self._push(fork, head, fork.tip(head) or fork.tip(fork.default_branch), files, title, None)
            into = base or repo.thing.default_branch
            pull = acts.open_pull(world, repo.thing, self.thing, (fork, head), into, title, body, draft)
            return PullHandle(world, self._url, pull)

    def fork_of(self, repo: RepoHandle) -> RepoHandle:
        """This person's fork, made when it is new."""
        with self.looking() as world:
            return RepoHandle(world, self._url, self._fork(repo.thing))

    def _fork(self, origin: Repository) -> Repository:
        world = self.world
        for repo in world.repos.values():
            if repo.parent is origin and repo.owner is self.thing:
                return repo
        number = world.new_id()
        bare = BareRepository(world.root / f"{number}.git")
        bare.create_fork_of(origin.bare, origin.default_branch)
        fork = Repository(
            number, self.thing, origin.name, bare, origin.default_branch, world.now(), world.now(), origin.private
        )
        fork.parent = origin
        fork.refs = bare.refs()
        world.repos[number] = fork
        return fork

    def merges(self, pr: PullHandle, method: str = "squash") -> str:
        """Press the button for this method (squash, merge, rebase); NotMerged as the endpoint refuses."""
        with self.looking() as world:
            return merging.merge(world, pr.pull, self.thing, merging.Order(method))

    def enqueues(self, pr: PullHandle) -> None:
        """Press "Merge when ready" where a merge queue is demanded; NotQueued as GitHub refuses."""
        with self.looking() as world:
            queue.enter(world, pr.pull, self.thing)

    def drafts(self, pr: PullHandle) -> None:
        """Convert to draft."""
        with self.looking() as world:
            acts.set_draft(world, pr.pull, self.thing, True)

    def readies(self, pr: PullHandle) -> None:
        """Mark ready for review."""
        with self.looking() as world:
            acts.set_draft(world, pr.pull, self.thing, False)

    def retargets(self, pr: PullHandle, base: str) -> None:
        """Choose another base branch."""
        with self.looking() as world:
            acts.retarget(world, pr.pull, self.thing, base)

    def approves(self, pr: PullHandle, body: str = "") -> ReviewHandle:
        """Submit an approving review."""
        return self._reviews(pr, "APPROVED", body)

    def requests_changes(self, pr: PullHandle, body: str = "Please change this.") -> ReviewHandle:
        """Submit a review that asks for changes."""
        return self._reviews(pr, "CHANGES_REQUESTED", body)

    def reviews(self, pr: PullHandle, body: str = "I have read it.") -> ReviewHandle:
        """Submit a review that only comments."""
        return self._reviews(pr, "COMMENTED", body)

    def _reviews(self, pr: PullHandle, state: str, body: str) -> ReviewHandle:
        with self.looking() as world:
            made = acts.review(world, pr.pull, self.thing, state, body, pr.pull.head_sha)
            return ReviewHandle(world, self._url, pr.pull, made)

    def dismisses(self, review: ReviewHandle) -> None:
        """Dismiss somebody's review: it counts for nothing, and lists show DISMISSED."""
        with self.looking() as world:
            acts.dismiss(world, review.pull, self.thing, review.thing)

    def starts_thread(self, pr: PullHandle, path: str, line: int, body: str = "Why?") -> ThreadHandle:
        """Comment on a line of the head, with a review; the conversation is unresolved."""
        with self.looking() as world:
            review = acts.review(world, pr.pull, self.thing, "COMMENTED", "", pr.pull.head_sha)
            made = acts.review_comment(world, review, path, body, "@@ -0,0 +1 @@", line, "RIGHT", None)
            return ThreadHandle(world, self._url, made)

    def resolves(self, thread: ThreadHandle) -> None:
        """Mark a conversation as resolved; moves no time."""
        with self.looking():
            thread.thing.resolved = True
