"""A folder with the files of one commit, cut from the mirror, for one agent or one set of commands.

`create` makes it whatever a crash, a person or an agent left in its place; what would be lost with that is
kept first under `refs/orchestrator/salvage/<name>/<n>` in the mirror (or, when git cannot read it, in a folder
`<name>.kept-<n>` beside it). A worktree that is still being made carries git's own lock `initializing`; a
creation that was cut off is known by it and holds nothing to keep.

Guaranteed: every call names the repository, its common folder and the work tree from our own knowledge, so
that a `.git` file that was replaced leads nowhere (A32, A33); commits are built in an index of our own, so
that neither a corrupt index nor its flags hide a change; nothing outside of the mirror's folder is deleted.
Not guaranteed: two writers in one worktree. The caller ends all processes of a run before it calls
`collect`, `save` or `remove`.

The names of two worktrees of one mirror must differ.
"""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import cone, content
from orchestrator.git.disk import changed_since, discard, discard_later
from orchestrator.git.environment import EMPTY_TREE
from orchestrator.git.mirror import LARGEST_DIFF, Mirror
from orchestrator.git.registration import Registration, holders
from orchestrator.git.run import GitError
from orchestrator.git.salvage import UNSAID, keep, keep_tree
from orchestrator.git.staging import staging

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.lock)(?<!\.)")
_ADD = (
    *("worktree", "add", "--quiet", "--no-checkout", "--force"),
    *("--lock", "--reason", "initializing"),
)


