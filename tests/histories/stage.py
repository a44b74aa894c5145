"""Where a history happens: one repository, its people, pull requests, the daemon. Two kinds: `fast`, `real`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.daemon import Daemon
from orchestrator.record import Job, Status
from orchestrator.statefile import beside
from orchestrator.twin import Twin
from orchestrator.twin.ci import Ci
from orchestrator.twin.handles import IssueHandle, PullHandle, RepoHandle
from orchestrator.twin.say import Person
from tests.histories.oracle import Oracle

NAME = "acme/app"
BASES = ("main", "release")
PATIENCE = 301.0  # seconds after which a repository that failed is asked again at the latest
COMMAND = "test ! -e bad"  # what the operator demands of a merge
SETTINGS: dict[str, Any] = {
    "github_repo": NAME,
    "review_prs": "off",
    "poll_interval": 60,
    "ci_settle": 60,
    "ci_timeout": 300,
    "pre_merge_commands": (COMMAND,),
    "sandbox": "off",
}


class Stage(ABC):
    """What both kinds share. People act through `people`, `repo`, `ci` and `pulls`, inside of `act`."""

    github: Twin
    repo: RepoHandle
    ci: Ci
    token: str
    daemon: Daemon | None
    state_file: Path

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.pulls: list[PullHandle] = []
        self.issues: list[IssueHandle] = []
        self.restarts = 0
        self.files = 0
        self._within = 0  # acts that happen in the midst of a request

    def furnish(self) -> None:
        """The people, both bases, and the oracle."""
        for login, permission in (("alice", "write"), ("bob", "admin"), ("carol", "write"), ("mallory", "read")):
            self.people[login] = self.github.user(login, self.repo, permission=permission)
        self.people["bot"] = self.github.user("bot", self.repo, permission="write", kind="Bot")
        robot = self.github.user("robot", self.repo, permission="write")
        self.token = self.github.token(robot, limit=100_000)
        self.ci = self.github.ci(self.repo)
        self.people["alice"].pushes(self.repo, BASES[1], {"release.txt": "one"}, "Release")
        self.oracle = Oracle(self.github.world, self.repo.thing, robot.thing, self.since, self.happened)

    def opens(self, base: str, checks: str) -> None:
        """Alice or carol open a pull request, whose checks are `green`, `none`, `pending` or `red`."""
        number = len(self.pulls)
        author = self.people[("alice", "carol")[number % 2]]
        branch = f"topic-{number}"
        author.pushes(self.repo, branch, {f"{branch}.txt": "new"}, f"Work on {branch}")
        pull = author.opens_pr(self.repo, branch, base=base, title=f"Change {branch}")
        self.pulls.append(pull)
        if checks == "green":
            self.ci.passes(pull, "build")
        elif checks == "pending":
            self.ci.runs(pull, "build")
        elif checks == "red":
            self.ci.fails(pull, "build")
        self.oracle.note()

    def see_pulls(self) -> None:
        """People know every pull request there is, also the daemon's."""
        known = {pull.pull for pull in self.pulls}
        world, url = self.github.world, self.github.url
        self.pulls += [PullHandle(world, url, pull) for pull in self.repo.thing.pulls if pull not in known]

    def retries(self, key: str) -> None:
        """`orchestrator retry` while the daemon runs."""
        folder = beside(self.state_file, ".requests")
        folder.mkdir(exist_ok=True)
        (folder / f"{self.happened():09}.json").write_text(json.dumps({"verb": "retry", "key": key}))
        self.count()
        if self.daemon is not None:
            self.daemon.wake.set("asked")

    def act(self, call: Callable[[Stage], None]) -> None:
        """Somebody does something, now."""
        with self.github.world.lock:
            if self._within or self.midst():
                self.oracle.remember()
            call(self)
            self.count()

    def meanwhile(self, match: str, nth: int, call: Callable[[Stage], None], after: bool = False) -> None:
        """As `act`, but around the `nth` request that matches from now on."""

        def happens() -> None:
            with self.inside():
                self.act(call)

        self.github.faults.hook(match, happens, nth, after)

    @contextmanager
    def inside(self) -> Iterator[None]:
        self._within += 1
        try:
            yield
        finally:
            self._within -= 1

    def calm(self) -> bool:
        return all(job.status in (Status.DONE, Status.PARKED) for job in self.jobs)

    def quiet(self, most: int = 400) -> None:
        """Nothing fails any more; time passes until no job is under way, and two polls begin none."""
        self.github.faults.clear()
        self.github.faults._hooks.clear()
        if self.oracle.erred:
            self.jumps(PATIENCE)
        before: list[Job] = []
        for _ in range(most):
            self.passes(122)
            if self.calm() and self.jobs == before:
                return
            before = self.jobs
        raise AssertionError(f"it does not come to rest: {self.jobs}")

    @abstractmethod
    def now(self) -> float: ...

    @abstractmethod
    def happened(self) -> int:
        """How many acts there were."""

    @abstractmethod
    def count(self) -> None:
        """One more act."""

    @abstractmethod
    def since(self) -> int:
        """How many acts there were when the job that calls now began to look."""

    @abstractmethod
    def midst(self) -> bool:
        """Whether a request is under way that takes time."""

    @abstractmethod
    def passes(self, seconds: float) -> None:
        """Time passes for everybody."""

    @abstractmethod
    def jumps(self, seconds: float) -> None:
        """Time passes while the machine sleeps."""

    @abstractmethod
    def restarts_daemon(self, lost: bool) -> None:
        """Stop it in order and start it again; `lost`: without its memory."""

    @abstractmethod
    def kills(self, match: str, nth: int, after: bool, lost: bool) -> None:
        """The daemon dies around a request, and is started again."""

    @property
    @abstractmethod
    def jobs(self) -> list[Job]: ...

    @property
    @abstractmethod
    def writes(self) -> list[tuple[str, str, int]]:
        """Everything the daemon changed: method, path, status."""

    @abstractmethod
    def trouble(self) -> list[str]:
        """What broke in the daemon, and what the local GitHub did not understand."""

    @abstractmethod
    def close(self) -> None: ...
