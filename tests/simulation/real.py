"""The same people in the real house: HTTP, git, processes and the state file as they are. Slow and short."""

from __future__ import annotations

import random
import shlex
from collections import Counter
from pathlib import Path

import psutil

from orchestrator.model import IN_PROGRESS
from tests.gitremote import run_git
from tests.histories import acts
from tests.histories.oracle import MARK
from tests.histories.real import RealStage
from tests.simulation import people
from tests.simulation.ears import Ears

AGENT = Path(__file__).with_name("agent.sh")
# Without the files of the state a start is a first one, for which what is in progress is somebody else's.
_ALL: list[acts.Restart | acts.Death] = [*acts.RESTARTS, *acts.DEATHS]
ENDS = [end for end in _ALL if not end.lost]
WAITS = (0, 5, 62, 62, 130)


class RealEpisode:
    """`run` it once."""

    def __init__(self, folder: Path, ears: Ears, seed: int, length: int) -> None:
        (folder / "agent").mkdir(parents=True)
        ears.fresh("\0")
        agent = shlex.join(["/bin/sh", str(AGENT), str(folder / "agent")])
        self.stage = RealStage(folder / "house", ears, review_prs="all", claude_command=agent)
        self.seed = seed
        self.length = length
        self.log: list[str] = []
        self._dice = random.Random(seed)
        self._mirror = folder / "house/worktrees/acme/app/mirror.git"
        self._others = psutil.Process().children(recursive=True)  # of other tests in this process

    def run(self) -> Counter[str]:
        """What it was made of; AssertionError with the seed and the way there."""
        stage = self.stage
        try:
            people.begins(stage, self._dice)
            for _ in range(self.length):
                self.log.append(self._step())
                stage.passes(self._dice.choice(WAITS))
                self._look([*stage.trouble(), *stage.oracle.wrong, *self._doubled()])
            stage.quiet()
            stage.see_pulls()
            self._look([*stage.trouble(), *stage.oracle.wrong, *self._doubled(), *self._left()])
            runs = len((self._mirror.parents[4] / "agent/runs").read_text().splitlines())
            return Counter(steps=self.length, restarts=stage.restarts, runs=runs, pulls=len(stage.pulls))
        finally:
            stage.close()

    def _step(self) -> str:
        kind = self._dice.random()
        if kind < 0.6:
            weights, deeds = zip(*people.DEEDS, strict=True)
            return str(self._dice.choices(deeds, weights)[0](self.stage, self._dice))
        if kind < 0.8:
            error = self._dice.choice(acts.ERRORS)
            error.strike(self.stage)
            return str(error)
        happens = self._dice.choice(ENDS)
        happens.strike(self.stage)
        return str(happens)

    def _look(self, wrong: list[str]) -> None:
        assert not wrong, f"seed {self.seed}, {self.length} real steps:\n" + "\n".join([*self.log, *wrong])

    def _doubled(self) -> list[str]:
        stage = self.stage
        robot, repo = stage.oracle.robot, stage.repo.thing
        with stage.github.world.lock:
            opened = Counter(p.head_ref for p in repo.pulls if p.issue.user is robot and p.issue.state == "open")
            for issue in repo.issues.values():
                ours = [c.body for c in issue.comments if c.user is robot and c.body.startswith(MARK)]
                opened.update(body.split(" -->")[0] for body in ours)
            for pull in repo.pulls:
                opened.update(f"review of {r.commit_id}" for r in pull.reviews if r.user is robot)
            return [f"{times} times: {what}" for what, times in opened.items() if times > 1]

    def _left(self) -> list[str]:
        """At rest: no process, no label, no commit of an agent's that nothing leads to."""
        stage = self.stage
        children = (p for p in psutil.Process().children(recursive=True) if p not in self._others)
        found = [f"{p.name()} is left" for p in children if p.status() != "zombie"]
        found += [f"#{issue.number} is still {IN_PROGRESS}" for issue in stage.issues if IN_PROGRESS in issue.labels]
        listed = run_git("fsck", "--unreachable", "--no-reflogs", "--no-progress", cwd=self._mirror).splitlines()
        for sha in (line.split()[2] for line in listed if line.startswith("unreachable commit")):
            subject = run_git("show", "-s", "--format=%s", sha, cwd=self._mirror)
            if not subject.startswith("Merge ") and stage.repo.thing.bare.resolve(sha) is None:
                found.append(f"{sha} ({subject}) is lost")
        return found
