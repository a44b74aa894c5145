"""What ended items leave, collected by age: worktrees, folders that were set aside, logs, saved work, scratch folders.

Guaranteed: nothing of a live item is touched; a worktree goes only after its commits and files were saved in the
mirror, from where they go after another `keep_days`; what anybody changed within `keep_days` stays, also when a job
takes it up while this looks. Every step has a fault boundary of its own: what cannot be collected is said, stops
nothing else, and is tried again the next time.

The mirrors of submodules go when nothing has used them for `keep_days`.

Left alone: files in the folder that are not the daemon's; objects that nothing refers to, for git's own two weeks;
branches without a worktree. The mirror is packed when no item is live, and enough has piled up.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.errors import Stopped
from orchestrator.git import modules
from orchestrator.git.disk import changed_since, discard
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.registration import outermost
from orchestrator.git.run import GitError
from orchestrator.git.salvage import forget, kept
from orchestrator.git.worktree import Worktree
from orchestrator.log import get
from orchestrator.sandbox.walls import there
from orchestrator.surroundings import FOLDER as SURROUNDINGS
from orchestrator.surroundings import Surroundings

_UNUSED = "its item was over and nobody had used it for days"
_HOUR = 3600.0
_DAY = 86400.0
_WORKTREE = re.compile(r"(?:issue|merge|pr-review)-\d+")
_ASIDE = re.compile(r"(?P<name>.+)\.kept-\d+")
_SEEN = re.compile(r"refs/remotes/pull/(\d+)/head")
_SCRATCH = re.compile(r"orchestrator-(?:index-)?[a-z0-9_]{8}")  # as `tempfile` names them for worktrees and agents


@dataclass(frozen=True)
class Collected:
    """What went and what could not go, by name, the latter with the reason."""

    gone: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @contextmanager
    def boundary(self, name: str) -> Iterator[None]:
        """Whatever goes wrong in here is noted; only a stop of the daemon goes on."""
        try:
            yield
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - one thing that cannot go must not keep the others
            self.trouble.append(f"{name}: {error or type(error).__name__}")

    def tell(self, **about: object) -> None:
        """Log it, where there is something to tell."""
        if self.gone:
            get().info("collected", gone=self.gone, **about)
        for what in self.trouble:
            get().warning("not_collected", what=what, **about)


def collect(
    folder: Path,
    mirror: Mirror,
    live: Collection[str],
    now: float,
    keep_days: float,
    started: float,
    tear_down: Callable[[Worktree], None] = lambda _: None,
) -> Collected:
    """Look once through one repository's `folder` (`<worktree base>/<owner>/<name>`) and through its mirror.

    `live`: the names of the worktrees of all items that are not over, those that wait included. `now`: seconds since
    1970 on the clock of this machine, by which files and saved work are dated. `started`: when this daemon did; what
    was to be deleted before that, another one left that was killed. `tear_down` runs what the operator wants to run in
    a worktree before it goes.
    """
    done = Collected()
    before = now - keep_days * _DAY
    # First what was kept before: what a worktree that goes now leaves is not looked at this time.
    for path in _files(folder, "*.kept-*"):
        aside = _ASIDE.fullmatch(path.name)
        if aside is not None and aside["name"] not in live:
            _file(done, path, before)
    for theirs in _mirrors_of_submodules(done, mirror, before):
        _saved_work(done, theirs, live, before)
    if mirror.path.is_dir():
        _saved_work(done, mirror, live, before)
        _worktrees(done, folder, mirror, live, before, tear_down)
        _refs_of_the_remote(done, mirror, live, before)
        _large_files(done, mirror, before)
        if not live:  # it holds the mirror for seconds
            with done.boundary("packing"):
                mirror.maintain()
    _submodules(done, folder, mirror, live, before)
    for path in (p for p in _files(folder / "sessions", "*") if p.name not in live):
        _file(done, path, before)
    for path in _files(folder / SURROUNDINGS, "*"):
        if path.name not in live and not there(folder / path.name):
            _file(done, path, before)
    for path in (*_files(folder, f"{mirror.path.name}.damaged-*"), *_files(modules.folder(mirror), "*.damaged-*")):
        _file(done, path, before)
    for path in (*_files(folder, f"{TRASH}*"), *_files(modules.folder(mirror), f"{TRASH}*")):
        _file(done, path, max(now - _HOUR, started))
    for path in _files(folder / "logs", "*.log*"):
        if not any(path.name.startswith(f"{name}-") for name in live):
            _file(done, path, before)
    done.tell(repo=f"{folder.parent.name}/{folder.name}")
    return done


def sweep_scratch(now: float) -> Collected:
    """Temporary folders of killed daemons: ours, private, a day old, and no living process was given one of them."""
    done = Collected()
    found = [path for path in _files(Path(tempfile.gettempdir()), "orchestrator-*") if _is_scratch(path)]
    old = [path for path in found if not changed_since(path, now - _DAY)]
    used = _given_to_processes() if old else set()
    for path in old:
        if str(path) not in used:
            _file(done, path, now - _DAY)
    done.tell()
    return done


def _saved_work(done: Collected, mirror: Mirror, live: Collection[str], before: float) -> None:
    with done.boundary("saved work"):
        for one in kept(mirror):
            if one.at < before and outermost(one.name) not in live:
                with done.boundary(one.ref):
                    forget(mirror, one)
                    done.gone.append(f"{one.name}/{one.number}")


def _worktrees(
    done: Collected,
    folder: Path,
    mirror: Mirror,
    live: Collection[str],
    before: float,
    tear_down: Callable[[Worktree], None],
) -> None:
    there = {path.name for path in _files(folder, "*") if _WORKTREE.fullmatch(path.name)}
    registered = {path.name for kind in ("trees", "worktrees") for path in _files(mirror.path / kind, "*")}
    left = []
    for name in sorted((there | registered).difference(live)):
        with done.boundary(name):
            tree, around, since = Worktree(mirror, folder / name), Surroundings(folder / name), before
            if around.to_tear_down is not None and not changed_since(tree.path, before):
                with suppress(GitError, OSError):  # then it is set aside as the tear-down leaves it
                    tree.save(name, _UNUSED)
                tear_down(tree)
                since = max(before, time.time())  # what it wrote is nobody's use of the worktree
            if tree.retire(since, _UNUSED):
                around.end()
                done.gone.append(name)
            else:
                left.append(name)
    if left:
        get().info("worktrees_left", repo=f"{folder.parent.name}/{folder.name}", worktrees=left, live=len(live))


def _mirrors_of_submodules(done: Collected, mirror: Mirror, before: float) -> Iterator[Mirror]:
    """Those that are whole; one whose making was cut off goes by its age."""
    for path in _files(modules.folder(mirror), "*.git"):
        if (path / "config").is_file():
            with done.boundary(path.name):
                yield Mirror.reader(path)
        else:
            _file(done, path, before)


def _submodules(done: Collected, folder: Path, mirror: Mirror, live: Collection[str], before: float) -> None:
    """The mirrors of submodules, packed as the main one, and deleted when no worktree has used one for as long."""
    for theirs in _mirrors_of_submodules(done, mirror, before):
        with done.boundary(theirs.path.name):
            trees = theirs.path / "trees"
            for notes in _files(trees, "*"):
                if not os.path.lexists(folder / outermost(notes.name)):  # its worktree was taken away by hand
                    theirs.update(f"delete refs/orchestrator/start/{notes.name}")
                    discard(notes)
            _large_files(done, theirs, before)
            if not live:
                theirs.maintain()
            with theirs.lock:
                if not (_files(trees, "*") or kept(theirs) or changed_since(theirs.path, before)):
                    discard(theirs.path)
                    done.gone.append(theirs.path.name)


def _refs_of_the_remote(done: Collected, mirror: Mirror, live: Collection[str], before: float) -> None:
    """Heads of pull requests that were fetched for one item: a fetch brings them again, and each makes looks slower."""
    numbers = {name.rpartition("-")[2] for name in live}
    with done.boundary("heads of the remote"):
        listed = mirror.call("for-each-ref", "--format=%(refname) %(objectname)", "refs/remotes/pull")
        for line in listed.text.splitlines():
            ref, _, sha = line.partition(" ")
            of_item = _SEEN.fullmatch(ref)
            if of_item is None or of_item[1] in numbers:
                continue
            if not changed_since(mirror.path / ref, before):
                with done.boundary(ref), mirror.lock:
                    mirror.call("update-ref", "-d", ref, sha)
                    done.gone.append(ref)


def _large_files(done: Collected, mirror: Mirror, before: float) -> None:
    """Objects of Git LFS that no worktree and no saved work uses: each of these used its own when it was made."""
    if not mirror.large.folder.is_dir():
        return
    with done.boundary("large files"):
        made = [file.lstat().st_mtime for file in mirror.path.glob("trees/*/*") if file.is_file()]
        made += [one.at - _HOUR for one in kept(mirror)]
        if gone := mirror.large.prune(min((before, *made))):
            done.gone.append(f"{gone} large files")


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _file(done: Collected, path: Path, before: float) -> None:
    with done.boundary(path.name):
        if not changed_since(path, before):
            discard(path)
            done.gone.append(path.name)


def _is_scratch(path: Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    ours = about.st_uid == os.getuid() and stat.S_ISDIR(about.st_mode) and stat.S_IMODE(about.st_mode) == 0o700
    return ours and _SCRATCH.fullmatch(path.name) is not None


def _given_to_processes() -> set[str]:
    """Temporary folders that living processes know, by their environment or by where they work."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environ = process.environ()
            found.update(
                {environ.get("TMPDIR", ""), str(Path(environ.get("GIT_INDEX_FILE", "")).parent), process.cwd()}
            )
    return found
