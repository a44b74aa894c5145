"""A folder with the files of one commit and a repository of its own, for one agent or one set of commands.

`create` makes it whatever a crash, a person or an agent left in its place; what would be lost with that is
kept first under `refs/orchestrator/salvage/<name>/<n>` in the mirror (or, when git cannot read it, in a folder
`<name>.kept-<n>` beside it). A creation that was cut off is known by its mark and holds nothing to keep.

Its `.git` is a clone that borrows the mirror's objects (`SharedClone`): git works in it as in any clone, and nothing
that is written there reaches the mirror but by `collect` and `save`.

A submodule in it (`Checkout`) is a worktree of its own mirror, and is saved as such. What `collect` takes of it is the
commit that it shows, where somebody moved it since the work began and others can fetch that commit.

Guaranteed: no repository, config or index that others wrote is ever used by a command of ours, which name the mirror,
the work tree and an index of our own (A32, A33); nothing outside of the mirror's folder is deleted. What `collect`
commits is what changed since the work began: after the checkout with its conversions, and after `work_begins`.
Not guaranteed: two writers in one worktree. The caller ends all processes of a run before it calls
`collect`, `save` or `remove`.

The names of two worktrees of one mirror must differ.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import byproducts, cone, content, filters, lfs
from orchestrator.git.checkout import OURS, Checkout, Lacking, Terms
from orchestrator.git.disk import changed_since, discard, discard_later
from orchestrator.git.environment import EMPTY_TREE
from orchestrator.git.gitmodules import GITLINK
from orchestrator.git.lfs import Pointer
from orchestrator.git.mirror import LARGEST_DIFF, Mirror
from orchestrator.git.pointers import adopt, pointers
from orchestrator.git.registration import Registration
from orchestrator.git.run import GitError
from orchestrator.git.salvage import UNSAID, keep, keep_tree
from orchestrator.git.staging import Changes, Staging, staging
from orchestrator.git.submodules import check_move, moved, moves, standing
from orchestrator.git.zero_line import ZeroLine

IGNORED_MOST = 16 * 1024 * 1024  # bytes of ignored files that are saved

_IN_NO_COMMIT = "no commit of its branch holds it"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.lock)(?<!\.)")
_SPECIAL = re.compile(r"([\\*?\[ ])")


@dataclass(frozen=True)
class Collected:
    """What `collect` made: the new HEAD, and what it left out, folders ending in `/`.

    `byproducts`: byte code, caches and the like; `ignored`: what the repository's own rules ignore, made since the work
    began; `inside`: what was changed in the files of submodules; `kept`: whether some of these two, a stash or another
    branch was saved, since no commit of HEAD holds it. `filtered`: whether attributes may give a path that was written
    a filter (`filters.unfiltered`); `server`: that of Git LFS, where it is at work here, and `large` each new pointer,
    by its path.
    """

    head: str
    byproducts: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    kept: bool = False
    filtered: bool = False
    server: str = ""
    large: tuple[tuple[str, Pointer], ...] = ()


class Worktree:
    """The worktree at `path`, which lies in the folder of `mirror`; it need not exist yet."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        path = path.parent.resolve() / path.name
        inside = mirror.base in path.parents and path != mirror.path and mirror.path not in path.parents
        if not inside or not _NAME.fullmatch(path.name):
            raise ValueError(f"{path} is no place for a worktree of {mirror.path}")
        self._take(Registration(mirror, path))

    def _take(self, known: Registration) -> None:
        self.path = known.path
        self.mirror = known.mirror
        self.name = known.name
        self._known = known

    @property
    def borrows(self) -> tuple[Path, ...]:
        """The folders of objects without which git does not work in it."""
        return self._known.stores

    def create(self, sha: str, branch: str | None, base: str = "", terms: Terms = OURS) -> tuple[Lacking, ...]:
        """Make the worktree at `sha`, on `branch` (set to `sha`) or detached, in place of whatever is there.

        `base`: the remote's branch that is a local branch too. A detached one holds everything, whatever the mirror's
        cone is: a review or a test of a part would pass for one of the whole. Returns the submodules that are empty.
        Raises Retry as `Checkout.write`.
        """
        with self.mirror.lock:
            trash = self._replace("another attempt took its place")
            self._known.begin()
        checkout = Checkout(terms)
        checkout.write(self._known, sha, branch, base, self.mirror.cone if branch is not None else ())
        discard_later(trash)
        return tuple(checkout.lacking)

    def work_begins(self) -> None:
        """Take what stands here now for the zero line: what was copied in or left by set-up commands is no change.

        What they committed stands too, and in no commit: the work builds on the one where the worktree started.
        """
        made = self._known.as_made()
        if made is not None and not self._known.depth and self._known.head() != made[1]:
            self._known.clone.move(made[1], made[0])
        modules = standing(self._known)
        for inner in self._submodules():
            inner.work_begins()
        with staging(self._known, self.head()) as files:
            differing, ignored = files.standing(list(modules))
        self._known.zero_line = ZeroLine.of(self.path, differing, ignored, modules)
        left = ("/" + _SPECIAL.sub(r"\\\1", path) for path in differing if "\n" not in path)
        self._known.clone.exclude((*byproducts.PATTERNS, *left))

    def usable(self) -> bool:
        """Whether it is there whole, so that somebody could go on in it."""
        known = self._known
        whole = self.path.is_dir() and not self.path.is_symlink() and known.clone.is_there and not known.half_made
        return whole and known.as_made() is not None and known.head() is not None

    def settle(self) -> None:
        """Let somebody go on in it whose last command was killed; the files stay as they are."""
        self._known.clone.settle()
        for inner in self._submodules():
            inner.settle()

    def save(self, name: str, why: str = UNSAID) -> str | None:
        """Keep the commits, stashes and files that only this worktree has; the worktree is unchanged.

        Ignored files that are new are kept too, up to 16 MiB; byproducts are not. `why` as in `salvage.keep`. Returns
        the kept commit of the files (the same one again when nothing changed since), else of a stash or another
        branch; None when all of it is known to the remote. Submodules are kept each in their own mirror; other nested
        repositories are left out. Raises GitError or OSError when the files cannot be read.
        """
        for inner in self._submodules():
            inner.save(inner.name, why)
        head = self._known.head_or_start()
        aside = self._keep_commits(name, why, head)
        tree = self._snapshot(head)
        if head is not None and tree in (EMPTY_TREE, self._tree_of(head)):
            if self._known.depth and head == self.mirror.sha(self._known.start):
                return aside  # a gitlink led to it, whatever the branches say
            return keep(self.mirror, name, head, why) or aside
        return aside if tree == EMPTY_TREE else keep_tree(self.mirror, name, tree, head, why)

    def collect(self, message: str) -> Collected:
        """Commit what was changed here since the work began, on top of HEAD.

        Commits that were made here stay as they are, but for files that are as the set-up left them: `git commit -a`
        takes those in, and they are put back on top.

        Raises Refused when HEAD does not descend from where the worktree started, when a merge was left with
        conflicts, and for anything that `content` does not let in.
        """
        known = self._known
        if self.path.is_symlink() or not self.path.is_dir():
            raise GitError(["status"], 128, f"the worktree {self.path} is gone".encode())
        head, before, start = self._ends()
        if head is None or start is None or not self._descends(start, head):
            raise Refused(
                "The work no longer builds on the commit that it started from (the history was rewritten or another "
                "branch was checked out), so it was not pushed. It is kept in the worktree."
            )
        self.settle()
        modules, nested = standing(self._known), content.nested(self.path)
        with staging(known, head) as files:
            if conflicts := files.unmerged():
                raise Refused(f"A merge was left with conflicts in `{conflicts[0]}`, so nothing was pushed.")
            for path in files.seen(_beside(modules, nested)):
                raise content.refused_nested(path)
            found = files.changes(list(modules))
            filtered = known.filtered or head != start or any(map(filters.is_attributes, found.own))
            restored = b"" if head == start else self._not_the_agents(start, head, found)
            restored += moves(self._known, modules, head)
            for path in found.large:
                lfs.check_size(content.shown(path), self.path / path)
            small_ones = [path for path in found.own if path not in found.large]
            content.check_files(self.mirror, self.path, small_ones, head)
            try:
                tree = files.tree(found, restored) if found.own or restored or before is None else before
            except GitError as error:
                refused = content.refused_file(error)
                if refused is None:
                    raise
                raise refused from error
            content.check_tree(self.mirror, start, tree, lambda *moved: check_move(self.mirror, start, *moved))
            if held := known.holds:
                cone.check_kept(self.mirror, held, start, tree)
            if tree != before:
                head = self.mirror.commit_tree(tree, [head], message)
            if head != start:
                with self.mirror.lock:
                    self.mirror.call("update-ref", known.collected, head)
            kept = self._keep_rest(files, found, head)
            known.clone.move(head, files.index)
        server = known.lfs() if filtered else ""
        made = self._objects(start, head) if server else ()
        inside, kept_inside = self._keep_inside()
        return Collected(head, found.byproducts, found.ignored, inside, kept or kept_inside, filtered, server, made)

    def head(self) -> str:
        """The commit that is checked out. Raises GitError when there is none."""
        head = self._known.head()
        if head is None:
            raise GitError(["rev-parse", "HEAD"], 128, f"nothing is checked out in {self.path}".encode())
        return head

    def modified(self) -> tuple[list[str], bytes]:
        """The tracked files that whoever worked here changed, in commits or not, and the diff of up to 16 MiB.

        A submodule that is at another commit is one of them, and so are its files.
        """
        start = self.mirror.sha(self._known.start)
        folder = "".join(f"{part}/" for part in self.path.relative_to(self._known.top).parts)
        with staging(self._known, start) as files:
            found = files.changes(content.nested(self.path))
            changed, shown = list(found.tracked), files.diff(found, LARGEST_DIFF, folder) if found.tracked else b""
        for path, (before, now) in moved(self._known, standing(self._known)).items():
            changed.append(path)
            shown += os.fsencode(f"Submodule {folder}{path} {before}..{now}\n")
        for inner in self._submodules():
            names, more = inner.modified()
            within = inner.path.relative_to(self.path)
            changed += [f"{within}/{name}" for name in names]
            shown += more
        return changed, shown[:LARGEST_DIFF]

    def remove(self) -> None:
        """Unregister and delete the worktree. Absent is fine."""
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
            except (GitError, OSError, Refused):
                whole = False
            if not whole:
                self._set_aside()
        return self._known.withdraw()

    def _leaves_out(self) -> bool:
        """Whether `save` cannot keep all of the folder."""
        nested = content.nested(self.path) if self.path.is_dir() else []
        others = _beside([str(inner.path.relative_to(self.path)) for inner in self._submodules()], nested)
        if not others:
            return False
        with staging(self._known, self._known.head_or_start()) as files:
            return bool(files.seen(others))

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.name}.kept-{number}")).exists():
            number += 1
        if self.path.exists():
            self.path.rename(aside)

    # -- reading the worktree

    def _ends(self) -> tuple[str | None, str | None, str | None]:
        """HEAD and its tree, both in the mirror by now, and where the worktree began; None for what is not there."""
        start = self._known.start
        head = self._known.head() or start
        asked = [f"{head}^{{commit}}", f"{head}^{{tree}}", f"{start}^{{commit}}"]
        commit, tree, began = self.mirror.resolve(*asked)
        if commit is None and began is not None:
            with staging(self._known, None) as files, suppress(GitError):
                files.import_commits(head)
            commit, tree, began = self.mirror.resolve(*asked)
        if commit is None or began is None:
            self.mirror.examine()
        return commit, tree, began

    def _keep_commits(self, name: str, why: str, head: str | None) -> str | None:
        """Bring what was committed here, to whichever branch or stash, to the mirror and keep it; one that was kept."""
        tips = self._known.clone.tips()
        there = self.mirror.resolve(*(f"{tip}^{{commit}}" for tip in tips)) if tips else []
        lacking = [tip for tip, found in zip(tips, there, strict=True) if found is None]
        if lacking:
            with staging(self._known, None) as files:
                for tip in lacking:
                    files.import_commits(tip)
        start = self.mirror.sha(self._known.start) if self._known.filtered else None
        if start is not None:
            for tip in tips:
                self._objects(start, tip)
        others = (tip for tip in tips if head is None or not self._descends(tip, head))
        kept = [keep(self.mirror, name, tip, why) for tip in others]
        return next((sha for sha in kept if sha is not None), None)

    def _keep_rest(self, files: Staging, found: Changes, head: str) -> bool:
        """Save what was made here and no commit of HEAD holds; whether there was any."""
        kept = self._keep_commits(self.name, _IN_NO_COMMIT, head)
        with_ignored = self._with_ignored(found)
        if with_ignored == found:
            return kept is not None
        with files.unspent():
            tree = files.tree(with_ignored)
        return keep_tree(self.mirror, self.name, tree, head, _IN_NO_COMMIT) is not None

    def _with_ignored(self, found: Changes) -> Changes:
        """What was ignored is taken too, as much of it as is no repository and not too large."""
        nested, left, taken = content.nested(self.path) if found.ignored else [], IGNORED_MOST, []
        for path in found.ignored:
            size = _size(self.path / path)
            if size <= left and not any(f"{one}/".startswith(path) for one in nested):
                left -= size
                taken.append(path)
        return replace(found, forced=(*found.forced, *taken))

    def _not_the_agents(self, start: str, head: str, found: Changes) -> bytes:
        """Of the commits' files those that are as the set-up left them, with what they were, for `--index-info`."""
        zero, moved = self._known.zero_line, frozenset(found.own)
        if not zero.stood:
            return b""
        raw = self.mirror.call("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", start, head).paths
        lines = []
        for entry, path in zip(raw[::2], raw[1::2], strict=True):
            mode, _, sha, _, how = entry.removeprefix(":").split(" ")
            # What is untracked and still there was taken out of the index on purpose.
            by_all = how in "MT" or (how == "D" and not os.path.lexists(self.path / path))
            if by_all and mode != GITLINK and path not in moved and zero.holds(self.path, path):
                lines.append(os.fsencode(f"{mode} {sha}\t{path}\0"))
        return b"".join(lines)

    def _objects(self, start: str, head: str) -> tuple[tuple[str, Pointer], ...]:
        """The pointers in the new commits; what an agent's git-lfs has of their contents is in the mirror then."""
        written = filters.versions(self.mirror, head, [start])
        found = pointers(self.mirror, (blob for _, blob in written))
        adopt(self.mirror.large, self._known.clone.folder / "lfs", self._known.top, found.values())
        return tuple((path, found[blob]) for path, blob in written if blob in found)

    # -- submodules

    def _submodules(self) -> list[Worktree]:
        """Those that were brought and whose files are where they were put."""
        there = (known for _, known in self._known.submodules if known.is_there)
        return [_inside(known) for known in there if stat.S_ISREG(_mode(known.path / ".git"))]

    def _keep_inside(self) -> tuple[tuple[str, ...], bool]:
        """What was changed in submodules, which is saved, and whether anything had to be."""
        names, kept = [], False
        for inner in self._submodules():
            with staging(inner._known, inner._known.head_or_start()) as files:
                found = files.changes(content.nested(inner.path))
            names += [str(inner.path.relative_to(self.path) / path) for path in found.own]
            kept |= inner.save(inner.name, _IN_NO_COMMIT) is not None
            more, kept_there = inner._keep_inside()
            names += [str(inner.path.relative_to(self.path) / path) for path in more]
            kept |= kept_there
        return tuple(names), kept

    def _tree_of(self, sha: str) -> str:
        return self.mirror.call("rev-parse", "--verify", f"{sha}^{{tree}}").text

    def _descends(self, start: str, head: str) -> bool:
        return start == head or self.mirror.contains(head, start)

    def _snapshot(self, head: str | None) -> str:
        if not self.path.is_dir() or self.path.is_symlink():
            return EMPTY_TREE
        with staging(self._known, head) as files:
            found = files.changes(content.nested(self.path))
            return files.tree(self._with_ignored(found))


def _inside(known: Registration) -> Worktree:
    """The worktree that a submodule is."""
    tree = Worktree.__new__(Worktree)
    tree._take(known)
    return tree


def _beside(modules: Collection[str], nested: Sequence[str]) -> list[str]:
    """Those of the nested repositories that are no submodule and lie in none."""
    return [path for path in nested if not any(path == one or path.startswith(f"{one}/") for one in modules)]


def _mode(path: Path) -> int:
    return path.lstat().st_mode if os.path.lexists(path) else 0


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
