"""The matrix as a table for people."""

from __future__ import annotations

import platform
from collections import Counter

from tests.crashes.matrix import Tally
from tests.crashes.points import WRITE

HEAD = """# The crash matrix

Written by `make crash-matrix`. The golden path (an issue is labelled, implemented, made a pull request, reviewed,
merged by `/merge`, and tidied up) is run with the daemon killed by SIGKILL, and started again until it is quiet. A
point is a moment of the daemon's process: before, inside and after each change of GitHub and each push; before each
step of each state write, with half of the file written, and after it. Every crash that is counted as run really
happened. A second crash that leaves a world (GitHub, state file, mirror, worktrees, agent sessions; times, costs,
random names and what is left of deleted folders apart) from which the story came to its good end before is not run
again. Up to the first crash and after the last one polls come while jobs are under way; between two crashes they take
turns, so that the points that were looked at are come by again. The agent is a shell script, GitHub the local one.
"""


def rows(tally: Tally) -> list[tuple[str, str]]:
    """What the table tells, and its figures."""
    kinds = Counter("writes" if p.what.startswith(WRITE) else "effects" for p in tally.golden.points)
    writes = sum(p.what == f"{WRITE} before" for p in tally.golden.points)
    second = [v for p in tally.pairs for v in p.verdicts]
    all_pairs, left_out = tally.weighed(lambda p: p.points), tally.weighed(lambda p: p.left_out)
    verdicts = tally.verdicts
    once = max((s.verdict.extra_runs for s in tally.singles), default=0)
    twice = max([p.extra_runs for p in tally.pairs] + [v.extra_runs for v in second], default=0)
    return [
        ("points at effects", f"{kinds['effects']:,} ({kinds['effects'] // 3} effects)"),
        ("points at state writes", f"{kinds['writes']:,} ({writes} files written)"),
        ("single crashes run", f"{len(tally.singles):,} of {len(tally.golden.points):,}"),
        ("different worlds that they left", f"{len(tally.worlds):,}"),
        ("pairs of crashes", f"{all_pairs - left_out:,}"),
        ("second crashes run", f"{len(second):,}"),
        ("pairs left out", f"{left_out:,}"),
        ("crashes", f"{sum(v.crashes for v in verdicts):,}"),
        ("duplicates", f"{sum(len(v.duplicates) for v in verdicts):,}"),
        ("lost", f"{sum(len(v.lost) for v in verdicts):,}"),
        ("extra agent runs, at the most", f"{once} after one crash, {twice} after two"),
        ("processes left", f"{sum(len(v.processes) for v in verdicts):,}"),
        ("worktrees left", f"{sum(len(v.worktrees) for v in verdicts):,}"),
        ("runs that came to another end", f"{len(tally.bad):,}"),
        ("time", f"{tally.seconds / 60:.0f} min {tally.stages} runs at a time, Python {platform.python_version()}"),
    ]


def table(tally: Tally) -> str:
    """For the terminal."""
    found = rows(tally)
    width = max(len(name) for name, _ in found)
    return "\n".join([*tally.bad, *(f"{name:<{width}}  {figure}" for name, figure in found), ""])


def page(tally: Tally) -> str:
    """For Markdown."""
    return "\n".join([HEAD, "| | |", "| --- | --- |", *(f"| {name} | {figure} |" for name, figure in rows(tally)), ""])
