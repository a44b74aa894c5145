"""One simulation from its seed: so many steps of people, faults, crashes and time, then calm, until all is at rest."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from orchestrator.agents.base import Outcome
from orchestrator.twin.faults import Fault, html, reset, status
from tests.histories import acts
from tests.simulation import people
from tests.simulation.agent import Service
from tests.simulation.disk import Loss
from tests.simulation.ears import Ears
from tests.simulation.stage import SimStage
from tests.simulation.watcher import Watcher
from tests.simulation.weather import SECONDARY, Outage, spent

HOUR = 3600.0
LENGTH = 100  # steps of one simulation
WAITS = (0, 0, 1, 5, 20, 62, 62, 130, 130, 300, 900)
SLEEPS = (300.0, HOUR, 8 * HOUR)
EDGES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
LOSSES = [Loss.NOTHING] * 6 + [Loss.FILE, Loss.TORN, Loss.ALL]
DOWN = [[status(503)], [status(500), reset(), html()], [status(401)], [status(429, SECONDARY, {"Retry-After": "60"})]]
PLACES = [*["PUT */merge"] * 3, "POST pulls", "POST pulls/*/reviews", "POST issues/*/comments", "POST */labels"]
PLACES += ["DELETE */labels/*", "PATCH issues/*", "DELETE */heads/*", "POST */git-receive-pack"]
SERVICE = [Outcome.USAGE_LIMIT, Outcome.USAGE_LIMIT, Outcome.TRANSIENT, Outcome.AUTH, Outcome.BILLING, Outcome.MISSING]
CALM = 400  # looks until everything must be at rest


class Broken(AssertionError):
    """What did not hold, and how to see it again."""


class Episode:
    """`run` it once."""

    def __init__(self, folder: Path, ears: Ears, seed: int, length: int = LENGTH) -> None:
        self.seed = seed
        self.length = length
        self.tally: Counter[str] = Counter()
        self.log: list[str] = []
        self._dice = random.Random(seed)
        random.seed(seed)  # what libraries draw from
        self.stage = SimStage(folder, ears, seed, self._dice.choice((60.0, 120.0, 300.0)))
        self._ears = ears
        self._watcher = Watcher(self.stage)
        self.stage.weather.share = self._dice.choice((0.0, 0.0, 0.01, 0.05))
        self.stage.weather.slow = self._dice.choice((0.0, 0.02))

    def run(self) -> Counter[str]:
        """What it was made of. Broken, with the seed and the way there, when something does not hold."""
        try:
            people.begins(self.stage, self._dice)
            for number in range(self.length):
                self._step(number)
            self._rest()
            self._count()
        finally:
            self.stage.close()
        return self.tally

    def _step(self, number: int) -> None:
        kinds, weights = zip(*STEPS, strict=True)
        kind = self._dice.choices(kinds, weights)[0]
        word = kind(self)
        seconds = self._dice.choice(WAITS)
        self.log.append(f"{number:3} {self.stage.now() - 1_790_000_000:9.0f} s  {word}, then {seconds} s")
        self.stage.passes(seconds)
        self._look(self._watcher.check())
        self.tally["steps"] += 1

    def _look(self, wrong: list[str]) -> None:
        if wrong:
            way = "\n".join(self.log)
            said = "\n".join(self._ears.lines)
            raise Broken(f"seed {self.seed}, {self.length} steps:\n{way}\n{said}\n" + "\n".join(wrong))

    def _rest(self) -> None:
        """Nothing fails any more; time passes until nothing is under way and nothing begins."""
        stage = self.stage
        stage.weather.fine()
        stage.github.world.lags.clear()
        stage.wire.stale_until = 0.0
        stage.disk.full = False
        stage.dies_after(0, Loss.NOTHING, 0)
        stage.agent.service, stage.agent.luck = Service(), False
        stage.jumps(HOUR)
        before = None
        for number in range(CALM):
            stage.passes(2 * stage.settings.poll_interval + 10 * number)
            now = [(job.key, job.status, job.trigger) for job in stage.jobs]
            if stage.calm() and now == before:
                break
            before = now
        self.log.append(f"    {stage.now() - 1_790_000_000:9.0f} s  at rest")
        self._look(self._watcher.rest())

    def _count(self) -> None:
        stage = self.stage
        self.tally.update(
            deaths=stage.deaths,
            restarts=stage.restarts,
            faults=stage.weather.struck,
            runs=stage.agent.runs,
            merges=stage.oracle.counts().merges,
            refusals=stage.oracle.counts().refusals,
            reviews=sum(len(pull.reviews) for pull in stage.pulls),
            hours=int((stage.now() - 1_790_000_000) / HOUR),
            writes=len(stage.writes),
            saves=stage.disk.writes,
        )

    # -- kinds of steps

    def somebody_acts(self) -> str:
        weights, deeds = zip(*people.DEEDS, strict=True)
        deed: people.Deed = self._dice.choices(deeds, weights)[0]
        return deed(self.stage, self._dice)

    def time_passes(self) -> str:
        self.stage.passes(self._dice.choice((62.0, 300.0, 900.0)))
        return "time passes"

    def machine_sleeps(self) -> str:
        seconds = self._dice.choice(SLEEPS)
        self.stage.jumps(seconds)
        return f"the machine sleeps {seconds:.0f} s"

    def request_fails(self) -> str:
        error = self._dice.choice(acts.ERRORS)
        self.stage.github.faults.add(Fault(error.match, acts.KINDS[error.kind], error.nth, error.times))
        return f"{error.match} will be {error.kind} ({error.nth}, {error.times} times)"

    def github_is_down(self) -> str:
        seconds = self._dice.choice((60.0, 600.0, HOUR))
        kinds = self._dice.choice([*DOWN, [spent(self.stage.now(), seconds)]])
        self.stage.weather.outage = Outage(kinds, self.stage.now() + seconds, self._dice.random() < 0.5)
        return f"GitHub is down for {seconds:.0f} s: {kinds}"

    def github_is_late(self) -> str:
        kind, reads = self._dice.choice(("comments", "pulls", "merged", "refs")), self._dice.choice((0, 1, 3))
        self.stage.github.lag(kind, reads)
        return f"{kind} are {reads} reads late"

    def github_is_stale(self) -> str:
        seconds = self._dice.choice((120.0, 600.0))
        self.stage.wire.stale_until = self.stage.now() + seconds
        return f"lists do not change for {seconds:.0f} s"

    def agent_is_out(self) -> str:
        outcome, seconds = self._dice.choice(SERVICE), self._dice.choice((30.0, 900.0, 5 * HOUR))
        self.stage.agent.service = Service(outcome, self.stage.now() + seconds, self._dice.random() < 0.7)
        return f"the agent cannot work for {seconds:.0f} s: {outcome.value}"

    def agent_is_back(self) -> str:
        self.stage.agent.service = Service()
        return "the agent can work"

    def daemon_dies(self) -> str:
        edges, loss = self._dice.choice(EDGES), self._dice.choice(LOSSES)
        pause = self._dice.choice((0.0, 5.0, 5.0, HOUR))
        self.stage.dies_after(edges, loss, pause)
        return f"the daemon dies {edges} edges from now, {loss.value} lost, back after {pause:.0f} s"

    def daemon_dies_at(self) -> str:
        place, after = self._dice.choice(PLACES), self._dice.random() < 0.7
        lost = self._dice.random() < 0.2
        self.stage.kills(place, 1, after, lost)
        return f"the daemon dies {'after' if after else 'before'} {place}, {'a generation' if lost else 'nothing'} lost"

    def daemon_restarts(self) -> str:
        lost = self._dice.random() < 0.2
        self.stage.restarts_daemon(lost)
        return f"the daemon is restarted, {'the newest generation' if lost else 'nothing'} lost"

    def disk_is_full(self) -> str:
        self.stage.disk.full = True
        return "the disk is full"

    def disk_has_room(self) -> str:
        self.stage.disk.full = False
        return "the disk has room"

    def something_in_the_midst(self) -> str:
        moment, act = self._dice.choice(acts.MOMENTS), self._dice.choice(acts.INTRUSIONS)
        if self.stage.pulls:
            acts.Midst(moment, act).strike(self.stage)
        return f"at {moment}: {act}"


STEPS = [
    (Episode.somebody_acts, 50),
    (Episode.time_passes, 12),
    (Episode.machine_sleeps, 2),
    (Episode.request_fails, 8),
    (Episode.github_is_down, 2),
    (Episode.github_is_late, 2),
    (Episode.github_is_stale, 1),
    (Episode.agent_is_out, 3),
    (Episode.agent_is_back, 3),
    (Episode.daemon_dies, 8),
    (Episode.daemon_dies_at, 8),
    (Episode.daemon_restarts, 2),
    (Episode.disk_is_full, 1),
    (Episode.disk_has_room, 2),
    (Episode.something_in_the_midst, 4),
]
