"""The format of the state file: what is read from it, what is refused, and how new content takes its place.

A reading ends in one of four ways: the content; None, there is no file; `Damaged`, the content cannot be
parsed, which is the only reason to set a file aside; or a refusal that leaves everything untouched:
Misconfigured for what is no regular file, not ours, of a newer version or on a network share, Missing where the
system does not let it be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shlex
import stat
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Misconfigured, Missing
from orchestrator.record import Job, Kind, Status

FORMAT = "orchestrator-state"
VERSION = 1
_BODY = b'"body": '
_ABSENT = (FileNotFoundError, NotADirectoryError)
_SHARES = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "fuse.sshfs", "fuse.rclone", "fuse.davfs2")


class Damaged(Missing):
    """The file is truncated, damaged or no JSON; `why` in a few words."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is damaged ({why}). Start the daemon with `orchestrator run`: it goes on from the previous "
            "generation, or from what GitHub shows."
        )
        self.why = why


@dataclass(frozen=True)
class RepoMemory:
    """What is remembered of one repository between polls."""

    id: int = 0
    name: str = ""
    since: float = 0.0  # first start on it, GitHub's clock: what is older is history
    cursor: float = 0.0  # newest comment seen, GitHub's clock
    handled: dict[str, float] = dataclasses.field(default_factory=dict)  # comment id -> created_at
    heads: dict[str, list[Any]] = dataclasses.field(default_factory=dict)  # PR -> [head SHA, first seen]
    history: dict[str, str] = dataclasses.field(default_factory=dict)  # PR -> head SHA that is history
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)  # what the feed goes on from after a restart


class Texts:
    """The text of each record as it was last written: a change of one item does not encode all the others again.

    Records are told apart by identity, so none may be changed in place.
    """

    def __init__(self) -> None:
        self._last: dict[str, dict[str, tuple[object, str]]] = {}

    def of(self, name: str, records: Mapping[str, Job | RepoMemory], unknown: Mapping[str, Mapping[str, Any]]) -> str:
        """`records` as one object, in the order of their keys; `name` comes before each key in `unknown`."""
        last = self._last.get(name, {})
        kept: dict[str, tuple[object, str]] = {}
        for key, record in sorted(records.items()):
            before, text = last.get(key, (None, ""))
            if before is not record:
                text = f"{json.dumps(key)}: {_canonical({**unknown.get(name + key, {}), **vars(record)})}"
            kept[key] = record, text
        self._last[name] = kept
        return f"{{{', '.join(text for _, text in kept.values())}}}"


@dataclass(frozen=True)
class Content:
    """The file as objects; the fields that this version does not know are kept apart, to be written back."""

    jobs: dict[str, Job] = dataclasses.field(default_factory=dict)
    repos: dict[str, RepoMemory] = dataclasses.field(default_factory=dict)
    unknown: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # "job:" + key, "repo:" + name
    generation: int = 0
    rest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def encoded(self, texts: Texts | None = None) -> bytes:
        """The bytes of the file; `texts`: what was made of earlier contents."""
        texts = texts or Texts()
        parts = {name: _canonical(value) for name, value in {**self.rest, "generation": self.generation}.items()}
        parts["jobs"] = texts.of("job:", self.jobs, self.unknown)
        parts["repos"] = texts.of("repo:", self.repos, self.unknown)
        body = f"{{{', '.join(f'{json.dumps(name)}: {part}' for name, part in sorted(parts.items()))}}}".encode()
        head = json.dumps({"format": FORMAT, "version": VERSION, "checksum": _digest(body)})
        return b"".join((head[:-1].encode(), b", ", _BODY, body, b"}"))


def load(path: Path) -> Content | None:
    """The content of the file, None when there is none. Raises as the head of this module says."""
    refuse_odd(path)
    try:
        raw = path.read_bytes()
    except _ABSENT:
        return None
    except OSError as error:
        raise _closed(path, error) from error
    body = _body(path, raw)
    content = Content(generation=int(body.pop("generation", 0)))
    for key, data in body.pop("jobs", {}).items():
        values, unknown = _known(Job, data)
        try:
            job = Job(**{**values, "kind": Kind(values["kind"]), "status": Status(values["status"])})
        except (KeyError, ValueError, TypeError) as error:
            raise _newer(path, f"{key}: {error}") from error
        content.jobs[job.key], content.unknown["job:" + job.key] = job, unknown
    for name, data in body.pop("repos", {}).items():
        values, content.unknown["repo:" + name] = _known(RepoMemory, data)
        content.repos[name] = RepoMemory(**values)
    content.rest.update(body)
    return content


