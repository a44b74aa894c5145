"""User verbs of CI: what apps post on commits, as tests and the demo say it."""

from __future__ import annotations

from orchestrator.twin import checks
from orchestrator.twin.checks import CheckRun, Status, Suite
from orchestrator.twin.handles import Handle, PullHandle
from orchestrator.twin.world import Repository, World


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
            _new_run(self.world, self.thing, self._suite(_sha(target), app), name).status = "in_progress"

    def concludes(self, target: PullHandle | str, name: str, conclusion: str, app: str = "github-actions") -> None:
        """The unfinished run of this name and app ends; where none is unfinished, a new run does."""
        with self.looking() as world:
            _conclude(world, self.thing, self._suite(_sha(target), app), name, conclusion)

    def starts(self, target: PullHandle | str, workflow: str, event: str = "pull_request") -> WorkflowRun:
        """GitHub Actions begins a run of a workflow, beside those that are there; it is not over before it `ends`."""
        with self.looking() as world:
            app, now = world.app(checks.ACTIONS), world.now()
            suite = Suite(world.new_id(), app, _sha(target), now, now, workflow, event, more_to_come=True)
            self.thing.suites.append(suite)
            return WorkflowRun(world, self._url, self.thing, suite)

    def queues_suite(self, target: PullHandle | str, app: str) -> None:
        """A suite that stays queued without any run, as installed apps leave behind."""
        with self.looking():
            self._suite(_sha(target), app)

    def status(self, target: PullHandle | str, context: str, state: str) -> None:
        """Post a commit status: success, failure, error or pending."""
        with self.looking() as world:
            self.thing.statuses.append(Status(world.new_id(), _sha(target), context, state, world.now()))

    def _suite(self, sha: str, app: str) -> Suite:
        who = self.world.app(app)
        for suite in self.thing.suites:
            if suite.sha == sha and suite.app is who:
                return suite
        made = Suite(self.world.new_id(), who, sha, self.world.now(), self.world.now())
        self.thing.suites.append(made)
        return made


class WorkflowRun(Handle):
    """One run of a workflow. A job that waits for others shows nothing before they are over."""

    def __init__(self, world: World, url: str, repo: Repository, suite: Suite) -> None:
        super().__init__(world, url)
        self._repo = repo
        self._suite = suite

    def passes(self, job: str) -> None:
        """A job succeeds."""
        self.concludes(job, "success")

    def fails(self, job: str) -> None:
        """A job fails."""
        self.concludes(job, "failure")

    def concludes(self, job: str, conclusion: str) -> None:
        """A job ends, whether it was seen to begin or not."""
        with self.looking() as world:
            _conclude(world, self._repo, self._suite, job, conclusion)

    def ends(self, without_a_run: str | None = None) -> None:
        """No job is left to begin; `without_a_run`: the conclusion of one that never could."""
        with self.looking() as world:
            self._suite.more_to_come, self._suite.updated_at = False, world.now()
            self._suite.ended = without_a_run


def _conclude(world: World, repo: Repository, suite: Suite, name: str, conclusion: str) -> None:
    begun = [run for run in checks.latest_runs(repo, suite.sha) if run.suite is suite and run.name == name]
    run = begun[0] if begun and begun[0].status != "completed" else _new_run(world, repo, suite, name)
    run.status, run.conclusion, run.completed_at = "completed", conclusion, world.now()
    suite.updated_at = world.now()


def _new_run(world: World, repo: Repository, suite: Suite, name: str) -> CheckRun:
    run = CheckRun(world.new_id(), suite, name, world.now())
    repo.check_runs.append(run)
    return run


def _sha(target: PullHandle | str) -> str:
    return target if isinstance(target, str) else target.pull.head_sha
