"""User verbs: what people and CI do on GitHub, as tests and the demo say it.

None of it passes through HTTP, so the journal holds only what the program under test did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from orchestrator.twin import acts, merging, pushes
from orchestrator.twin.handles import CommentHandle, Handle, IssueHandle, PullHandle, RepoHandle
from orchestrator.twin.repository import BareRepository
from orchestrator.twin.world import CheckRun, Repository, Status, Suite, User, World

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
                acts.rewrite(world, target.thing, body)

    def retitles(self, target: IssueHandle, title: str) -> None:
        """Change a title."""
        with self.looking() as world:
            acts.rename(world, target.thing, self.thing, title)

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
    ) -> PullHandle:
        """Open a PR for a branch of the repository itself; `base` is the default branch unless named."""
        with self.looking() as world:
            into = base or repo.thing.default_branch
            pull = acts.open_pull(world, repo.thing, self.thing, (repo.thing, head), into, title, body, draft)
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

    def merges(self, pr: PullHandle) -> str:
        """Press the squash button; NotMerged as the endpoint refuses."""
        with self.looking() as world:
            return merging.squash(world, pr.pull, self.thing)

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

    def approves(self, pr: PullHandle, body: str = "") -> None:
        """Submit an approving review."""
        with self.looking() as world:
            acts.review(world, pr.pull, self.thing, "APPROVED", body, pr.pull.head_sha)

    def requests_changes(self, pr: PullHandle, body: str = "Please change this.") -> None:
        """Submit a review that asks for changes."""
        with self.looking() as world:
            acts.review(world, pr.pull, self.thing, "CHANGES_REQUESTED", body, pr.pull.head_sha)


class Ci(Handle):
    """What posts checks and statuses on commits of one repository. None of it moves a PR's `updated_at`."""

    def __init__(self, world: World, url: str, repo: Repository) -> None:
        super().__init__(world, url)
        self.thing = repo

    def passes(self, target: PullHandle | str, name: str, app: str = "github-actions") -> None:
        """A check run succeeds."""
        self.concludes(target, name, "success", app)

    def fails(self, target: PullHandle | str, name: str, app: str = "github-actions") -> None:
        """A check run fails."""
        self.concludes(target, name, "failure", app)

    def runs(self, target: PullHandle | str, name: str, app: str = "github-actions") -> None:
        """A check run is in progress."""
        with self.looking():
            self._new_run(target, name, app).status = "in_progress"

    def concludes(self, target: PullHandle | str, name: str, conclusion: str, app: str = "github-actions") -> None:
        """The unfinished run of this name and app ends; where none is unfinished, a new run does."""
        with self.looking() as world:
            sha = _sha(target)
            latest = merging.latest_runs(self.thing, sha)
            mine = [run for run in latest if run.name == name and run.suite.app is world.app(app)]
            run = mine[0] if mine and mine[0].status != "completed" else self._new_run(target, name, app)
            run.status, run.conclusion, run.completed_at = "completed", conclusion, world.now()
            run.suite.updated_at = world.now()

    def queues_suite(self, target: PullHandle | str, app: str) -> None:
        """A suite that stays queued without any run, as installed apps leave behind."""
        with self.looking():
            self._suite(_sha(target), app)

    def status(self, target: PullHandle | str, context: str, state: str) -> None:
        """Post a commit status: success, failure, error or pending."""
        with self.looking() as world:
            self.thing.statuses.append(Status(world.new_id(), _sha(target), context, state, world.now()))

    def _new_run(self, target: PullHandle | str, name: str, app: str) -> CheckRun:
        run = CheckRun(self.world.new_id(), self._suite(_sha(target), app), name, self.world.now())
        self.thing.check_runs.append(run)
        return run

    def _suite(self, sha: str, app: str) -> Suite:
        who = self.world.app(app)
        for suite in self.thing.suites:
            if suite.sha == sha and suite.app is who:
                return suite
        made = Suite(self.world.new_id(), who, sha, self.world.now(), self.world.now())
        self.thing.suites.append(made)
        return made


def _sha(target: PullHandle | str) -> str:
    return target if isinstance(target, str) else target.pull.head_sha