def refuse_odd(path: Path) -> None:
    """Misconfigured for what is there and is no regular file, and for a place on a network share.

    Missing where the system hides even that.
    """
    refuse_share(path, _mounts())
    try:
        mode = path.stat().st_mode
    except _ABSENT:
        return
    except OSError as error:
        raise _closed(path, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise Misconfigured(f"{path} is {what}; it was left untouched. Set STATE_FILE to the path of a file.")


def refuse_closed(path: Path) -> None:
    """Missing where nothing can be made beside the file, which every change of it needs. Room is not looked at."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Missing(
            f"{path.parent} cannot be written, so {path.name} could never change. Look at it with "
            f"`{look(path.parent)}`, or set STATE_FILE to a path in another folder."
        )


def refuse_share(path: Path, mounts: str) -> None:
    """Misconfigured where the file would be on a network share; `mounts`: as in Linux's /proc/self/mountinfo.

    Locks, renames and syncs do not hold there as they do on a disk of this machine. The root is let through: a
    machine or a sandbox that has its root there has it for itself.
    """
    place = os.path.realpath(path.parent)
    deepest, kind = "", ""
    for line in mounts.splitlines():
        fields, _, about = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(deepest):  # of two at one point the later one is on top
            deepest, kind = point, about.split(" ")[0]
    if kind in _SHARES and deepest != "/":
        raise Misconfigured(
            f"{path} is on a network share ({kind} at {deepest}), where a crash can damage it and two daemons do not "
            "see each other; it was left untouched. Set STATE_FILE to a path on a local disk."
        )


def _mounts() -> str:
    """Empty where the system has no such list: there nothing is known of shares."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def look(path: Path) -> str:
    """The command that shows what is at `path` and who may read it."""
    return f"ls -ld {shlex.quote(str(path))}"


def _closed(path: Path, error: OSError) -> Missing:
    return Missing(f"{path} cannot be read: {error.strerror}; it was left untouched. Look at it with `{look(path)}`.")


_NAMES = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (Job, RepoMemory)}


def _known(kind: type[Job] | type[RepoMemory], data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that this version knows, and the others."""
    unknown = {name: data[name] for name in data.keys() - _NAMES[kind]}
    return {name: value for name, value in data.items() if name not in unknown} if unknown else data, unknown


def _canonical(value: object) -> str:
    """The one text for this content, whatever order its fields came in."""
    return json.dumps(value, sort_keys=True)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _body(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Damaged(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Misconfigured(
            f"{path} is not a state file of this program; it was left untouched. Set STATE_FILE to another path."
        )
    if not isinstance(document.get("version"), int) or document["version"] > VERSION:
        raise _newer(path, f"format {document.get('version')}, this program knows {VERSION}")
    body = document.get("body")
    told = document.get("checksum")
    written = raw.partition(_BODY)[2][:-1]  # as we write it; another order of the fields is as good
    is_whole = told == _digest(written) or told == _digest(_canonical(body).encode())
    if not isinstance(body, dict) or not is_whole:
        raise Damaged(path, "the checksum does not fit")
    return body


def _newer(path: Path, why: str) -> Misconfigured:
    return Misconfigured(
        f"{path} was written by a newer version ({why}); it was left untouched. "
        "Install that version again, or set STATE_FILE to another path."
    )


def beside(path: Path, suffix: str) -> Path:
    """A companion of the file."""
    return path.with_name(path.name + suffix)


def set_aside(path: Path) -> Path:
    """A second name for the file, under which it stays whatever takes the place of the first one."""
    number = 1
    while (kept := beside(path, f".unreadable-{number}")).exists():
        number += 1
    os.link(path, kept)
    return kept


def replace(path: Path, content: bytes) -> None:
    """Put the content in the place of the file, durably; the one that was there becomes `.prev`.

    OSError leaves the old content or, when only the last step failed, the new one; never a part, and no second file.
    """
    temporary = beside(path, f".tmp-{os.getpid()}-{threading.get_ident()}")
    link = beside(path, f".tmp-prev-{os.getpid()}-{threading.get_ident()}")
    try:
        _write(temporary, content)
        if path.exists():
            # A link, not a rename: the current file stays in place until the new one replaces it.
            link.unlink(missing_ok=True)
            os.link(path, link)
            link.replace(beside(path, ".prev"))
            link.unlink(missing_ok=True)  # a rename between two names of one file, after a write that failed, is none
        temporary.replace(path)
    except BaseException:
        for file in (temporary, link):
            with contextlib.suppress(OSError):  # the first trouble is the one to tell; a start sweeps what stays
                file.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, content: bytes) -> None:
    """A new file, whole on the disk when this returns."""
    path.unlink(missing_ok=True)  # ours, from a write that failed and could not tidy up
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there fsync stops at the drive's own memory
    finally:
        os.close(fd)
