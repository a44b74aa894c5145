"""One run of the story with its crashes, and what came of it, compared with the run that nothing disturbed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crashes import sight
from tests.crashes.points import Orders, Point
from tests.crashes.stage import Broken, Snapshot, Stage

Plan = tuple[Point, ...]


@dataclass(frozen=True)
class Golden:
    """The run without a crash."""

    points: tuple[Point, ...]
    seen: Counter[str]
    runs: Counter[str]


@dataclass(frozen=True)
class Verdict:
    """What came of one plan. `crashes`: how many happened, for a second point may not be come by again."""

    plan: Plan
    crashes: int = 0
    duplicates: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    extra_runs: int = 0
    processes: tuple[str, ...] = ()
    worktrees: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def good(self) -> bool:
        """One of everything, nothing lost, nothing left, and not more agent runs than crashes."""
        left = self.duplicates or self.lost or self.processes or self.worktrees or self.trouble
        return not left and self.extra_runs <= self.crashes

    def __str__(self) -> str:
        where = ", ".join(f"{point} ({point.what})" for point in self.plan)
        kinds = ("duplicates", "lost", "processes", "worktrees")
        said = [f"{kind}: {line}" for kind in kinds for line in getattr(self, kind)]
        said += [f"agent runs too many: {self.extra_runs}"] * (self.extra_runs > self.crashes)
        said += [self.trouble] * bool(self.trouble)
        return "\n  ".join([f"--plan {','.join(map(str, self.plan))}  {where}", *(said or ["as without a crash"])])


@dataclass(frozen=True)
class Ahead:
    """A point of the run after a crash, and the world in which a crash there would leave the daemon."""

    point: Point
    world: str
    runs: int


class Bench:
    """A stage on which plans are tried, one after the other."""

    def __init__(self, folder: Path, golden: Golden | None = None) -> None:
        """Without a `golden` one is made."""
        self.stage = Stage(folder)
        self._pristine = self.stage.snapshot()
        try:
            self.golden = golden or self._golden()
        except BaseException:
            self.close()
            raise

    def _golden(self) -> Golden:
        life = self.stage.live(Orders())
        github, folder = self.stage.github, self.stage.folder
        return Golden(life.points, sight.seen(github), sight.runs(folder))

    def try_out(self, plan: Plan) -> Verdict:
        """The story from its beginning, with these crashes."""
        self.stage.restore(self._pristine)
        return self._finish(plan, 0, plan)

    def crash(self, point: Point, after: Snapshot | None = None) -> Snapshot | None:
        """The story (from there) up to this crash; None when the daemon does not come by."""
        self.stage.restore(after or self._pristine)
        orders = Orders(point, steady=after is not None)
        return self.stage.snapshot() if self.stage.live(orders).killed else None

    def go_on(self, after: Snapshot, *plan: Point) -> Verdict:
        """The rest of the story after the crashes of the plan."""
        self.stage.restore(after)
        return self._finish(plan, len(plan), ())

    @property
    def runs(self) -> int:
        """How many agent runs have begun."""
        return sum(sight.runs(self.stage.folder).values())

    def look_ahead(self, after: Snapshot) -> list[Ahead]:
        """Every point of the run after a crash."""
        self.stage.restore(after)
        found: list[Ahead] = []

        def look(point: Point) -> None:
            found.append(Ahead(point, self.stage.traces(), self.runs))

        self.stage.live(Orders(halting=True, steady=True), look)
        return found

    def _finish(self, plan: Plan, crashes: int, rest: Plan) -> Verdict:
        try:
            for fatal in rest:
                if not self.stage.live(Orders(fatal)).killed:
                    return self.judged(plan, crashes)
                crashes += 1
            self.stage.live(Orders())
        except Broken as broken:
            return Verdict(plan, crashes, trouble=str(broken))
        return self.judged(plan, crashes)

    def judged(self, plan: Plan, crashes: int) -> Verdict:
        """What came of the story that has just ended, compared with the one without a crash."""
        github, folder = self.stage.github, self.stage.folder
        seen, runs = sight.seen(github), sight.runs(folder)
        return Verdict(
            plan,
            crashes,
            duplicates=tuple((seen - self.golden.seen).elements()),
            lost=tuple((self.golden.seen - seen).elements()),
            extra_runs=sum((runs - self.golden.runs).values()),
            processes=tuple(sight.processes(folder, github.url)),
            worktrees=tuple(sight.worktrees(folder)),
            trouble="; ".join(github.journal.unknown),
        )

    def close(self) -> None:
        self.stage.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
