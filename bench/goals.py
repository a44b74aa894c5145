"""Every goal, in one place: what a row of the table is held against. Ratios are medians of ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """Met when the figure lies within; `words` as the table shows it."""

    scenario: int
    words: str
    most: float | None = None
    least: float | None = None

    def met(self, figure: float) -> bool:
        """Whether the figure is as good as wanted; what was only looked at is always."""
        return (self.most is None or figure <= self.most) and (self.least is None or figure >= self.least)

    @property
    def is_wish(self) -> bool:
        """Whether there is anything to meet."""
        return self.most is not None or self.least is not None


GOALS = {
    "pipeline.small": Goal(1, "≤ 1.15x the shell script", most=1.15),
    "pipeline.large": Goal(1, "≤ 1.05x the shell script", most=1.05),
    "pipeline.cpu": Goal(1, "≤ 20 ms of our CPU", most=20),
    "pipeline.writes": Goal(1, "≤ 15 writes", most=15),
    "pipeline.sandbox": Goal(1, "told, no goal"),
    "spawn.excess": Goal(2, "≤ floor + 250 ms", most=250),
    "spawn.writes": Goal(2, "no write awaited", most=0),
    "idle.cpu": Goal(3, "≤ 1.3x a bare 304", most=1.3),
    "idle.requests": Goal(3, "2 requests per repo", most=2),
    "idle.quota": Goal(3, "0 counted", most=0),
    "idle.slope": Goal(3, "slope ≤ 0.10", most=0.10),
    "changed.cpu": Goal(4, "≤ 1.5x a page of raw JSON", most=1.5),
    "changed.requests": Goal(4, "≤ 3 requests", most=3),
    "changed.slope": Goal(4, "slope ≤ 0.10", most=0.10),
    "cold.cpu": Goal(5, "≤ 1.3x raw JSON paging", most=1.3),
    "cold.requests": Goal(5, "≤ ceil(N/100)+1 per list", most=0),
    "cold.slope": Goal(5, "slope ≤ 1.05", most=1.05),
    "cold.found": Goal(5, "every trigger found", least=1),
    "fanout.rate": Goal(6, "≥ 0.85x the shell loop", least=0.85),
    "fanout.failures": Goal(6, "0 git failures", most=0),
    "fanout.scaling": Goal(6, "8 at a time ≥ 2", least=1.0),
    "tree.create": Goal(7, "≤ 1.05x worktree add", most=1.05),
    "tree.release": Goal(7, "≤ 25 ms in front", most=25),
    "tree.disk": Goal(7, "back to ± 1 MB", most=1),
    "trees.many": Goal(8, "≤ 2.5x at 100", most=2.5),
    "trees.slope": Goal(8, "told, no goal"),
    "state.update": Goal(9, "≤ 4x a bare atomic write", most=4),
    "state.update.huge": Goal(9, "≤ 10x at 10,000", most=10),
    "state.load": Goal(9, "≤ 1.5x json.loads", most=1.5),
    "state.slope": Goal(9, "told, no goal"),
    "crash.lost": Goal(10, "0 lost", most=0),
    "crash.twice": Goal(10, "0 done twice", most=0),
    "crash.left": Goal(10, "0 processes left", most=0),
    "crash.ready": Goal(10, "≤ 2 s + 10 ms x N", most=0),
    "firehose.rate": Goal(11, "≥ 150 MB/s", least=150),
    "firehose.memory": Goal(11, "≤ 8 MB more", most=8),
    "firehose.lost": Goal(11, "nothing lost", most=0),
    "storm.cpu": Goal(12, "≤ 1.5x a plain reader", most=1.5),
    "storm.late": Goal(12, "p99 ≤ 50 ms", most=50),
    "storm.jitter": Goal(12, "ticks ≤ 100 ms late", most=100),
    "storm.lost": Goal(12, "nothing lost", most=0),
    "kill.one": Goal(13, "≤ grace + 100 ms", most=100),
    "kill.many": Goal(13, "≤ grace + 100 ms", most=100),
    "kill.left": Goal(13, "0 processes left", most=0),
    "cli.help": Goal(14, "≤ 6x a bare interpreter", most=6),
    "cli.version": Goal(14, "≤ 6x a bare interpreter", most=6),
    "cli.completion": Goal(14, "≤ 6x a bare interpreter", most=6),
    "cli.status": Goal(14, "≤ 7x a bare interpreter", most=7),
    "cli.sockets": Goal(14, "0 sockets", most=0),
    "cli.imports": Goal(14, "none of the heavy ones", most=0),
    "soak.memory": Goal(15, "≤ 1.25x after import", most=1.25),
    "soak.growth": Goal(15, "≤ 2 MB per 10,000 polls", most=2),
    "soak.cpu": Goal(15, "≤ 1.0 ms per request", most=1.0),
    "soak.files": Goal(15, "constant", most=0),
    "merges.ratio": Goal(16, "≤ 1.10x the shell loop", most=1.10),
    "merges.slope": Goal(16, "slope ≤ 1.05", most=1.05),
    "peer.help": Goal(17, "≤ 0.45x the peer", most=0.45),
    "peer.tick": Goal(17, "≤ 0.7x the peer's CPU", most=0.7),
    "peer.state": Goal(17, "≤ 0.5x the peer", most=0.5),
    "peer.seen": Goal(17, "told, no goal"),
    "walls.command": Goal(18, "≤ 20 ms at p95", most=20),
    "walls.agent": Goal(18, "≤ 20 ms at p95", most=20),
}
