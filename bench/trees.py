"""Scenarios 7 and 8: making and giving back a worktree, alone and among many, beside plain git."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.house import tree
from bench.measure import Bench, Pairs, Points, Row, in_turns, ratio_row, slope_row, spread, timed, until
from orchestrator.git.access import Access
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.run import Identity
from orchestrator.git.worktree import Worktree
from orchestrator.twin.repository import BareRepository, Person

MAIN = "refs/heads/main"


class _Ground:
    """A remote, the daemon's mirror of it, and a bare clone for plain git."""

    def __init__(self, folder: Path, files: int) -> None:
        folder.mkdir(parents=True)
        remote = BareRepository(folder / "remote.git")
        remote.create("main")
        self.sha = remote.commit(None, tree(files), "First commit", Person("alice", "alice@localhost"), 1_700_000_000)
        remote.set_ref(MAIN, self.sha)
        self.base = folder / "ours"
        self.mirror = Mirror(self.base / "mirror.git", Access(str(remote.path)), Identity("robot", "robot@localhost"))
        self.mirror.ensure()
        self.mirror.fetch(MAIN)
        self.clone = folder / "floor" / "clone.git"
        self.clone.parent.mkdir()
        _git("clone", "--quiet", "--bare", str(remote.path), str(self.clone))
        self._numbers = itertools.count(1)
        self.released: list[float] = []
        self.removed: list[float] = []

    def ours(self) -> float:
        """Seconds to make a worktree; those to give it back go to `released`."""
        number = next(self._numbers)
        work = Worktree(self.mirror, self.base / f"issue-{number}")
        made = timed(lambda: work.create(self.sha, f"feature/issue-{number}"))
        self.released.append(timed(work.remove))
        return made

    def plain(self) -> float:
        """The same by `git worktree add`, and a rename, `prune` and `branch -D` to be rid of it."""
        name = f"floor-{next(self._numbers)}"
        path, trash = self.clone.parent / name, self.clone.parent / f"{name}.gone"
        at = f"--git-dir={self.clone}"
        made = timed(lambda: _git(at, "worktree", "add", "--quiet", "--no-track", "-b", name, str(path), self.sha))

        def remove() -> None:
            path.rename(trash)
            _git(at, "worktree", "prune")
            _git(at, "branch", "--quiet", "-D", name)

        self.removed.append(timed(remove))
        subprocess.run(["rm", "-rf", str(trash)], check=True)
        return made

    def crowd(self, count: int) -> None:
        """Let so many worktrees be registered in the mirror."""
        for number in range(count):
            path = self.base / f"live-{number}"
            Worktree(self.mirror, path).create(self.sha, f"live/{number}")

    def no_trash(self) -> bool:
        """Whether nothing waits to be deleted behind."""
        return not any(self.base.glob(f"{TRASH}*"))


def cycle(bench: Bench) -> Iterator[Row]:
    """Create and release, for two sizes; and what a hundred cycles leave on the disk."""
    for files in bench.either([1000, 20_000], [200]):
        ground = _Ground(bench.folder / str(files), files)
        pairs = in_turns(bench.pairs, ground.ours, ground.plain)
        yield ratio_row("tree.create", f"make a worktree of {files:,} files", pairs, "ms", 1000)
        given = Pairs(ground.released[1:], ground.removed[1:])
        ours, floor = spread([s * 1000 for s in given.ours]), spread([s * 1000 for s in given.floor])
        what = f"give it back, in front, {files:,} files"
        yield Row("tree.release", what, ours.median, f"{ours.median:.0f} ms", ours, floor, "ms")
    cycles = bench.either(100, 10)
    ground = _Ground(bench.folder / "disk", 200)
    ground.ours()
    until(ground.no_trash, "the deletion behind")
    before = _megabytes(ground.base)
    for _ in range(cycles):
        ground.ours()
    until(ground.no_trash, "the deletion behind")
    grown = _megabytes(ground.base) - before
    yield Row("tree.disk", f"disk after {cycles} cycles", abs(grown), f"{grown:+.2f} MB")


def many(bench: Bench) -> Iterator[Row]:
    """A small worktree beside others that live in the same mirror, against the same where none does."""
    grown: Points = []
    alone: Points = []
    counts = bench.either([1, 10, 100], [1, 10])
    empty = _Ground(bench.folder / "empty", 10)
    for count in counts:
        full = _Ground(bench.folder / f"with-{count}", 10)
        full.crowd(count)
        pairs = in_turns(bench.pairs, full.ours, empty.ours)
        grown.append((count, spread(pairs.ours).median * 1000))
        alone.append((count, spread(pairs.floor).median * 1000))
        yield ratio_row("trees.many", f"make a worktree beside {count} others", pairs, "ms", 1000)
    series = {"beside N others": grown, "alone": alone}
    yield slope_row("trees.slope", "make a worktree beside N others", series, "ms")


def _git(*words: str) -> None:
    quiet = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *words], check=True, env=quiet, stdin=subprocess.DEVNULL, capture_output=True)


def _megabytes(folder: Path) -> float:
    return sum(p.lstat().st_blocks for p in folder.rglob("*")) * 512 / 1e6
