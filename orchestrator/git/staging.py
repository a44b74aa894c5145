"""Reading the files of a worktree that others wrote, and letting in what git made of them.

Every git command here runs inside walls: it reads the files and the mirror, and writes to a folder of its own, where
its index and its new objects lie. What leaves the walls is a pack, which git outside takes in only when each object is
well formed and everything that it names is there, and the name of a tree in it. So a filter, a hook or a second
repository that hides among the files has nothing to reach (A30 to A33, A55). Without a sandbox the way is the same,
and the walls are missing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import content
from orchestrator.git.environment import EMPTY_TREE, Scratch
from orchestrator.git.registration import ANY, Registration
from orchestrator.git.run import FLOOD, Result
from orchestrator.sandbox import Walls

_PLAIN_DIFF = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")


class Staging:
    """The files of one worktree beside those of `head`; use `staging`, which takes the folder away again."""

    def __init__(self, known: Registration, folder: Path, head: str | None) -> None:
        self._known = known
        self._head = head or EMPTY_TREE
        (folder / "objects").mkdir()
        mirror = known.mirror
        walls = Walls(write=(folder,), read=(mirror.path, known.path))
        self._walled = Scratch(
            folder, mirror.path / "objects", lambda argv, cwd, env: mirror.sandbox.wrap(argv, cwd, env, walls)
        )
        self.call("read-tree", self._head)

    def call(
        self, *args: str, stdin: bytes | None = None, cut: int | None = None, accept: Sequence[int] = (0,)
    ) -> Result:
        """Git inside the walls. What it says may be a lie."""
        return self._known.call(
            *args, at=self._known.reading, scratch=self._walled, stdin=stdin, cut=cut, accept=accept
        )

    def files(self) -> list[str]:
        """What would be added, or is there already."""
        return self.call("ls-files", "-z", "--cached", "--others", "--exclude-standard").paths

    def own_repositories(self) -> list[str]:
        """Nested repositories that git would see; package managers leave others in ignored folders."""
        # `./`, because a name that begins with a colon would be read as a pattern.
        return [
            path
            for path in content.nested(self._known.path)
            if self.call("check-ignore", "-q", "--", f"./{path}", accept=ANY).code != 0
        ]

    def modified(self) -> list[str]:
        """The tracked files that differ from the head."""
        return self.call("diff", "--name-only", "-z", *_PLAIN_DIFF, self._head, "--").names

    def changes(self, most: int) -> bytes:
        """What changed in tracked files since the head, as a diff; at most `most` bytes."""
        return self.call("diff", "--no-color", *_PLAIN_DIFF, self._head, "--", cut=most).out

    def tree(self, *exclude: str) -> str:
        """All files but ignored ones and `exclude`, as a tree that the mirror has. Refused above 256 MiB."""
        self.call("add", "--all", "--", ".", *(f":(exclude,literal){path}" for path in exclude))
        tree = self.call("write-tree").text
        if tree != EMPTY_TREE and self._known.mirror.sha(f"{tree}^{{tree}}") is None:
            self._let_in(tree)
        return tree

    def _let_in(self, tree: str) -> None:
        wanted = f"{tree}\n^{self._head}^{{tree}}\n".encode()
        packed = self.call("pack-objects", "--quiet", "--stdout", "--revs", stdin=wanted, cut=FLOOD)
        if not packed.whole:
            raise Refused("The change is larger than 256 MiB, so nothing was pushed.")
        self._known.mirror.call("index-pack", "--strict", "--stdin", stdin=packed.out)


@contextmanager
def staging(known: Registration, head: str | None) -> Iterator[Staging]:
    """Raises GitError where git cannot read the mirror."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as folder:
        yield Staging(known, Path(folder), head)
