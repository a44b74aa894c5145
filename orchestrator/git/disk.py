"""Files and folders that other programs have been at: written whole, deleted whatever they are."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path`; a reader sees the old content or the new, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def small(path: Path, most: int = 4096) -> bytes:
    """The beginning of a plain file that others can put there; empty where there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not hold us
    try:
        with io.FileIO(path, opener=lambda name, _: os.open(name, flags)) as file:
            return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def changed_since(path: Path, moment: float) -> bool:
    """Whether the file, or anything in the folder, was written, made, moved or deleted after `moment` (since 1970).

    False for what is not there. Links are not followed.
    """
    if _touched(path) > moment:
        return True
    folders = os.walk(path) if path.is_dir() and not path.is_symlink() else ()
    return any(_touched(Path(folder, name)) > moment for folder, inner, files in folders for name in (*inner, *files))


def _touched(path: Path) -> float:
    try:
        about = path.lstat()
    except OSError:
        return 0.0
    # The second one cannot be set by whoever unpacks an old archive, and tells of a rename too.
    return max(about.st_mtime, about.st_ctime)


def discard_later(paths: Iterable[Path]) -> None:
    """Delete beside the work: it takes seconds for many files. What fails or is cut off is left to `housekeeping`."""
    if paths := list(paths):
        threading.Thread(target=_discard_all, args=(paths,), name="discard", daemon=True).start()


def _discard_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            discard(path)


def discard(path: Path) -> None:
    """Delete a file, a link (not what it leads to) or a folder, also one whose folders were made read-only."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        path.chmod(0o700)
        for folder, names, _ in os.walk(path):
            for name in names:
                inner = Path(folder, name)
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(path)
