"""What `orchestrator salvage` tells of saved work, and how it comes back; with or without a running daemon.

Guaranteed: a mirror is only read (a config that an agent has changed is put right first, as before any command of
ours); a restore writes into a folder that it makes itself and nowhere else, and a restore that fails leaves none.
"""

from __future__ import annotations

import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Misconfigured, Missing, Retry
from orchestrator.git.disk import discard
from orchestrator.git.environment import Place, Scratch
from orchestrator.git.mirror import LARGEST_DIFF, Mirror
from orchestrator.git.pointers import stored_at
from orchestrator.git.run import GitError
from orchestrator.git.salvage import Kept, kept
from orchestrator.printable import printable

_ITEM = re.compile(r"(?:(?P<repo>[^/\s#]+/[^/\s#]+)#|#?)(?P<number>\d{1,18})")
_SHOWN = ("--no-color", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-show-signature")


@dataclass(frozen=True)
class Saved:
    """One piece of saved work: a commit in the mirror, or where `kept` is None a folder that git could not read."""

    repo: str
    what: str
    at: float
    place: Path  # the mirror, or the folder
    kept: Kept | None = None

    @property
    def number(self) -> str:
        """Of its issue or pull request; empty where its name tells none."""
        worktree = self.kept.name if self.kept else self.what.rpartition(".kept-")[0]
        tail = worktree.rpartition("-")[2]
        return tail if tail.isdigit() else ""


def find(base: Path, repos: Sequence[str], item: str | None = None) -> list[Saved]:
    """All saved work of these repositories, oldest first; `item` (`7`, `owner/repo#7`): of this one alone.

    Misconfigured when `item` is no item, Missing when a mirror cannot be read.
    """
    found = [saved for name in repos for saved in _of(base / name, name)]
    if item is not None:
        wanted = _ITEM.fullmatch(item.strip())
        if wanted is None:
            raise Misconfigured(f"{item!r} names no item; write its number, or owner/repo#number.")
        repo, number = wanted["repo"], str(int(wanted["number"]))
        found = [s for s in found if s.number == number and (repo is None or s.repo.lower() == repo.lower())]
    return sorted(found, key=lambda saved: saved.at)


def _of(folder: Path, repo: str) -> Iterator[Saved]:
    try:
        for mirror in (folder / "mirror.git", *sorted(folder.glob("modules/*.git"))):
            if (mirror / "HEAD").is_file():
                for one in kept(Mirror.reader(mirror)):
                    yield Saved(repo, f"{one.name}/{one.number}", one.at, mirror, one)
        for aside in folder.glob("*.kept-*") if folder.is_dir() else ():
            yield Saved(repo, aside.name, aside.lstat().st_ctime, aside)
    except (GitError, Retry, OSError) as error:
        raise Missing(f"{folder} cannot be read: {error}") from error


def pick(all_saved: Sequence[Saved], word: str) -> Saved:
    """The piece that a person means: `issue-7/1`, or `owner/repo/issue-7/1`. Misconfigured with the names there are."""
    found = [s for s in all_saved if word.lower() in (s.what.lower(), f"{s.repo}/{s.what}".lower())]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{s.repo}/{s.what}" for s in (found or all_saved)[-20:])
    if found:
        raise Misconfigured(f"{word} is in several repositories; write one of: {names}.")
    raise Misconfigured(f"There is no saved work {word!r}." + (f" Newest: {names}." if names else ""))


def table(all_saved: Sequence[Saved]) -> str:
    """One line for each, under a heading."""
    if not all_saved:
        return "No work had to be saved."
    several = len({s.repo for s in all_saved}) > 1
    rows = [("what", "saved", "of", "commit", "files", "because")]
    for s in all_saved:
        commit, files, why = "-", "-", f"git could not read it: {s.place}"
        if s.kept:
            commit, files, why = s.kept.commit[:10], str(len(_files(s))), s.kept.why
        of_item = f"{s.repo}#{s.number}" if s.number else s.repo
        rows.append((f"{s.repo}/{s.what}" if several else s.what, _when(s.at), of_item, commit, files, why))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(printable(line) for line in lines)


def text(saved: Saved) -> str:
    """What it is, how to get it back, and its commits with their changes, as far as the remote does not have them."""
    if saved.kept is None:
        aside = f"{saved.what} of {saved.repo}, set aside on {_when(saved.at)}"
        return f"{aside}: a folder that git could not read.\n{saved.place}"
    one, mirror = saved.kept, Mirror.reader(saved.place)
    head = [
        f"{saved.what} of {saved.repo}, saved on {_when(one.at)}{f' because {one.why}' if one.why else ''}",
        f"commit {one.commit}, {len(_files(saved))} files differ from what the remote has",
        f"as files:    orchestrator salvage restore {shlex.quote(saved.what)} --to FOLDER",
        f"as a branch: git fetch {shlex.quote(str(saved.place))} {one.ref} && git switch -c NAME FETCH_HEAD",
    ]
    range_ = _only_here(mirror, one)
    shown = _read(mirror, "log", "--reverse", "--stat", "--patch", *_SHOWN, *range_, "--")
    return "\n".join(head) + "\n\n" + printable(shown.decode("utf-8", "replace"), keep="\n\t")


def restore(saved: Saved, folder: Path) -> list[str]:
    """The files as they were, in a new `folder`; those of Git LFS whose contents are not here, where it has pointers.

    Misconfigured when the folder exists or cannot be made.
    """
    if saved.kept is None:
        here, there = shlex.quote(str(saved.place)), shlex.quote(str(folder))
        raise Misconfigured(f"{saved.what} is a folder already; copy it with `cp -a {here} {there}`.")
    folder = folder.absolute()
    try:
        folder.mkdir()
    except FileExistsError:
        raise Misconfigured(f"{folder} exists and was left alone; name a folder that does not exist yet.") from None
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        return _check_out(Mirror.reader(saved.place), saved.kept.commit, folder)
    except BaseException as error:
        discard(folder)
        if isinstance(error, (GitError, Retry, OSError)):
            raise Missing(f"{saved.what} cannot be restored: {error}") from error
        raise


def _check_out(mirror: Mirror, sha: str, folder: Path) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as place:
        Path(place, "objects").mkdir()
        scratch = Scratch(Path(place), (mirror.store,))
        mirror.call("read-tree", sha, scratch=scratch)
        mirror.call("checkout-index", "--all", at=Place(mirror.path, None, folder), scratch=scratch)
    store = mirror.large
    large = [(path, one) for path, (one, _) in stored_at(mirror, sha).items()]
    return [path for path, one in large if not (store.has(one) and store.place(one, folder / path))]


def _files(saved: Saved) -> set[str]:
    """The paths that its commits change, as far as the remote does not have them."""
    assert saved.kept is not None
    mirror = Mirror.reader(saved.place)
    names = _read(mirror, "log", "--format=", "--name-only", "-z", *_SHOWN, *_only_here(mirror, saved.kept), "--")
    return {name.decode("utf-8", "replace") for name in names.split(b"\0") if name.strip()}


def _only_here(mirror: Mirror, one: Kept) -> list[str]:
    """The commits to show, as words for `git log`: the last one alone where the remote has them all by now."""
    here = [one.commit, "--not", "--remotes"]
    return here if _read(mirror, "rev-list", "--max-count=1", *here) else ["--max-count=1", one.commit]


def _read(mirror: Mirror, *words: str) -> bytes:
    try:
        return mirror.call(*words, cut=LARGEST_DIFF).out
    except (GitError, Retry) as error:
        raise Missing(f"{mirror.path} cannot be read: {error}") from error


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
