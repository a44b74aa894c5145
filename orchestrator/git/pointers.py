"""The pointers of Git LFS among the objects of a mirror, and the contents that an agent's own git-lfs has for them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.git.lfs import LONGEST, Pointer, Store, pieces_of
from orchestrator.git.mirror import Mirror
from orchestrator.git.shared_clone import is_real

_FILES = ("100644", "100755")


def pointers(mirror: Mirror, blobs: Iterable[str]) -> dict[str, Pointer]:
    """Which of these blobs are pointers, and to what."""
    asked = list(dict.fromkeys(blobs))
    sizes = mirror.call("cat-file", "--batch-check=%(objectsize)", stdin=_lines(asked)).text.split() if asked else []
    short = [blob for blob, size in zip(asked, sizes, strict=True) if int(size) <= LONGEST]
    told = io.BytesIO(mirror.call("cat-file", "--batch", stdin=_lines(short)).out if short else b"")
    found = {}
    for blob in short:
        content = told.read(int(told.readline().rsplit(b" ", 1)[1]))
        told.read(1)
        if one := Pointer.read(content):
            found[blob] = one
    return found


def stored_at(mirror: Mirror, commit: str, paths: Iterable[str] | None = None) -> dict[str, tuple[Pointer, bool]]:
    """The pointers that stand at these paths of a commit or tree (None: at any), and whether the file is executable."""
    wanted = None if paths is None else set(paths)
    listed = (entry.partition("\t") for entry in mirror.call("ls-tree", "-r", "-z", "--full-tree", commit).paths)
    entries = {path: about.split(" ") for about, _, path in listed if wanted is None or path in wanted}
    files = {path: (mode, blob) for path, (mode, _, blob) in entries.items() if mode in _FILES}
    found = pointers(mirror, (blob for _, blob in files.values()))
    return {path: (found[blob], mode == "100755") for path, (mode, blob) in files.items() if blob in found}


def adopt(store: Store, theirs: Path, top: Path, wanted: Iterable[Pointer]) -> None:
    """Take over the wanted objects that `theirs` has, a folder of git-lfs's that others wrote, below `top`.

    No link leads there: it could show what lies elsewhere on this machine.
    """
    for one in wanted:
        file = Store(theirs).path(one)
        if not store.has(one) and is_real(file.parent, top):
            with suppress(OSError):
                store.add(pieces_of(file), one)
        store.use([one])


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()
