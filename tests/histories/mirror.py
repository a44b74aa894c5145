"""The daemon's mirror and worktrees over `Objects`, and its commands, which take time and look at the files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.clock import Clock, Stop
from orchestrator.errors import Retry
from orchestrator.git.checkout import OURS, Lacking, Terms
from orchestrator.git.mirror import Merged, Mirror, tracking
from orchestrator.git.worktree import Worktree
from orchestrator.process import Cause, Ended, Limits
from orchestrator.sandbox import OPEN, Sandbox, Walls
from orchestrator.twin.repository import CommitFacts, Person
from tests.histories.objects import MemoryRepository

DAEMON = Person("robot", "robot@users.noreply.github.com")


class MemoryMirror(Mirror):
    """Knows what it fetched, and nothing else; outlives the daemon, as the folder on the disk does."""

    def __init__(self, origin: MemoryRepository, asked: Callable[[], bool]) -> None:
        """`asked`: a fetch goes through to the remote, or fails."""
        self.origin = origin
        self.objects = origin.objects
        self.path = origin.path
        self.lock = threading.RLock()  # type: ignore[assignment]
        self._asked = asked
        self._refs: dict[str, str] = {}
        self._known: set[str] = set()
        self.worktrees: dict[Path, str] = {}
        self.sandbox = OPEN

    @property
    def damaged(self) -> bool:
        """Memory is not."""
        return False

    def ensure(self) -> None:
        """It is there."""

    def fetch(self, *refs: str) -> None:
        if not self._asked():
            raise Retry("the git host could not be reached")
        for ref in refs:
            sha = self.origin.all_refs.get(ref)
            if sha is None:
                self._refs.pop(tracking(ref), None)
            else:
                self._refs[tracking(ref)] = sha
                self._known |= self.objects.ancestors(sha)

    def sha(self, ref: str) -> str | None:
        name = ref.removesuffix("^{tree}").removesuffix("^")
        found = self._refs.get(name, name)
        if found not in self._known:
            return None
        facts = self.objects.commits[found]
        if ref.endswith("^{tree}"):
            return facts.tree
        if ref.endswith("^"):
            return facts.parents[0] if facts.parents else None
        return found

    def merge(self, base: str, head: str) -> Merged:
        assert {base, head} <= self._known
        made = self.objects.merge(base, head)
        return Merged(made.tree, made.conflicts)

    def commit_tree(self, tree: str, parents: Sequence[str], message: str) -> str:
        sha = self.objects.commit(CommitFacts(tree, tuple(parents), DAEMON, DAEMON, 0, 0, message))
        self._known.add(sha)
        return sha

    def changed(self, base: str, head: str) -> list[str]:
        root = self.objects.merge_base(base, head)
        if root is None:
            return []
        before, after = self.objects.files(root), self.objects.files(head)
        return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))

    def contains(self, head: str, base: str) -> bool:
        return base in self.objects.ancestors(head)

    def has_path(self, sha: str, path: str) -> bool:
        return any(file == path or file.startswith(f"{path}/") for file in self.objects.files(sha))

    def log(self, base: str, head: str, *only: str) -> list[str]:
        return [self.objects.commits[sha].message.split("\n")[0] for sha in self.objects.between(base, head)]


class MemoryWorktree(Worktree):
    """The files of one commit; nothing is written to the disk."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        assert isinstance(mirror, MemoryMirror)
        self.mirror = mirror
        self.path = path
        self.name = path.name
        self._made = mirror.worktrees

    @property
    def borrows(self) -> tuple[Path, ...]:
        return ()

    def create(self, sha: str, branch: str | None, base: str = "", terms: Terms = OURS) -> tuple[Lacking, ...]:
        self._made[self.path] = sha
        return ()

    def modified(self) -> tuple[list[str], bytes]:
        return [], b""

    def remove(self) -> None:
        self._made.pop(self.path, None)


def shell(mirror: MemoryMirror, clock: Clock, seconds: float, passes: Callable[[Mapping[str, bytes]], bool]) -> object:
    """What stands for `process.shell`: takes `seconds` of the clock, then judges the files of the worktree."""

    def run(
        command: str,
        *,
        cwd: Path,
        env: Mapping[str, str],
        run_id: str,
        output: Path,
        limits: Limits,
        stop: Stop,
        sandbox: Sandbox,
        walls: Walls,
    ) -> Ended:
        if clock.wait(seconds, stop):
            return Ended(-15, Cause.STOPPED, seconds, 0)
        good = passes(mirror.objects.files(mirror.worktrees[cwd]))
        return Ended(0 if good else 1, Cause.EXITED, seconds, 0)

    return run
