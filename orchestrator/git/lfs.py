"""Git LFS: what stands in commits is a pointer of three lines, what stands in a worktree is the content that it names.

Both ways are gone here, without running a program that a repository or an account has configured. The objects lie in
the mirror's folder `lfs`, as git-lfs itself has them: there a git-lfs in the clone of a worktree finds them too.
Guaranteed: an object is what its name says, looked at whenever it is taken in or put in place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git.access import Access
from orchestrator.git.disk import small

NAME = "lfs"  # of the filter
LONGEST = 1024  # bytes of a pointer
LARGEST = 2 * 1000**3  # bytes; what GitHub takes on its smallest plans

_CHUNK = 1024 * 1024
_FORM = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n?"
)


@dataclass(frozen=True)
class Pointer:
    """The name of an object, and its size in bytes."""

    oid: str
    size: int

    @classmethod
    def read(cls, content: bytes) -> Pointer | None:
        """What stands in a file, with any line ends; None for what is no pointer."""
        if len(content) > LONGEST:
            return None
        found = _FORM.fullmatch(content.replace(b"\r\n", b"\n"))
        return cls(found[1].decode(), int(found[2])) if found else None

    @property
    def text(self) -> bytes:
        """As it stands in a commit."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()


class Store:
    """The objects in a folder, as git-lfs lays them out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, one: Pointer) -> Path:
        """Where the object is, or would be."""
        return self.folder / "objects" / one.oid[:2] / one.oid[2:4] / one.oid

    def has(self, one: Pointer) -> bool:
        """Whether it is there; whether it is damaged, `place` and the server tell."""
        path = self.path(one)
        return path.is_file() and not path.is_symlink() and path.stat().st_size == one.size

    def add(self, pieces: Iterable[bytes], wanted: Pointer | None = None) -> Pointer | None:
        """Take an object in; None, and nothing taken, where it is not the `wanted` one, of which no more is read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".new-", dir=self.folder)
        try:
            digest, size = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    if wanted is not None and size > wanted.size:
                        return None
                    file.write(piece)
            found = Pointer(digest.hexdigest(), size)
            if wanted not in (None, found):
                return None
            self.path(found).parent.mkdir(parents=True, exist_ok=True)
            Path(name).chmod(0o444)  # a link to it that git-lfs makes in a clone is not to be written through
            Path(name).replace(self.path(found))
            return found
        finally:
            Path(name).unlink(missing_ok=True)

    def place(self, one: Pointer, file: Path) -> bool:
        """Put the content in the place of its pointer; False, and the file as it was, where it is damaged."""
        new = file.with_name(f".{one.oid[:16]}-new")
        digest = hashlib.sha256()
        try:
            with new.open("xb") as out:
                for piece in pieces_of(self.path(one)):
                    digest.update(piece)
                    out.write(piece)
            if digest.hexdigest() != one.oid:
                self.path(one).unlink(missing_ok=True)
                return False
            new.chmod(stat.S_IMODE(file.stat().st_mode))
            new.replace(file)
            return True
        finally:
            new.unlink(missing_ok=True)

    def use(self, objects: Iterable[Pointer]) -> None:
        """They are used now: `prune` spares them as if they were new."""
        for one in objects:
            with suppress(OSError):
                os.utime(self.path(one))

    def prune(self, before: float) -> int:
        """Delete what nobody used since `before` (seconds since 1970), and what a crash left; how many went."""
        gone = 0
        for file in (*self.folder.glob("objects/??/??/*"), *self.folder.glob(".new-*")):
            with suppress(FileNotFoundError):
                if file.lstat().st_mtime < before:
                    file.unlink()
                    gone += 1
        return gone

    def pieces(self, one: Pointer) -> Iterator[bytes]:
        """The content."""
        return pieces_of(self.path(one))


def pieces_of(path: Path) -> Iterator[bytes]:
    """The content of a plain file; OSError for anything else, a link included."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no plain file")
        while piece := file.read(_CHUNK):
            yield piece


def describes(one: Pointer, file: Path) -> bool:
    """Whether the file holds what the pointer names."""
    try:
        if file.lstat().st_size != one.size:
            return False
        digest = hashlib.sha256()
        for piece in pieces_of(file):
            digest.update(piece)
    except OSError:
        return False
    return digest.hexdigest() == one.oid


def is_content(file: Path) -> bool:
    """Whether git-lfs would make a pointer of the file: it is plain, not empty, and no pointer already."""
    try:
        about = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(about.st_mode) or about.st_size == 0:
        return False
    return about.st_size > LONGEST or Pointer.read(small(file, LONGEST + 1)) is None


def check_size(path: str, file: Path) -> None:
    """Refuse what no LFS server of GitHub's takes."""
    if (size := file.lstat().st_size) > LARGEST:
        raise Refused(
            f"`{path}` is {size / 1000**3:.1f} GB, more than the 2 GB that Git LFS takes for a file here. Nothing was "
            "pushed; make it smaller, or have it ignored."
        )


def server(access: Access, said: str) -> str | None:
    """The address of the repository's own LFS server; None where the daemon calls none.

    `said`: what `.lfsconfig` calls `lfs.url`. Those are a stranger's words, so they lead nothing elsewhere: where they
    name any other address, contents are neither fetched nor sent. None too where git-lfs is not installed, and for a
    remote that is a folder.
    """
    if shutil.which("git-lfs") is None or access.protocol == "file":
        return None
    own = access.url.rstrip("/").removesuffix(".git")
    usual = f"{own}.git/info/lfs"
    return usual if said.strip().rstrip("/") in ("", usual, f"{own}/info/lfs") else None
