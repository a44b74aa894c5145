"""What the mirror knows of one worktree: its folder `worktrees/<name>`, its HEAD, where it started, its marks.

An agent can write to all of it. What git would follow to another repository is put back before each command.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from orchestrator.git.disk import discard, write_whole
from orchestrator.git.environment import Place, Scratch
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.run import Result
from orchestrator.git.salvage import unkept

ANY = (0, 1, 128)  # exit codes of a question whose answer may be "there is none"

_COMMON = b"../..\n"
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
        # Refs are read through this file even when GIT_COMMON_DIR is set (A33).
        common = self.folder / "commondir"
        if self.folder.is_dir() and (not common.is_file() or common.is_symlink() or common.read_bytes() != _COMMON):
            write_whole(common, _COMMON)
        return self.mirror.call(*args, at=at or self.place, scratch=scratch, stdin=stdin, cut=cut, accept=accept)

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

    def finished(self) -> None:
        """The creation is over."""
        (self.folder / "locked").unlink(missing_ok=True)

    def head(self) -> str | None:
        """The commit that is checked out; None when there is none."""
        if not (self.folder / "HEAD").is_file():
            return None
        wanted = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return self.call(*wanted, at=self.without_files, accept=ANY).text or None

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
        branch = ""
        if self.folder.exists():
            branch = self.call("symbolic-ref", "--quiet", "HEAD", at=self.without_files, accept=ANY).text
        trash = []
        for path in (self.path, self.folder):
            if path.exists() or path.is_symlink():
                away = self.mirror.base / f"{TRASH}{self.path.name}-{uuid.uuid4().hex}"
                path.rename(away)
                trash.append(away)
        self.mirror.call("update-ref", "-d", self.start)
        if branch.startswith("refs/heads/"):
            tip = self.mirror.sha(branch)
            if tip is not None and not unkept(self.mirror, tip) and not holders(self.mirror, branch):
                self.mirror.call("update-ref", "-d", branch, tip)
        return trash


def holders(mirror: Mirror, branch: str) -> list[Path]:
    """The folders of the worktrees that are on this branch (a full ref name)."""
    listed = mirror.call("worktree", "list", "--porcelain", "-z").out.decode("utf-8", "surrogateescape")
    blocks = [block.split("\0") for block in listed.split("\0\0")]
    return [Path(lines[0].removeprefix("worktree ")) for lines in blocks if f"branch {branch}" in lines]
