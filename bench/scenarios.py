"""The scenarios in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import commands, crash, fanout, memory, peer, pipeline, polling, soak, streams, trees, walls
from bench.measure import Bench, Row


@dataclass(frozen=True)
class Scenario:
    """`run` measures and yields rows as they come."""

    number: int
    name: str
    run: Callable[[Bench], Iterator[Row]]


SCENARIOS = (
    Scenario(1, "pipeline", pipeline.pipeline),
    Scenario(2, "label_to_spawn", pipeline.label_to_spawn),
    Scenario(3, "tick_idle", polling.idle),
    Scenario(4, "tick_changed", polling.changed),
    Scenario(5, "tick_cold", polling.cold),
    Scenario(6, "fanout", fanout.fanout),
    Scenario(7, "worktree_cycle", trees.cycle),
    Scenario(8, "worktree_many", trees.many),
    Scenario(9, "state_update", memory.updates),
    Scenario(10, "crash_resume", crash.resume),
    Scenario(11, "firehose", streams.firehose),
    Scenario(12, "storm", streams.storm),
    Scenario(13, "kill_tree", streams.kill_tree),
    Scenario(14, "cli_cold", commands.start),
    Scenario(15, "idle_soak", soak.soak),
    Scenario(16, "merge_queue", fanout.merges),
    Scenario(17, "peer", peer.against),
    Scenario(18, "sandbox_start", walls.start),
)
