"""Reading the files of a worktree that others wrote, and letting in what git made of them.

Every git command here runs inside walls: it reads the files, the mirror and the objects of the worktree's own clone,
and writes to a folder of its own, where its index and its new objects lie. What leaves the walls is a pack, which git
outside takes in only when each object is well formed and everything that it names is there, and the name of a tree or
commit in it. So a filter, a hook or a second repository that hides among the files has nothing to reach (A30 to A33,
A55). Without a sandbox the way is the same, and the walls are missing.

What changed is measured against the tree as it stood when the work began (`Changes`). The index begins as the one that
the worktree's creation left, so that git reads only files that were touched since: a file counts as untouched while its
size, inode and times are the same, and its time of change is the kernel's and cannot be set back as the others can. A
file that git then finds changed is held against the zero line, and against the bytes that a checkout writes: where the
repository's own rules of conversion do not lead back to what is stored, that difference is nobody's.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git import byproducts, cone, filters, lfs
from orchestrator.git.environment import EMPTY_TREE, Place, Scratch
from orchestrator.git.malformed import STRICT
from orchestrator.git.pointers import stored_at
from orchestrator.git.registration import ANY, Registration
from orchestrator.git.run import FLOOD, GitError, Result
from orchestrator.git.shared_clone import copied
from orchestrator.git.zero_line import stand
from orchestrator.sandbox import Walls

# A program `git-<name>` somewhere in PATH would come before the alias, so nobody else has these names.
_ALL_NAME, _PART_NAME, _LOOK_NAME, _NEW_NAME = (f"orchestrator-{word}" for word in ("all", "part", "look", "new"))
# One start inside the walls for several commands: the start is what costs. It says the tree's name, and then the pack
# of what the head has not, if any.
_ALL = (
    'f() { head=$1; shift; git add --all --pathspec-from-file="$1" --pathspec-file-nul && '
    '{ [ ! -s "$2" ] || git add --force --pathspec-from-file="$2" --pathspec-file-nul; } && '
    '{ [ ! -s "$3" ] || git update-index -z --index-info <"$3"; } && '
    'tree=$(git write-tree) && echo "$tree" || return; '
    '[ "$tree" = "$(git rev-parse "$head^{tree}")" ] || '
    'printf "%s\\n^%s^{tree}\\n" "$tree" "$head" | git pack-objects --quiet --stdout --revs; }; f'
)
# What is not there and never was is no deletion; whatever index git is given later, it is not asked about these again.
_PART = (
    'f() { head=$1; shift; git read-tree "$head" && git ls-files -z --deleted -- "$@" | '
    "git update-index -z --skip-worktree --stdin; }; f"
)
# What differs, and behind an empty name what is ignored.
_LOOK = (
    "f() { git ls-files -z -t --modified --others --exclude-standard && printf '\\0' && "
    "git ls-files -z --others --ignored --exclude-standard --directory; }; f"
)
# The objects that commits need and the mirror has not.
_NEW = 'f() { git rev-list --objects "$@" --not --all | git pack-objects --quiet --stdout; }; f'
_NAME = re.compile("[0-9a-f]{40}")
_PLAIN_DIFF = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")
_SHOWN_MOST = 10_000  # names in an ignored folder that are listed one by one


@dataclass(frozen=True)
class Changes:
    """What is different in a worktree from the commit that is checked out; paths as git has them, folders end in `/`.

    `tracked` and `new`: changed or deleted, and made, since the work began. `standing`: what git calls changed or new,
    and was so at the zero line or only looks so. `byproducts`: what no commit takes. `ignored`: made since the work
    began, and ignored by the repository's own rules. `forced`: put into the index in spite of that. `large`: those of
    all these that enter a commit as pointers of Git LFS.
    """

    tracked: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    byproducts: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    large: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """What enters a commit."""
        return (*self.tracked, *self.new, *self.forced)


class Staging:
    """The files of one worktree beside those of `head`; use `staging`, which takes the folder away again."""

    def __init__(self, known: Registration, folder: Path, head: str | None) -> None:
        self._known = known
        self._head = head or EMPTY_TREE
        self.folder = folder
        (folder / "objects").mkdir()
        mirror = known.mirror
        walls = Walls(write=(folder,), read=(mirror.path, known.top))
        self._walled = Scratch(
            folder,
            (mirror.store, known.clone.objects),
            lambda argv, cwd, env: mirror.sandbox.wrap(argv, cwd, env, walls),
        )
        self._patterns: tuple[str, ...] = byproducts.PATTERNS
        self._zero = known.zero_line
        made, held = known.as_made(), known.holds
        self._converts = True
        if held:
            self.call("-c", f"alias.{_PART_NAME}=!{_PART}", _PART_NAME, self._head, *cone.outside(held))
        elif made is None or (index := _copied(made[0], folder / "index")) is None:
            self.call("read-tree", self._head)
        else:
            self._converts = b".gitattributes" in index
            if made[1] != self._head:
                self.call("read-tree", "-m", "-i", self._head)

    @property
    def index(self) -> Path:
        """The index as the last command left it."""
        return self.folder / "index"

    @contextmanager
    def unspent(self) -> Iterator[None]:
        """What is done to the index in here is forgotten after it."""
        before, about = self.index.read_bytes(), self.index.stat()
        yield
        self.index.write_bytes(before)
        os.utime(self.index, ns=(about.st_atime_ns, about.st_mtime_ns))

    def call(
        self,
        *args: str,
        stdin: bytes | None = None,
        cut: int | None = None,
        accept: Sequence[int] = (0,),
        index: str = "index",
    ) -> Result:
        """Git inside the walls. What it says may be a lie."""
        exclude = ("-c", f"core.excludesFile={self.folder / 'byproducts'}")
        scratch = Scratch(self._walled.folder, self._walled.objects, self._walled.wrap, index)
        return self._known.call(*exclude, *args, scratch=scratch, stdin=stdin, cut=cut, accept=accept)

    def import_commits(self, *tips: str) -> None:
        """Let the mirror have these commits of the worktree's clone, with all that they need.

        Raises GitError where they are not whole, Refused above 256 MiB.
        """
        said = self.call("-c", f"alias.{_NEW_NAME}=!{_NEW}", _NEW_NAME, *tips, cut=FLOOD)
        if not said.whole:
            raise Refused("The commits hold more than 256 MiB that the remote does not have, so nothing was pushed.")
        if said.out:
            self._known.mirror.call("index-pack", STRICT, "--stdin", stdin=said.out)

    def changes(self, but: Sequence[str] = ()) -> Changes:
        """What whoever worked here did, `but` these paths apart."""
        top = self._known.path
        differing, ignored = self._look()
        left_out, of_repository = self._byproducts_among(ignored)
        if tracked_like := self._tracked_likes(left_out):
            self._patterns = tuple(one for one in self._patterns if one not in tracked_like)
            differing, ignored = self._look()
            left_out, of_repository = self._byproducts_among(ignored)
        new = [path for tag, path in differing if tag == "?" and not _within(path, but)]
        marked = self._marked([path for path in new if not path.endswith("/")])
        byproduct = [*left_out, *(f"{folder}/" for folder in marked)]
        new = [path for path in new if not _within(path, byproduct)]
        changed = [path for tag, path in differing if tag != "?" and not _within(path, but)]
        standing = [path for path in (*changed, *new) if self._zero.holds(top, path)]
        standing += self._as_checked_out([path for path in changed if path not in self._zero.stood])
        tracks_lfs = self._known.filtered or any(map(filters.is_attributes, (*changed, *new)))
        in_lfs = filters.given(self, [*changed, *new], lfs.NAME) if tracks_lfs else []
        standing += self._as_pointed([path for path in in_lfs if path in changed])
        still = frozenset(standing)
        forced = tuple(path for path in self._added_by_hand() if _within(path, (*byproduct, *of_repository)))
        fresh = [path for path in of_repository if path not in self._zero.ignored and path not in forced]
        in_lfs += filters.given(self, forced, lfs.NAME) if tracks_lfs and forced else []
        large = [path for path in in_lfs if path not in still and lfs.is_content(top / path)]
        large = large if large and self._known.lfs() else []
        return Changes(
            tuple(path for path in changed if path not in still),
            tuple(path for path in new if path not in still),
            (*standing, *but, *(folder.rstrip("/") for folder in marked)),
            tuple(byproduct),
            tuple(fresh),
            forced,
            tuple(large),
        )

    def standing(self, but: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """For a zero line: what differs from the checkout now, `but` these paths apart, and what is ignored."""
        differing, ignored = self._look()
        differing = [(tag, path) for tag, path in differing if not _within(path, but)]
        marked = self._marked([path for tag, path in differing if tag == "?" and not path.endswith("/")])
        found = [path for _, path in differing if not _within(path, [f"{folder}/" for folder in marked])]
        return found, ignored

    def seen(self, nested: Sequence[str]) -> list[str]:
        """Of nested repositories those that git would see; package managers leave others in ignored folders."""
        # `./`, because a name that begins with a colon would be read as a pattern.
        return [path for path in nested if self.call("check-ignore", "-q", "--", f"./{path}", accept=ANY).code != 0]

    def unmerged(self) -> list[str]:
        """The paths with conflicts in the index of the worktree's clone."""
        if not self._take_index():
            return []
        found = self.call("ls-files", "--unmerged", "-z", accept=(0, 128), index="theirs").names
        return [entry.partition("\t")[2] for entry in found]

    def diff(self, changes: Changes, most: int, folder: str = "") -> bytes:
        """What changed in tracked files since the head, as a diff; at most `most` bytes.

        `folder`: where the worktree itself lies, for the names.
        """
        paths = [f":(literal){path}" for path in changes.tracked[:_SHOWN_MOST]]
        names = (f"--src-prefix=a/{folder}", f"--dst-prefix=b/{folder}")
        return self.call("diff", "--no-color", *_PLAIN_DIFF, *names, self._head, "--", *paths, cut=most).out

    def tree(self, changes: Changes, restored: bytes = b"") -> str:
        """The head with these changes, as a tree that the mirror has. Refused above 256 MiB.

        `restored`: entries to put back, as `update-index --index-info` reads them.
        """
        apart = (*changes.standing, *changes.large)
        (self.folder / "add").write_bytes(_names([".", *(f":(exclude,literal){path}" for path in apart)]))
        forced = [path for path in changes.forced if path not in changes.large]
        (self.folder / "force").write_bytes(_names(f":(literal){path}" for path in forced))
        (self.folder / "restore").write_bytes(restored + self._pointed(changes.large))
        files = (str(self.folder / name) for name in ("add", "force", "restore"))
        try:
            said = self.call("-c", f"alias.{_ALL_NAME}=!{_ALL}", _ALL_NAME, self._head, *files, cut=FLOOD)
        except GitError as error:
            raise GitError(["add", "--all"], error.code, error.stderr.encode(), timed_out=error.timed_out) from error
        if not said.whole:
            raise Refused("The change is larger than 256 MiB, so nothing was pushed.")
        name, _, pack = said.out.partition(b"\n")
        tree = name.decode("ascii", "replace")
        if not _NAME.fullmatch(tree):
            raise GitError(["write-tree"], 0, b"it named no tree")
        if pack and tree != EMPTY_TREE:
            self._known.mirror.call("index-pack", STRICT, "--stdin", stdin=pack)
        return tree

    # -- what a change is

    def _look(self) -> tuple[list[tuple[str, str]], list[str]]:
        """What git calls changed or new, with its tag, and what it ignores, whole folders as one."""
        (self.folder / "byproducts").write_bytes(os.fsencode("".join(f"{one}\n" for one in self._patterns)))
        said = self.call("-c", f"alias.{_LOOK_NAME}=!{_LOOK}", _LOOK_NAME).out
        differing, _, ignored = said.partition(b"\0\0") if b"\0\0" in said else (b"", b"", said.removeprefix(b"\0"))
        names = (os.fsdecode(name) for name in differing.split(b"\0") if name)
        return [(name[0], name[2:]) for name in dict.fromkeys(names)], [
            os.fsdecode(name) for name in ignored.split(b"\0") if name
        ]

    def _byproducts_among(self, ignored: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Of what is ignored, our own patterns' part with the pattern of each, and the repository's own."""
        if not ignored:
            return {}, []
        asked = _names(f"./{path}" for path in ignored)
        words = self.call("check-ignore", "-v", "-z", "--stdin", stdin=asked, accept=ANY).paths
        ours, theirs = {}, []
        for source, pattern, path in zip(words[::4], words[2::4], words[3::4], strict=False):
            if source == str(self.folder / "byproducts"):
                ours[path.removeprefix("./")] = pattern
            else:
                theirs.append(path.removeprefix("./"))
        return ours, theirs

    def _tracked_likes(self, left_out: dict[str, str]) -> frozenset[str]:
        """The patterns among these that name something which the commit where the worktree began has."""
        patterns = sorted(set(left_out.values()))
        start = self._known.start
        if not patterns or self._known.mirror.sha(start) is None:
            return frozenset()
        self.call("read-tree", start, index="began")
        listed = ("ls-files", "-z", "--cached", "--ignored")
        return frozenset(one for one in patterns if self.call(*listed, "-x", one, index="began").out)

    def _marked(self, new: list[str]) -> list[str]:
        """Folders of new files that say they are caches, and in which nothing is tracked."""
        found = byproducts.marked_folders(self._known.path, new)
        return [one for one in found if not self.call("ls-files", "-z", "--", f":(literal){one}").out]

    def _as_checked_out(self, changed: Sequence[str]) -> list[str]:
        """Those of the files whose bytes are the ones that a checkout of the head writes."""
        there = [path for path in changed if stand(self._known.path / path)[0].startswith("file")]
        if not there or not self._converts:
            return []
        fresh = self.folder / "checked-out"
        fresh.mkdir(exist_ok=True)
        # In an empty work tree git reads the attributes from the index, and nobody's files.
        at = Place(self._known.mirror.path, None, fresh)
        scratch = Scratch(self.folder, self._walled.objects)
        words = ("checkout-index", "-z", "--stdin", "--force")
        self._known.mirror.call(*words, at=at, scratch=scratch, stdin=_names(there))
        return [path for path in there if stand(fresh / path)[0] == stand(self._known.path / path)[0]]

    def _as_pointed(self, changed: Sequence[str]) -> list[str]:
        """Those of the files that hold what the pointer in the head names, and are executable if that is."""
        there = [path for path in changed if lfs.is_content(self._known.path / path)]
        stored = stored_at(self._known.mirror, self._head, there) if there else {}
        return [
            path
            for path, (one, executable) in stored.items()
            if executable == _is_executable(self._known.path / path) and lfs.describes(one, self._known.path / path)
        ]

    def _pointed(self, large: Sequence[str]) -> bytes:
        """Take the contents into the mirror's store; entries for their pointers, as `--index-info` reads them."""
        if not large:
            return b""
        folder = self.folder / "pointers"
        folder.mkdir(exist_ok=True)
        for number, path in enumerate(large):
            one = self._known.mirror.large.add(lfs.pieces_of(self._known.path / path))
            assert one is not None
            (folder / str(number)).write_bytes(one.text)
        asked = "".join(f"{folder / str(number)}\n" for number in range(len(large))).encode()
        blobs = self._known.mirror.call("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=asked).text.split()
        modes = ("100755" if _is_executable(self._known.path / path) else "100644" for path in large)
        entries = zip(modes, blobs, large, strict=True)
        return b"".join(os.fsencode(f"{mode} {blob}\t{path}\0") for mode, blob, path in entries)

    def _added_by_hand(self) -> list[str]:
        """What the clone's own index has beyond its head."""
        if not self._take_index():
            return []
        added = ("diff-index", "--cached", "--name-only", "-z", "--diff-filter=A", "--no-renames", self._head, "--")
        return self.call(*added, accept=(0, 128), index="theirs").paths

    def _take_index(self) -> bool:
        """Whether somebody used the clone's index; then a copy of it is in the folder, as `theirs`."""
        if self._known.untouched:
            return False
        (self.folder / "theirs").write_bytes(copied(self._known.clone.index))
        return True


def _names(paths: Iterator[str] | Sequence[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def _within(path: str, places: Sequence[str]) -> bool:
    """Whether the path is one of the places, or lies in one that is a folder."""
    return any(path == place or path.startswith(f"{place.rstrip('/')}/") for place in places)


def _copied(index: Path, to: Path) -> bytes | None:
    """The index where it is whole; then it is copied with its time, by which git knows what it must look at again."""
    content, moment = index.read_bytes(), index.stat().st_mtime_ns
    if hashlib.sha1(content[:-20], usedforsecurity=False).digest() != content[-20:]:
        return None
    to.write_bytes(content)
    os.utime(to, ns=(moment, moment))
    return content


@contextmanager
def staging(known: Registration, head: str | None) -> Iterator[Staging]:
    """Raises GitError where git cannot read the mirror."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as folder:
        yield Staging(known, Path(folder), head)


def _is_executable(file: Path) -> bool:
    return bool(file.lstat().st_mode & 0o100)
