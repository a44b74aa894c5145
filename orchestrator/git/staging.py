"""Reading the files of a worktree that others wrote, and letting in what git made of them.

Every git command here runs inside walls: it reads the files and the mirror, and writes to a folder of its own, where
its index and its new objects lie. What leaves the walls is a pack, which git outside takes in only when each object is
well formed and everything that it names is there, and the name of a tree in it. So a filter, a hook or a second
repository that hides among the files has nothing to reach (A30 to A33, A55). Without a sandbox the way is the same,
and the walls are missing.

The index begins as the one that the worktree's creation left, so that git reads only files that were touched since.
A file counts as untouched while its size, inode and times are the same: its time of change is the kernel's and cannot
be set back as the others can. Whoever gets around that, or forges the index where there is no sandbox, hides
a change of his own, which is then not published and goes with the worktree.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import cone, content
from orchestrator.git.environment import EMPTY_TREE, Scratch
from orchestrator.git.registration import ANY, Registration
from orchestrator.git.run import FLOOD, GitError, Result
from orchestrator.sandbox import Walls

# A program `git-<name>` somewhere in PATH would come before the alias, so nobody else has these names.
_ALL_NAME, _PART_NAME = "orchestrator-all", "orchestrator-part"
# One start inside the walls for three commands: the start is what costs. It says the tree's name, and then the pack of
# what the head has not, if any.
_ALL = (
    'f() { head=$1; shift; git add --all -- "$@" && tree=$(git write-tree) && echo "$tree" || return; '
    '[ "$tree" = "$(git rev-parse "$head^{tree}")" ] || '
    'printf "%s\\n^%s^{tree}\\n" "$tree" "$head" | git pack-objects --quiet --stdout --revs; }; f'
)
# What is not there and never was is no deletion; whatever index git is given later, it is not asked about these again.
_PART = (
    'f() { head=$1; shift; git read-tree "$head" && git ls-files -z --deleted -- "$@" | '
    "git update-index -z --skip-worktree --stdin; }; f"
)
_NAME = re.compile("[0-9a-f]{40}")
_PLAIN_DIFF = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")


class Staging:
    """The files of one worktree beside those of `head`; use `staging`, which takes the folder away again."""

    def __init__(self, known: Registration, folder: Path, head: str | None) -> None:
        self._known = known
        self._head = head or EMPTY_TREE
        self.folder = folder
        (folder / "objects").mkdir()
        mirror = known.mirror
        walls = Walls(write=(folder,), read=(mirror.path, known.path))
        self._walled = Scratch(
            folder, mirror.path / "objects", lambda argv, cwd, env: mirror.sandbox.wrap(argv, cwd, env, walls)
        )
        made, held = known.as_made(), known.holds
        if held:
            self.call("-c", f"alias.{_PART_NAME}=!{_PART}", _PART_NAME, self._head, *cone.outside(held))
        elif made is None or not _copied(made[0], folder / "index"):
            self.call("read-tree", self._head)
        elif made[1] != self._head:
            self.call("read-tree", "-m", "-i", self._head)

    def call(
        self, *args: str, stdin: bytes | None = None, cut: int | None = None, accept: Sequence[int] = (0,)
    ) -> Result:
        """Git inside the walls. What it says may be a lie."""
        return self._known.call(
            *args, at=self._known.reading, scratch=self._walled, stdin=stdin, cut=cut, accept=accept
        )

    def changed(self) -> list[str]:
        """What would be added, or differs from the head or is gone."""
        return self.call("ls-files", "-z", "--modified", "--others", "--exclude-standard").paths

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
        paths = (".", *(f":(exclude,literal){path}" for path in exclude))
        try:
            said = self.call("-c", f"alias.{_ALL_NAME}=!{_ALL}", _ALL_NAME, self._head, *paths, cut=FLOOD)
        except GitError as error:
            raise GitError(["add", "--all"], error.code, error.stderr.encode(), timed_out=error.timed_out) from error
        if not said.whole:
            raise Refused("The change is larger than 256 MiB, so nothing was pushed.")
        name, _, pack = said.out.partition(b"\n")
        tree = name.decode("ascii", "replace")
        if not _NAME.fullmatch(tree):
            raise GitError(["write-tree"], 0, b"it named no tree")
        if pack and tree != EMPTY_TREE:
            self._known.mirror.call("index-pack", "--strict", "--stdin", stdin=pack)
        return tree


def _copied(index: Path, to: Path) -> bool:
    """Whether the index is whole; then it is copied with its time, by which git knows what it must look at again."""
    content, moment = index.read_bytes(), index.stat().st_mtime_ns
    if hashlib.sha1(content[:-20], usedforsecurity=False).digest() != content[-20:]:
        return False
    to.write_bytes(content)
    os.utime(to, ns=(moment, moment))
    return True


@contextmanager
def staging(known: Registration, head: str | None) -> Iterator[Staging]:
    """Raises GitError where git cannot read the mirror."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as folder:
        yield Staging(known, Path(folder), head)
