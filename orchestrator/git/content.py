"""What may not become part of a commit of ours: nested repositories, links that lead out, huge files.

A nested repository's own config runs programs when git reads the work tree around it, whatever our settings
say (A55): it is looked for before git is let near the files. What is checked is the difference between two
trees, so that what the repository had before stays its own business.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError

LARGEST_FILE = 50 * 1024 * 1024  # bytes; GitHub warns above this and refuses 100 MB

_BAD_FILE = re.compile(
    r"error: (invalid path '.*'|open\(.*\): Permission denied)|fatal: (failed to encode '.*|BOM is .* in '.*)"
)
_MOSTLINKS = 40  # as many as the kernel follows
LINK = "120000"
_REPOSITORY = "160000"


def nested(top: Path) -> list[str]:
    """Folders below `top`, relative to it, that git could take for a repository of their own. Runs no git.

    What lies in one of them is its own matter and is not looked at.
    """
    found: list[str] = []
    folders = deque([""])
    while folders:
        folder, inside = folders.popleft(), []
        with os.scandir(top / folder) as entries:
            for entry in entries:
                inner = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.casefold() in (".git", "git~1"):
                    if inner != ".git":
                        found.append(folder or entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    inside.append(inner)
        if found[-1:] != [folder]:
            folders.extend(inside)
    return sorted(set(found))


def check_files(mirror: Mirror, folder: Path, paths: Iterable[str], head: str) -> None:
    """Refuse a huge file of `folder` before git reads it; one that `head` has with this size already is let through."""
    for path in paths:
        try:
            size = (folder / path).lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
        if size > LARGEST_FILE:
            about, _, _ = mirror.call("ls-tree", "-l", "--full-tree", head, "--", f":(literal){path}").text.partition(
                "\t"
            )
            if about.rpartition(" ")[2] != str(size):
                raise _too_large(path, size)


def check_tree(mirror: Mirror, before: str, after: str, moved: Callable[[str, str], None]) -> None:
    """Refuse what `after` (a tree) has and `before` (a tree or commit) has not, naming the path.

    `moved` is called for a submodule that is at another commit, with its path and that commit, to refuse it or not.
    """
    raw = mirror.call(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", "--ignore-submodules=none", before, after
    )
    words = iter(raw.paths)
    blobs, links = [], []
    for entry in words:
        path = next(words)
        was, mode, _, sha, _ = entry.removeprefix(":").split(" ")
        if mode == _REPOSITORY and was == _REPOSITORY:
            moved(path, sha)
        elif mode == _REPOSITORY:
            raise refused_nested(path)
        if mode == LINK:
            links.append(path)
        if mode.startswith("10"):
            blobs.append((path, sha))
    for path, size in _sizes(mirror, blobs):
        if size > LARGEST_FILE:
            raise _too_large(path, size)
    if links:
        leading = targets(mirror, after)
        for path in links:
            if leads_out(path, leading):
                raise Refused(
                    f"`{shown(path)}` is a link to `{shown(leading[path])}`, which leads out of the repository. "
                    "Nothing was pushed; remove the link or make it point inside."
                )


def leads_out(path: str, leading: dict[str, str]) -> bool:
    """Whether following the link at `path` leaves the tree whose links are `leading` (path to target)."""
    here: list[str] = path.split("/")
    ahead: deque[str] = deque()
    for _ in range(_MOSTLINKS):
        target = leading[_joined(here)]
        if target.startswith("/"):
            return True
        here.pop()
        ahead.extendleft(reversed(target.split("/")))
        while ahead:
            step = ahead.popleft()
            if step == ".." and not here:
                return True
            if step == "..":
                here.pop()
            elif step not in ("", "."):
                here.append(step)
                if _joined(here) in leading:
                    break
        else:
            return False
    return False


def shown(path: str) -> str:
    """A path for people: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def refused_nested(path: str) -> Refused:
    return Refused(
        f"`{shown(path)}` is a git repository of its own inside the work tree, which cannot be part of a pull request. "
        "Nothing was pushed; remove it, or its `.git`, or ignore it."
    )


def refused_move(path: str, sha: str, where: str) -> Refused:
    """For a submodule whose new commit nobody else could fetch; `where`: its address, or why it is not known there."""
    return Refused(
        f"The submodule `{shown(path)}` was moved to commit {sha[:10]}, which is not on a branch or tag of {where}. "
        "Nothing was pushed; push that commit there first, or put the submodule back to where it was."
    )


def refused_file(error: GitError) -> Refused | None:
    """The refusal in what `git add` said, when it is about a file and not about the machine."""
    found = _BAD_FILE.search(error.stderr)
    if found is None:
        return None
    return Refused(f"A file cannot be added ({found[1] or found[2]}), so nothing was pushed. Remove or rename it.")


def _too_large(path: str, size: int) -> Refused:
    return Refused(
        f"`{shown(path)}` is {size // (1024 * 1024)} MB, more than the {LARGEST_FILE // (1024 * 1024)} MB that may be "
        "committed. Nothing was pushed; remove or ignore the file."
    )


def _sizes(mirror: Mirror, blobs: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    if not blobs:
        return
    asked = "".join(f"{sha}\n" for _, sha in blobs).encode()
    sizes = mirror.call("cat-file", "--batch-check=%(objectsize)", stdin=asked).text.splitlines()
    for (path, _), size in zip(blobs, sizes, strict=True):
        yield path, int(size)


def targets(mirror: Mirror, tree: str) -> dict[str, str]:
    """Where the links of a tree or commit lead, by path."""
    links = []
    for entry in mirror.call("ls-tree", "-r", "-z", "--full-tree", tree).paths:
        about, _, path = entry.partition("\t")
        mode, _, sha = about.split(" ")
        if mode == LINK:
            links.append((path, sha))
    if not links:
        return {}
    asked = "".join(f"{sha}\n" for _, sha in links).encode()
    told = io.BytesIO(mirror.call("cat-file", "--batch", stdin=asked).out)
    found = {}
    for path, _ in links:
        size = int(told.readline().rsplit(b" ", 1)[1])
        found[path] = os.fsdecode(told.read(size))
        told.read(1)
    return found


def _joined(parts: list[str]) -> str:
    return "/".join(parts)
