"""What the mirror knows of one worktree: its folder `worktrees/<name>`, its HEAD, where it started, its marks.

An agent can write to all of it. What git would follow to another repository is put back before each command.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from orchestrator.git import cone
from orchestrator.git.disk import discard, small, write_whole
from orchestrator.git.environment import Place, Scratch
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.run import Result
from orchestrator.git.salvage import unkept

ANY = (0, 1, 128)  # exit codes of a question whose answer may be "there is none"

_COMMON = b"../..\n"
_ON_BRANCH = re.compile(rb"ref:\s*(refs/heads/[^\s~^:?*\[\\\x00-\x1f\x7f]+)\s*")
_AS_MADE = "as-made-"
_UNFINISHED = ("index.lock", "HEAD.lock", "MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "CHERRY_PICK_HEAD", "REVERT_HEAD")
_UNFINISHED_FOLDERS = ("rebase-merge", "rebase-apply", "sequencer")


class Registration:
    """The worktree at `path` as `mirror` has it, or does not have it yet."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        self.mirror = mirror
        self.path = path
        self.folder = mirror.path / "worktrees" / path.name
        self.start = f"refs/orchestrator/start/{path.name}"
        self.place = Place(self.folder, mirror.path, path)
        self.without_files = Place(self.folder, mirror.path)

    def call(
        self,
        *args: str,
        at: Place | None = None,
        scratch: Scratch | None = None,
        stdin: bytes | None = None,
        cut: int | None = None,
        accept: Sequence[int] = (0,),
    ) -> Result:
        """Run git on the worktree, or `at` another place of the mirror's."""
        self._pin()
        return self.mirror.call(*args, at=at or self.place, scratch=scratch, stdin=stdin, cut=cut, accept=accept)

    def _pin(self) -> None:
        # Refs are read through this file even when GIT_COMMON_DIR is set (A33).
        common = self.folder / "commondir"
        if self.folder.is_dir() and (not common.is_file() or common.is_symlink() or common.read_bytes() != _COMMON):
            write_whole(common, _COMMON)

    @property
    def reading(self) -> Place:
        """The worktree, or its files alone when the mirror does not know it any more."""
        return self.place if (self.folder / "HEAD").is_file() else Place(self.mirror.path, None, self.path)

    @property
    def exists(self) -> bool:
        return self.folder.exists() or self.path.exists() or self.path.is_symlink()

    @property
    def half_made(self) -> bool:
        """Whether a creation was cut off (F03): git's own lock of that time is still there."""
        locked = self.folder / "locked"
        return locked.is_file() and locked.read_bytes().startswith(b"initializing")

    def finished(self, sha: str) -> None:
        """The creation is over: the files are those of `sha`. Their index is kept as it is now, for `as_made`."""
        shutil.copy2(self.folder / "index", self.folder / f"{_AS_MADE}{sha}")
        (self.folder / "locked").unlink(missing_ok=True)

    def as_made(self) -> tuple[Path, str] | None:
        """The index that the creation left, whatever was done to the other one since, and the commit that it shows."""
        found = next((file for file in self.folder.glob(f"{_AS_MADE}*") if file.is_file()), None)
        return None if found is None or found.is_symlink() else (found, found.name.removeprefix(_AS_MADE))

    @property
    def untouched(self) -> bool:
        """Whether nobody wrote to the index since the creation."""
        made, index = self.as_made(), self.folder / "index"
        return made is not None and index.is_file() and filecmp.cmp(made[0], index, shallow=False)

    def head(self) -> str | None:
        """The commit that is checked out; None when there is none."""
        if not (self.folder / "HEAD").is_file():
            return None
        wanted = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return self.call(*wanted, at=self.without_files, accept=ANY).text or None

    def resolve(self, *names: str) -> list[str | None]:
        """What object each name stands for here, such as `HEAD^{tree}`; None for those that are not there."""
        self._pin()
        return self.mirror.resolve(*names, at=self.without_files)

    def settle(self) -> None:
        """Forget a command of git's that was cut off; the caller has ended its process."""
        for name in _UNFINISHED:
            (self.folder / name).unlink(missing_ok=True)
        for name in _UNFINISHED_FOLDERS:
            discard(self.folder / name)

    def fresh_index(self, sha: str) -> None:
        """The old one may be corrupt, and its flags (assume-unchanged) hide changes."""
        (self.folder / "index").unlink(missing_ok=True)
        self.call("read-tree", sha)
        if held := self.holds:
            absent = self.call("ls-files", "-z", "--", *cone.outside(held)).out
            self.call("update-index", "-z", "--skip-worktree", "--stdin", stdin=absent)

    def narrow(self, folders: Sequence[str]) -> None:
        """Let the checkout that follows write these folders only."""
        (self.folder / "info").mkdir(exist_ok=True)
        write_whole(self.folder / "info" / "sparse-checkout", cone.patterns(folders))

    @property
    def holds(self) -> tuple[str, ...]:
        """The folders that are checked out; none: everything."""
        return cone.folders(small(self.folder / "info" / "sparse-checkout", 1_000_000))

    def restore_link(self) -> None:
        """Let the folder's `.git` lead here again, so that people and programs find the repository."""
        link = self.path / ".git"
        wanted = f"gitdir: {self.folder}\n".encode()
        if not link.is_file() or link.is_symlink() or link.read_bytes() != wanted:
            discard(link)
            write_whole(link, wanted)

    def withdraw(self) -> list[Path]:
        """Move folder and registration out of the way, at once; returns what is then to be deleted.

        The branch goes too when the remote or a salvage ref has all of it and no other worktree is on it.
        """
        if not self.exists:
            return []
        branch = _branch(self.folder)
        trash = []
        for path in (self.path, self.folder):
            if path.exists() or path.is_symlink():
                away = self.mirror.base / f"{TRASH}{self.path.name}-{uuid.uuid4().hex}"
                path.rename(away)
                trash.append(away)
        gone = [f"delete {self.start}"]
        tip = self.mirror.sha(branch) if branch and not holders(self.mirror, branch) else None
        if tip is not None and not unkept(self.mirror, tip):
            gone.append(f"delete {branch} {tip}")
        self.mirror.update(*gone)
        return trash


def holders(mirror: Mirror, branch: str) -> list[Path]:
    """The folders of the worktrees that are on this branch (a full ref name)."""
    found = (mirror.path / "worktrees").glob("*")
    on_it = (small(folder / "gitdir") for folder in found if _branch(folder) == branch)
    return [Path(os.fsdecode(link.rstrip(b"\n"))).parent for link in on_it if link]


def _branch(folder: Path) -> str:
    """The full name of the branch that is checked out by what the registration says; empty when there is none."""
    found = _ON_BRANCH.fullmatch(small(folder / "HEAD"))
    return found[1].decode("utf-8", "replace") if found else ""
