"""The daemon's mirror and worktrees in memory, with the promises of the real ones: what is lost here is lost there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Retry
from orchestrator.git.checkout import OURS, Lacking, Terms
from orchestrator.git.mirror import Mirror, Pushed, tracking
from orchestrator.git.run import Result
from orchestrator.git.worktree import Collected
from orchestrator.twin.faults import Kind, Trouble
from orchestrator.twin.repository import CommitFacts
from tests.histories.mirror import DAEMON, MemoryMirror, MemoryWorktree
from tests.histories.objects import MemoryRepository

SALVAGE = "refs/orchestrator/salvage"
_LOST = (Trouble.APPLY_THEN_RESET, Trouble.APPLY_THEN_STATUS, Trouble.CUT, Trouble.SHORT)


@dataclass
class Files:
    """A worktree: what is checked out, and what lies in the folder."""

    start: str
    head: str
    branch: str | None
    files: dict[str, bytes]


class SimMirror(MemoryMirror):
    """Outlives the daemon. `strike` says how the host fails, `pushed` is called when a branch moved there."""

    def __init__(
        self,
        origin: MemoryRepository,
        strike: Callable[[str, str], Kind | None],
        pushed: Callable[[], None],
        edge: Callable[[str], None],
    ) -> None:
        super().__init__(origin, lambda: strike("GET", "info/refs") is None)
        self.trees: dict[Path, Files] = {}
        self.overwritten: list[str] = []  # commits of people that a push of ours took off a branch
        self._strike = strike
        self._pushed = pushed
        self.edge = edge

    @property
    def refs(self) -> dict[str, str]:
        """Every ref of the mirror."""
        return self._refs

    def remote_sha(self, ref: str) -> str | None:
        if not self._asked():
            raise Retry("the git host could not be reached")
        return self.origin.all_refs.get(ref)

    def push(self, sha: str, branch: str, expect: str | None) -> Pushed:
        ref = f"refs/heads/{branch}"
        self.edge("push")
        kind = self._strike("POST", "git-receive-pack")
        if kind is not None and kind.trouble not in _LOST:
            raise Retry("the git host could not be reached")
        there = self.origin.all_refs.get(ref)
        if sha not in (there, None) and there != expect:
            return Pushed.REJECTED
        if there is not None and there not in self.objects.ancestors(sha):
            lost = self.objects.between(sha, there)
            self.overwritten += [f"{branch}: {one} lost" for one in lost if self.objects.commits[one].author != DAEMON]
        self.origin.set_ref(ref, sha)
        self._pushed()
        self.edge("pushed")
        if kind is not None:
            raise Retry("the connection broke in the midst of the push")
        self._refs[tracking(ref)] = sha
        return Pushed.DONE

    def call(self, *args: str, **_: object) -> Result:
        """The patches of the commits that are asked for by `HEAD ^START ...`; no links in a tree."""
        if args[0] == "ls-tree":
            return Result(0, b"", b"")
        head, start = args[args.index("--") - 3 : args.index("--") - 1]
        shown = [self.objects.commits[one] for one in self.objects.between(start.removeprefix("^"), head)]
        files = (self.objects.trees[one.tree].values() for one in shown)
        return Result(
            0, b"\n".join([*(one.message.encode() for one in shown), *(f for tree in files for f in tree)]), b""
        )

    def text(self, sha: str, path: str, most: int = 100_000) -> str | None:
        found = self.objects.files(sha).get(path)
        return None if found is None else found[:most].decode()

    def diff(self, base: str, head: str) -> bytes:
        return "".join(f"diff --git a/{path} b/{path}\n" for path in self.changed(base, head)).encode()

    def known(self, sha: str) -> None:
        """The mirror has this commit now."""
        self._known |= self.objects.ancestors(sha)

    def remote_has(self, sha: str) -> bool:
        """As of the last fetch or push."""
        tips = (at for ref, at in self._refs.items() if ref.startswith("refs/remotes/"))
        return any(sha in self.objects.ancestors(tip) for tip in tips)

    def keep(self, name: str, sha: str) -> str | None:
        """As `git.salvage.keep`."""
        if self.remote_has(sha):
            return None
        kept = [at for ref, at in self._refs.items() if ref.startswith(SALVAGE)]
        if not any(sha in self.objects.ancestors(tip) for tip in kept):
            mine = [ref for ref in self._refs if ref.startswith(f"{SALVAGE}/{name}/")]
            self._refs[f"{SALVAGE}/{name}/{len(mine) + 1}"] = sha
        return sha


class SimWorktree(MemoryWorktree):
    """The folder is there, its files are in memory."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        assert isinstance(mirror, SimMirror)
        super().__init__(mirror, path)
        self.mirror: SimMirror = mirror

    @property
    def _here(self) -> Files:
        return self.mirror.trees[self.path]

    def create(self, sha: str, branch: str | None, base: str = "", terms: Terms = OURS) -> tuple[Lacking, ...]:
        self.mirror.edge("create")
        if self.path in self.mirror.trees:
            self.save(self.name)
            del self.mirror.trees[self.path]
        old = self.mirror.refs.get(f"refs/heads/{branch}")
        if branch is not None and old not in (None, sha):
            assert old is not None
            self.mirror.keep(self.name, old)
        self.path.mkdir(parents=True, exist_ok=True)
        self.mirror.trees[self.path] = Files(sha, sha, branch, dict(self.mirror.objects.files(sha)))
        self._made[self.path] = sha
        self._move(sha)
        self.mirror.edge("created")
        return ()

    def _move(self, sha: str) -> None:
        self._here.head = sha
        if self._here.branch is not None:
            self.mirror.refs[f"refs/heads/{self._here.branch}"] = sha

    def _commit(self, message: str) -> str:
        facts = CommitFacts(self._tree, (self._here.head,), DAEMON, DAEMON, 0, 0, message)
        sha = self.mirror.objects.commit(facts)
        self.mirror.known(sha)
        return sha

    @property
    def _tree(self) -> str:
        return self.mirror.objects.tree(dict(self._here.files))

    @property
    def _dirty(self) -> bool:
        return self._here.files != self.mirror.objects.files(self._here.head)

    def write(self, path: str, content: bytes, commit: bool) -> None:
        """What an agent does."""
        self._here.files[path] = content
        if commit:
            self._move(self._commit(f"Agent's {path}"))

    def work_begins(self) -> None:
        """Set-up commands leave nothing here."""

    def collect(self, message: str) -> Collected:
        self.mirror.edge("collect")
        if self._dirty:
            self._move(self._commit(message))
        self.mirror.edge("collected")
        return Collected(self._here.head)

    def usable(self) -> bool:
        return self.path in self.mirror.trees and self.path.is_dir()

    def settle(self) -> None:
        """Nothing of git's is left half done here."""

    def save(self, name: str, why: str = "") -> str | None:
        sha = self._commit("Files that were left in the worktree") if self._dirty else self._here.head
        return self.mirror.keep(name, sha)

    def head(self) -> str:
        return self._here.head

    def remove(self) -> None:
        """The files go; the branch only when the remote has all of it."""
        found = self.mirror.trees.pop(self.path, None)
        if found is not None and found.branch is not None and self.mirror.remote_has(found.head):
            self.mirror.refs.pop(f"refs/heads/{found.branch}", None)
        shutil.rmtree(self.path, ignore_errors=True)
        super().remove()
