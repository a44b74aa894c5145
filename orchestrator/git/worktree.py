"""A folder with the files of one commit, cut from the mirror, for one agent or one set of commands.

`create` makes it whatever a crash, a person or an agent left in its place; what would be lost with that is
kept first under `refs/orchestrator/salvage/<name>/<n>` in the mirror (or, when git cannot read it, in a folder
`<name>.kept-<n>` beside it). A worktree that is still being made carries git's own lock `initializing`; a
creation that was cut off is known by it and holds nothing to keep.

Guaranteed: every call names the repository, its common folder and the work tree from our own knowledge, so
that a `.git` file that was replaced leads nowhere (A32, A33); commits are built in an index of our own, so
that neither a corrupt index nor its flags hide a change; nothing outside of the mirror's folder is deleted.
Not guaranteed: two writers in one worktree. The caller ends all processes of a run before it calls
`collect`, `save`, `reset` or `remove`.

The names of two worktrees of one mirror must differ.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import content
from orchestrator.git.disk import discard, write_whole
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.run import EMPTY_TREE, GitError, Place, Result
from orchestrator.git.salvage import keep, keep_tree, unkept

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.lock)(?<!\.)")
_COMMON = b"../..\n"
_ANY = (0, 1, 128)
_UNFINISHED = ("index.lock", "HEAD.lock", "MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "CHERRY_PICK_HEAD", "REVERT_HEAD")
_UNFINISHED_FOLDERS = ("rebase-merge", "rebase-apply", "sequencer")


class Worktree:
    """The worktree at `path`, which lies in the folder of `mirror`; it need not exist yet."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        self.path = path.parent.resolve() / path.name
        inside = mirror.base in self.path.parents and self.path != mirror.path and mirror.path not in self.path.parents
        if not inside or not _NAME.fullmatch(path.name):
            raise ValueError(f"{path} is no place for a worktree of {mirror.path}")
        self.mirror = mirror
        self.name = path.name
        self._admin = mirror.path / "worktrees" / self.name
        self._start = f"refs/orchestrator/start/{self.name}"
        self.place = Place(self._admin, mirror.path, self.path)

    def create(self, sha: str, branch: str | None) -> None:
        """Make the worktree at `sha`, on `branch` (set to `sha`) or detached, in place of whatever is there."""
        with self.mirror.lock:
            trash = self._replace()
            if branch is not None:
                trash += self._free(branch, sha)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._call(
                *[
                    "worktree",
                    "add",
                    "--quiet",
                    "--detach",
                    "--no-checkout",
                    "--lock",
                    "--reason",
                    "initializing",
                    "--",
                ],
                str(self.path),
                sha,
            )
            self._call("update-ref", self._start, sha)
            if branch is not None:
                self._call("update-ref", f"refs/heads/{branch}", sha)
                self._call("symbolic-ref", "HEAD", f"refs/heads/{branch}", at=self.place)
        # The slow half: writing files needs no lock, and would keep every other item waiting.
        self._call("reset", "--hard", "--quiet", at=self.place)
        (self._admin / "locked").unlink(missing_ok=True)
        for path in trash:
            discard(path)

    def save(self, name: str) -> str | None:
        """Keep the commits and files that only this worktree has, ignored files apart; the worktree is unchanged.

        Returns the kept commit (the same one again when nothing changed since), None when all of it is known to
        the remote. Nested repositories are left out. Raises GitError or OSError when the files cannot be read.
        """
        head = self._head()
        tree = self._snapshot(head)
        if head is not None and tree in (EMPTY_TREE, self._tree_of(head)):
            return keep(self.mirror, name, head)
        return None if tree == EMPTY_TREE else keep_tree(self.mirror, name, tree, head)

    def collect(self, message: str) -> str:
        """Commit what is in the tree, tracked or not, ignored files apart, on top of HEAD; returns the new HEAD.

        Raises Refused when HEAD does not descend from where the worktree started, when a merge was left with
        conflicts, and for anything that `content` does not let in.
        """
        head = self._head()
        start = self.mirror.sha(self._start)
        if head is None or start is None or not self._descends(start, head):
            raise Refused(
                "The work no longer builds on the commit that it started from (the history was rewritten or another "
                "branch was checked out), so it was not pushed. It is kept in the worktree."
            )
        self._refuse_conflicts()
        self._settle()
        with self._index(head) as index:
            for path in self._own_repositories(index):
                raise content.refused_nested(path)
            content.check_files(self.mirror, self.place, index, head)
            try:
                tree = self._add(index)
            except GitError as error:
                refused = content.refused_file(error)
                if refused is None:
                    raise
                raise refused from error
        content.check_tree(self.mirror, start, tree)
        if tree != self._tree_of(head):
            head = self.mirror.commit_tree(tree, [head], message)
            with self.mirror.lock:
                self._call("update-ref", "HEAD", head, at=self.place)
        self._fresh_index(head)
        return head

    def head(self) -> str:
        """The commit that is checked out. Raises GitError when there is none."""
        return self._call("rev-parse", "--verify", "HEAD^{commit}", at=self._bare_place).text

    def dirty(self) -> bool:
        """Whether a file differs from HEAD or is new, ignored ones apart."""
        return bool(self._call("status", "--porcelain", "-z", "--ignore-submodules=all", at=self.place).out)

    def modified(self) -> list[str]:
        """The tracked files that differ from HEAD."""
        flags = ("--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")
        return self._call("diff", *flags, "HEAD", "--", at=self.place).names

    def reset(self, sha: str) -> None:
        """Exactly the files of `sha`, detached; everything else in the folder is deleted, unsaved."""
        self._settle()
        with self.mirror.lock:
            self._call("update-ref", "--no-deref", "HEAD", sha, at=self.place)
            self._call("update-ref", self._start, sha)
        self._restore_link()
        self._fresh_index(sha)
        self._call("clean", "-ffdx", "--quiet", at=self.place)
        self._call("reset", "--hard", "--quiet", at=self.place)

    def remove(self) -> None:
        """Unregister and delete the worktree, and its branch when the remote has all of it. Absent is fine."""
        with self.mirror.lock:
            trash = self._unregister()
        for path in trash:
            discard(path)

    # -- taking away what is in the place of a new worktree

    def _replace(self) -> list[Path]:
        locked = self._admin / "locked"
        half_made = locked.is_file() and locked.read_bytes().startswith(b"initializing")
        if not half_made and (self._admin.exists() or self.path.exists()):
            try:
                self.save(self.name)
                whole = not self._leaves_out()
            except (GitError, OSError):
                whole = False
            if not whole:
                self._set_aside()
        return self._unregister()

    def _leaves_out(self) -> bool:
        """Whether `save` cannot keep all of the folder."""
        if not self.path.is_dir() or not content.nested(self.path):
            return False
        with self._index(self._head()) as index:
            return bool(self._own_repositories(index))

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.name}.kept-{number}")).exists():
            number += 1
        if self.path.exists():
            self.path.rename(aside)

    def _free(self, branch: str, sha: str) -> list[Path]:
        """Keep what only the old `branch` has, and take it from an older worktree of ours."""
        old = self.mirror.sha(f"refs/heads/{branch}")
        if old is not None and old != sha:
            keep(self.mirror, self.name, old)
        trash: list[Path] = []
        for path in self._holders(branch):
            try:
                other = Worktree(self.mirror, path)
            except ValueError:
                continue
            if other.name != self.name:
                trash += other._replace()
        return trash

    def _holders(self, branch: str) -> list[Path]:
        listed = self._call("worktree", "list", "--porcelain", "-z").out.decode("utf-8", "surrogateescape")
        blocks = [block.split("\0") for block in listed.split("\0\0")]
        return [Path(lines[0].removeprefix("worktree ")) for lines in blocks if f"branch refs/heads/{branch}" in lines]

    def _unregister(self) -> list[Path]:
        """Move everything of this worktree out of the way, at once; returns what is then to be deleted."""
        if not (self._admin.exists() or self.path.exists() or self.path.is_symlink()):
            return []
        branch = None
        if self._admin.exists():
            branch = self._call("symbolic-ref", "--quiet", "HEAD", at=self._bare_place, accept=_ANY).text
        trash = []
        for path in (self.path, self._admin):
            if path.exists() or path.is_symlink():
                away = self.mirror.base / f"{TRASH}{self.name}-{uuid.uuid4().hex}"
                path.rename(away)
                trash.append(away)
        self._call("update-ref", "-d", self._start)
        if branch and (tip := self.mirror.sha(branch)) and not unkept(self.mirror, tip):
            self._call("update-ref", "-d", branch, tip)
        return trash

    # -- reading the worktree

    def _call(
        self,
        *args: str,
        at: Place | None = None,
        index: Path | None = None,
        accept: Sequence[int] = (0,),
    ) -> Result:
        # Refs are read through this file even when GIT_COMMON_DIR is set (A33).
        common = self._admin / "commondir"
        if self._admin.is_dir() and (not common.is_file() or common.is_symlink() or common.read_bytes() != _COMMON):
            write_whole(common, _COMMON)
        return self.mirror.call(*args, at=at, index=index, accept=accept)

    @property
    def _bare_place(self) -> Place:
        """The worktree's HEAD and refs without its files, which may be gone."""
        return Place(self._admin, self.mirror.path)

    def _head(self) -> str | None:
        if not (self._admin / "HEAD").is_file():
            return None
        answer = self._call("rev-parse", "--verify", "--quiet", "HEAD^{commit}", at=self._bare_place, accept=_ANY)
        return answer.text or None

    def _tree_of(self, sha: str) -> str:
        return self._call("rev-parse", "--verify", f"{sha}^{{tree}}").text

    def _descends(self, start: str, head: str) -> bool:
        return self._call("merge-base", "--is-ancestor", start, head, accept=(0, 1)).code == 0

    @contextmanager
    def _index(self, head: str | None) -> Iterator[Path]:
        """An index of our own that holds HEAD's files."""
        with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as folder:
            index = Path(folder) / "index"
            self._call("read-tree", head or EMPTY_TREE, at=self._reading_place, index=index)
            yield index

    @property
    def _reading_place(self) -> Place:
        """This worktree, or its folder alone when the mirror no longer knows it."""
        return self.place if (self._admin / "HEAD").is_file() else Place(self.mirror.path, None, self.path)

    def _snapshot(self, head: str | None) -> str:
        if not self.path.is_dir() or self.path.is_symlink():
            return EMPTY_TREE
        with self._index(head) as index:
            return self._add(index, *(f":(exclude,literal){path}" for path in content.nested(self.path)))

    def _add(self, index: Path, *exclude: str) -> str:
        self._call("add", "--all", "--", ".", *exclude, at=self._reading_place, index=index)
        return self._call("write-tree", at=self._reading_place, index=index).text

    # -- what collect refuses

    def _refuse_conflicts(self) -> None:
        unmerged = self._call("ls-files", "--unmerged", "-z", at=self.place, accept=(0, 128)).names
        if unmerged:
            raise Refused(
                f"A merge was left with conflicts in `{unmerged[0].partition(chr(9))[2]}`, so nothing was pushed."
            )

    def _own_repositories(self, index: Path) -> list[str]:
        """Nested repositories that git would see; package managers leave others in ignored folders."""
        # `./`, because a name that begins with a colon would be read as a pattern.
        answers = (
            (
                path,
                self._call("check-ignore", "-q", "--", f"./{path}", at=self._reading_place, index=index, accept=_ANY),
            )
            for path in content.nested(self.path)
        )
        return [path for path, ignored in answers if ignored.code != 0]

    # -- putting it in order

    def _settle(self) -> None:
        """Forget a command of git's that was cut off; the caller has ended its process."""
        for name in _UNFINISHED:
            (self._admin / name).unlink(missing_ok=True)
        for name in _UNFINISHED_FOLDERS:
            discard(self._admin / name)

    def _fresh_index(self, sha: str) -> None:
        """The old one may be corrupt, and its flags (assume-unchanged) hide changes."""
        (self._admin / "index").unlink(missing_ok=True)
        self._call("read-tree", sha, at=self.place)

    def _restore_link(self) -> None:
        link = self.path / ".git"
        wanted = f"gitdir: {self._admin}\n".encode()
        if not link.is_file() or link.is_symlink() or link.read_bytes() != wanted:
            discard(link)
            write_whole(link, wanted)
