"""The repository of one worktree: a clone that borrows the mirror's objects, as `git clone --shared` makes it.

It answers what an ordinary clone answers: tags, the other branches, `origin` and `origin/HEAD`, a local name of the
base. Its config, index, stash, notes and branches are its own, so that whoever works in it reaches nobody else.

What others wrote there is read as text and as objects, never used as a repository: no config, hook or filter that
stands in it is ever in force for a command of the daemon's (A30 to A33).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.git.disk import discard, small, write_whole
from orchestrator.git.mirror import Mirror
from orchestrator.git.seal import own_config, quoted

INDEX_MOST = 256 * 1024 * 1024  # bytes
REFS_MOST = 10_000

_SHARED = ("refs/remotes/origin", "refs/tags")
_SHA = re.compile(rb"[0-9a-f]{40}")
_SYMBOLIC = re.compile(rb"ref:\s*(refs/[^\s~^:?*\[\\\x00-\x1f\x7f]+)\s*")
_STASHED = re.compile(rb"^[0-9a-f]{40} ([0-9a-f]{40}) ", re.MULTILINE)
_PACKED = re.compile(rb"^([0-9a-f]{40}) (refs/\S+)$", re.MULTILINE)
_UNFINISHED = ("MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "CHERRY_PICK_HEAD", "REVERT_HEAD", "AUTO_MERGE")
_UNFINISHED_FOLDERS = ("rebase-merge", "rebase-apply", "sequencer")


class SharedClone:
    """The folder `.git` of the worktree at `top`, or the one in there that is a submodule's, with its name `inner`."""

    def __init__(self, mirror: Mirror, top: Path, inner: str = ".git") -> None:
        self._mirror = mirror
        self._top = top
        self.inner = inner
        self.folder = top / inner

    @property
    def objects(self) -> Path:
        """The folder of its own objects."""
        return self.folder / "objects"

    @property
    def index(self) -> Path:
        """The file of its index."""
        return self.folder / "index"

    @property
    def is_there(self) -> bool:
        """Whether it is a folder of its own, which no link leads away from."""
        return self._is_own(self.folder / "HEAD") and (self.folder / "HEAD").is_file()

    def make(self, sha: str, branch: str | None, base: str, cone: bytes) -> None:
        """Write it where there is none, at `sha` and without an index.

        `branch` is checked out, or none is; `base` names the remote's branch that gets a local name; `cone`: what
        `info/sparse-checkout` holds, empty for everything.
        """
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "refs/remotes/origin", "info"):
            (self.folder / name).mkdir(parents=True)
        known = self._known_to_the_mirror()
        heads = {}
        tip = known.get(f"refs/remotes/origin/{base}")
        if tip is not None and not f"{branch}/".startswith(f"{base}/"):  # a name has no room below another
            heads[f"refs/heads/{base}"] = tip
        if branch is not None:
            heads[f"refs/heads/{branch}"] = sha
        lines = "".join(f"{at} {ref}\n" for ref, at in sorted({**known, **heads}.items(), key=_by_bytes))
        (self.folder / "packed-refs").write_bytes(b"# pack-refs with: sorted \n" + os.fsencode(lines))
        if (default := self._mirror.default) and f"refs/remotes/origin/{default}" in known:
            (self.folder / "refs/remotes/origin/HEAD").write_text(f"ref: refs/remotes/origin/{default}\n")
        (self.folder / "objects/info/alternates").write_bytes(os.fsencode(f"{self._mirror.store}\n"))
        (self.folder / "config").write_bytes(self._config(base if heads else "", bool(cone)))
        if cone:
            (self.folder / "info/sparse-checkout").write_bytes(cone)
        (self.folder / "HEAD").write_text(f"{sha}\n" if branch is None else f"ref: refs/heads/{branch}\n")

    def belongs_to(self, folder: Path) -> None:
        """Let git find its way between this clone, which is a submodule's, and the `folder` of its files."""
        (folder / ".git").write_text(f"gitdir: {os.path.relpath(self.folder, folder)}\n", "utf-8", "surrogateescape")
        self.configure(f"[core]\n\tworktree = {quoted(os.path.relpath(folder, self.folder))}\n")

    def configure(self, more: str) -> None:
        """Write more into the config of a clone that nobody has used yet."""
        with (self.folder / "config").open("ab") as file:
            file.write(os.fsencode(more))

    def exclude(self, patterns: Iterable[str]) -> None:
        """Let the clone's own `git add` and `git status` pass over what these patterns of `.gitignore` name."""
        file = self.folder / "info" / "exclude"
        if self._is_own(file):
            write_whole(file, os.fsencode("".join(f"{pattern}\n" for pattern in patterns)))

    def use_lfs(self) -> None:
        """Let its git run git-lfs, which finds the objects of the mirror by itself, from now on."""
        words = "clean = git-lfs clean -- %f", "smudge = git-lfs smudge -- %f", "process = git-lfs filter-process"
        lines = "".join(f"\t{word}\n" for word in (*words, "required = true"))
        with (self.folder / "config").open("a") as file:
            file.write(f'[filter "lfs"]\n{lines}[lfs]\n\tlocksverify = false\n')

    def believe_index(self) -> None:
        """Let its git take the files for what was checked out, where attributes may convert what it wrote.

        Git reads a file again that was written in the same second as its index, and finds a change where a conversion
        of line ends or an encoding does not lead back to what is stored: `git add --all` would take it. In return it
        may miss a change of the same length that somebody makes within that second; `Staging` does not.
        """
        if b".gitattributes" in copied(self.index):
            moment = math.ceil(self.index.stat().st_mtime) + 1
            os.utime(self.index, (moment, moment))

    def head(self) -> str | None:
        """The commit that is checked out, by what stands in the files; None when there is none."""
        return head_of(self.folder)

    def tips(self) -> list[str]:
        """The commits of its branches and of its stash, that of HEAD first, each once; none that its remote shows."""
        packed = list(_packed(self.folder))
        remote = {sha for name, sha in packed if name.startswith("refs/remotes/")}
        found = [self.head() or ""]
        found += [sha for name, sha in packed if name.startswith("refs/heads/") or name == "refs/stash"]
        for number, file in enumerate(self._loose()):
            if number >= REFS_MOST:
                break
            found.append(small(file).strip().decode("ascii", "replace"))
        log = small(self.folder / "logs/refs/stash", 1_000_000)
        found += [sha.decode() for sha in _STASHED.findall(log)]
        return [sha for sha in dict.fromkeys(found) if _SHA.fullmatch(sha.encode()) and sha not in remote]

    def settle(self) -> None:
        """Forget a command of git's that was cut off; the caller has ended its process."""
        if not self.is_there:
            return
        for lock in [*self.folder.glob("*.lock"), *(self.folder / "refs").rglob("*.lock")]:
            if self._is_own(lock):
                lock.unlink(missing_ok=True)
        for name in _UNFINISHED:
            (self.folder / name).unlink(missing_ok=True)
        for name in _UNFINISHED_FOLDERS:
            discard(self.folder / name)

    def move(self, sha: str, index: Path) -> None:
        """Let what is checked out show `sha`, with a copy of this `index`; nothing where the folder is not its own."""
        head = small(self.folder / "HEAD")
        symbolic = _SYMBOLIC.fullmatch(head)
        name = os.fsdecode(symbolic[1]) if symbolic else "HEAD"
        ref = self.folder / name
        if ".." in name or not self.is_there:
            return
        for folder in self._folders(ref):
            if not os.path.lexists(folder):
                folder.mkdir()
            elif folder.is_symlink() or not folder.is_dir():
                return
        if not ref.is_dir():
            write_whole(ref, f"{sha}\n".encode())
            write_whole(self.index, index.read_bytes())

    def _is_own(self, path: Path) -> bool:
        """Whether each folder on the way to the file is one, and no link."""
        return is_real(path.parent, self._top)

    def _folders(self, path: Path) -> list[Path]:
        inner = path.parent.relative_to(self._top)
        return [self._top.joinpath(*inner.parts[:depth]) for depth in range(len(inner.parts) + 1)]

    def _config(self, base: str, cone: bool) -> bytes:
        remote = (
            f'[remote "origin"]\n\turl = {quoted(self._mirror.access.url)}\n'
            "\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        )
        branch = f"[branch {quoted(base)}]\n\tremote = origin\n\tmerge = {quoted(f'refs/heads/{base}')}\n"
        sparse = "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = true\n"
        more = remote + (branch if base else "") + (sparse if cone else "")
        return own_config(self._mirror.identity, bare=False) + os.fsencode(more)

    def _known_to_the_mirror(self) -> dict[str, str]:
        listed = self._mirror.call("for-each-ref", "--format=%(objectname) %(refname)", *_SHARED)
        pairs = (os.fsdecode(line).split(" ", 1) for line in listed.out.splitlines())
        return {ref: sha for sha, ref in pairs}

    def _loose(self) -> Iterator[Path]:
        yield self.folder / "refs/stash"
        for folder, _, names in os.walk(self.folder / "refs/heads"):
            yield from (Path(folder, name) for name in sorted(names))


def is_real(folder: Path, top: Path) -> bool:
    """Whether the folder is there and no link leads to it from `top`."""
    inner = folder.relative_to(top)
    ways = [top.joinpath(*inner.parts[:depth]) for depth in range(len(inner.parts) + 1)]
    return all(way.is_dir() and not way.is_symlink() for way in ways)


def head_of(repository: Path) -> str | None:
    """The commit that is checked out there, by what stands in the files; None when there is none."""
    name, refs = b"HEAD", None
    for _ in range(5):
        said = small(repository / os.fsdecode(name)) if b".." not in name else b""
        if _SHA.fullmatch(said.strip()):
            return said.strip().decode()
        symbolic = _SYMBOLIC.fullmatch(said)
        if symbolic is None:
            refs = dict(_packed(repository)) if refs is None else refs
            return refs.get(os.fsdecode(name))
        name = symbolic[1]
    return None


def checked_out(folder: Path) -> str | None:
    """The commit of the repository whose work tree is `folder`; None when there is none."""
    git = folder / ".git"
    said = small(git).strip()
    if said.startswith(b"gitdir: "):
        git = folder / os.fsdecode(said.removeprefix(b"gitdir: "))
    return head_of(git)


def _packed(repository: Path) -> Iterator[tuple[str, str]]:
    for sha, name in _PACKED.findall(small(repository / "packed-refs", 16_000_000)):
        yield os.fsdecode(name), sha.decode()


def _by_bytes(pair: tuple[str, str]) -> bytes:
    return os.fsencode(pair[0])


def copied(index: Path) -> bytes:
    """The bytes of an index that others may have written; empty for what is no plain file or too large."""
    return small(index, INDEX_MOST)
