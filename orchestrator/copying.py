"""`COPY_FILES`: what a worktree needs and git does not hold, such as `.env`, copied from a folder that the owner names.

Guaranteed: what is copied are plain files and links that stay among them, never anything of a checkout; modes are
kept; nothing that the repository has is replaced, and no link of the repository's leads a copy out of the worktree.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator import refusals
from orchestrator.errors import Refused
from orchestrator.redactor import credentials
from orchestrator.sandbox.walls import opens_a_home, there

FILES_MOST = 1000
BYTES_MOST = 64 << 20
_READ_MOST = 1 << 20  # bytes of one file that are looked through for credentials


def trouble(folder: Path) -> str:
    """Why the folder cannot be copied, as the end of a sentence that begins with its setting; empty where it can."""
    try:
        files = listed(folder)
    except (OSError, ValueError) as error:
        return str(error) if isinstance(error, ValueError) else f"cannot be read: {error}"
    return "" if files else f"names {folder}, which holds no files"


def listed(folder: Path) -> list[Path]:
    """What is to be copied, as paths below the folder; ValueError for what never is, OSError as the system has it."""
    real = folder.resolve()
    if not real.is_dir():
        raise ValueError(f"must name a folder; {folder} is none")
    if opens_a_home(real):
        raise ValueError(f"must name a folder for just these files; {folder} holds the account's home")
    if checkout := next((place for place in (real, *real.parents) if there(place / ".git")), None):
        raise ValueError(f"names {folder}, which lies in the checkout {checkout}; name a folder outside of any")
    files, size = [], 0
    for path in _entries(real):
        if path.name.lower() == ".git":
            raise ValueError(f"names {folder}, which holds the checkout {path.parent}; name a folder without any")
        about = path.lstat()
        if stat.S_ISDIR(about.st_mode):
            continue
        if stat.S_ISLNK(about.st_mode):
            if not _stays_inside(path, real):
                raise ValueError(f"names {folder}, where the link {path.relative_to(real)} leads out")
        elif not stat.S_ISREG(about.st_mode):
            raise ValueError(f"names {folder}, where {path.relative_to(real)} is no plain file")
        elif not os.access(path, os.R_OK):
            raise ValueError(f"names {folder}, where {path.relative_to(real)} cannot be read")
        size += about.st_size
        files.append(path.relative_to(real))
        if len(files) > FILES_MOST or size > BYTES_MOST:
            raise ValueError(f"names {folder}, which holds more than {FILES_MOST} files or {BYTES_MOST >> 20} MB")
    return files


def wanted(folder: Path, tree: Path) -> list[Path]:
    """What is to be copied into a fresh worktree, in which nothing runs yet.

    Refused where the repository has a file or a link in its place or on its way; ValueError and OSError as `listed`.
    """
    files = listed(folder)
    for file in files:
        for above in reversed(file.parents[:-1]):
            if (tree / above).is_symlink() or ((tree / above).exists() and not (tree / above).is_dir()):
                raise Refused(refusals.copy_would_replace(above.as_posix()))
        if (tree / file).is_symlink() or (tree / file).exists():
            raise Refused(refusals.copy_would_replace(file.as_posix()))
    return files


def copy(folder: Path, tree: Path, files: Sequence[Path]) -> None:
    """Copy the files that are `wanted`."""
    real = folder.resolve()
    for file in files:
        for above in reversed(file.parents[:-1]):
            if not (tree / above).exists():
                (tree / above).mkdir()
                (tree / above).chmod(_mode(real / above) | 0o700)
        shutil.copyfile(real / file, tree / file, follow_symlinks=False)
        if not (tree / file).is_symlink():
            (tree / file).chmod(_mode(real / file))


def secrets(folder: Path) -> Iterator[str]:
    """The credentials in these files, as far as they can be told; nothing where the folder cannot be copied."""
    if trouble(folder):
        return
    real = folder.resolve()
    for file in listed(folder):
        if not (real / file).is_symlink():
            with (real / file).open("rb") as content:
                yield from credentials(content.read(_READ_MOST).decode("utf-8", "replace"))


def _entries(folder: Path) -> Iterator[Path]:
    """Everything below the folder in a settled order; links are not followed."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False) and entry.name.lower() != ".git":
            yield from _entries(Path(entry.path))


def _stays_inside(link: Path, folder: Path) -> bool:
    """Also where the same link stands in another folder."""
    target = link.readlink()
    there_too = os.path.normpath(link.parent.relative_to(folder) / target)
    return not target.is_absolute() and there_too.split("/")[0] != ".." and folder in link.resolve().parents


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) & 0o777
