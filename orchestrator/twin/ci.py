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
            self._new_run(target, name, app).status = "in_progress"

    def concludes(self, target: PullHandle | str, name: str, conclusion: str, app: str = "github-actions") -> None:
        """The unfinished run of this name and app ends; where none is unfinished, a new run does."""
        with self.looking() as world:
            sha = _sha(target)
            latest = checks.latest_runs(self.thing, sha)
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