class Worktree:
    """The worktree at `path`, which lies in the folder of `mirror`; it need not exist yet."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        self.path = path.parent.resolve() / path.name
        inside = mirror.base in self.path.parents and self.path != mirror.path and mirror.path not in self.path.parents
        if not inside or not _NAME.fullmatch(path.name):
            raise ValueError(f"{path} is no place for a worktree of {mirror.path}")
        self.mirror = mirror
        self.name = path.name
        self._known = Registration(mirror, self.path)

    def create(self, sha: str, branch: str | None) -> None:
        """Make the worktree at `sha`, on `branch` (set to `sha`) or detached, in place of whatever is there.

        A detached one holds everything, whatever the mirror's cone is: a review or a test of a part would pass for one
        of the whole.
        """
        why = "another attempt took its place"
        with self.mirror.lock:
            trash = self._replace(why)
            moves = [f"update {self._known.start} {sha}"]
            if branch is not None:
                trash += self._free(branch, sha, why)
                moves.append(f"update refs/heads/{branch} {sha}")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.mirror.update(*moves)
            self.mirror.call(*_ADD, *(["--detach", "--"] if branch is None else ["--"]), str(self.path), branch or sha)
        narrow = self.mirror.cone if branch is not None else ()
        if narrow:
            self._known.narrow(narrow)
        # The slow half: writing files needs no lock, and would keep every other item waiting.
        self._known.call(*(cone.SWITCHES if narrow else ()), "reset", "--hard", "--quiet")
        self._known.finished(sha)
        discard_later(trash)

    def usable(self) -> bool:
        """Whether it is there whole, so that somebody could go on in it."""
        known = self._known
        return self.path.is_dir() and not self.path.is_symlink() and not known.half_made and known.head() is not None

    def settle(self) -> None:
        """Let somebody go on in it whose last command was killed; the files stay as they are."""
        self._known.settle()
        self._known.restore_link()

    def save(self, name: str, why: str = UNSAID) -> str | None:
        """Keep the commits and files that only this worktree has, ignored files apart; the worktree is unchanged.

        `why` as in `salvage.keep`. Returns the kept commit (the same one again when nothing changed since), None when
        all of it is known to the remote. Nested repositories are left out. Raises GitError or OSError when the files
        cannot be read.
        """
        head = self._known.head()
        tree = self._snapshot(head)
        if head is not None and tree in (EMPTY_TREE, self._tree_of(head)):
            return keep(self.mirror, name, head, why)
        return None if tree == EMPTY_TREE else keep_tree(self.mirror, name, tree, head, why)

    def collect(self, message: str) -> str:
        """Commit what is in the tree, tracked or not, ignored files apart, on top of HEAD; returns the new HEAD.

        Raises Refused when HEAD does not descend from where the worktree started, when a merge was left with
        conflicts, and for anything that `content` does not let in.
        """
        if not self._known.exists:
            raise GitError(["status"], 128, f"the worktree {self.path} is gone".encode())
        head, before, start = self._known.resolve("HEAD^{commit}", "HEAD^{tree}", f"{self._known.start}^{{commit}}")
        if head is None or start is None:
            self.mirror.examine()
        if head is None or start is None or not self._descends(start, head):
            raise Refused(
                "The work no longer builds on the commit that it started from (the history was rewritten or another "
                "branch was checked out), so it was not pushed. It is kept in the worktree."
            )
        self._refuse_conflicts()
        self._known.settle()
        with staging(self._known, head) as files:
            for path in files.own_repositories():
                raise content.refused_nested(path)
            changed = files.changed()
            content.check_files(self.mirror, self.path, changed, head)
            try:
                tree = files.tree() if changed or before is None else before
            except GitError as error:
                refused = content.refused_file(error)
                if refused is None:
                    raise
                raise refused from error
        content.check_tree(self.mirror, start, tree)
        if held := self._known.holds:
            cone.check_kept(self.mirror, held, start, tree)
        if tree != before:
            head = self.mirror.commit_tree(tree, [head], message)
            with self.mirror.lock:
                self._known.call("update-ref", "HEAD", head)
        self._known.fresh_index(head)
        return head

    def head(self) -> str:
        """The commit that is checked out. Raises GitError when there is none."""
        return self._known.call("rev-parse", "--verify", "HEAD^{commit}", at=self._known.without_files).text

    def modified(self) -> list[str]:
        """The tracked files that differ from HEAD."""
        with staging(self._known, self.head()) as files:
            return files.modified()

    def changes(self) -> bytes:
        """What changed in tracked files since HEAD, as a diff; at most its first 16 MiB."""
        with staging(self._known, self.head()) as files:
            return files.changes(LARGEST_DIFF)

    def remove(self) -> None:
        """Unregister and delete the worktree, and its branch when the remote has all of it. Absent is fine."""
        if not self._known.exists:
            return
        with self.mirror.lock:
            trash = self._known.withdraw()
        discard_later(trash)

    def retire(self, before: float, why: str) -> bool:
        """Save and remove what nobody changed since `before` (seconds since 1970); False when somebody did.

        What cannot be saved is set aside. Raises OSError when the saved folder cannot be deleted whole.
        """
        if self._changed_since(before):
            return False
        with self.mirror.lock:
            if self._changed_since(before):  # a job has taken it up meanwhile; the first look kept nobody waiting
                return False
            trash = self._replace(why)
        for path in trash:
            discard(path)
        return True

    def _changed_since(self, moment: float) -> bool:
        return changed_since(self.path, moment) or changed_since(self._known.folder, moment)

    # -- taking away what is in the place of a new worktree

    def _replace(self, why: str) -> list[Path]:
        if self._known.exists and not self._known.half_made:
            try:
                self.save(self.name, why)
                whole = not self._leaves_out()
            except (GitError, OSError):
                whole = False
            if not whole:
                self._set_aside()
        return self._known.withdraw()

    def _leaves_out(self) -> bool:
        """Whether `save` cannot keep all of the folder."""
        if not self.path.is_dir() or not content.nested(self.path):
            return False
        with staging(self._known, self._known.head()) as files:
            return bool(files.own_repositories())

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.name}.kept-{number}")).exists():
            number += 1
        if self.path.exists():
            self.path.rename(aside)
            # It leads to the registration that the next worktree of this name takes over: git run in here would hit it.
            link = aside / ".git"
            if not aside.is_symlink() and (link.is_symlink() or link.is_file()):
                link.unlink()

    def _free(self, branch: str, sha: str, why: str) -> list[Path]:
        """Keep what only the old `branch` has, and take it from an older worktree of ours."""
        old = self.mirror.sha(f"refs/heads/{branch}")
        if old is not None and old != sha:
            keep(self.mirror, self.name, old, why)
        trash: list[Path] = []
        for path in holders(self.mirror, f"refs/heads/{branch}"):
            try:
                other = Worktree(self.mirror, path)
            except ValueError:
                continue
            if other.name != self.name:
                trash += other._replace(why)
        return trash

    # -- reading the worktree

    def _tree_of(self, sha: str) -> str:
        return self.mirror.call("rev-parse", "--verify", f"{sha}^{{tree}}").text

    def _descends(self, start: str, head: str) -> bool:
        return start == head or self.mirror.contains(head, start)

    def _snapshot(self, head: str | None) -> str:
        if not self.path.is_dir() or self.path.is_symlink():
            return EMPTY_TREE
        with staging(self._known, head) as files:
            return files.tree(*content.nested(self.path))

    # -- what collect refuses

    def _refuse_conflicts(self) -> None:
        if self._known.untouched:
            return
        unmerged = self._known.call("ls-files", "--unmerged", "-z", accept=(0, 128)).names
        if unmerged:
            raise Refused(
                f"A merge was left with conflicts in `{unmerged[0].partition(chr(9))[2]}`, so nothing was pushed."
            )
