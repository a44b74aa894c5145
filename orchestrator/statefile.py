"""The format of the state file: what is read from it, what is refused, and how new content takes its place.

A reading ends in one of four ways: the content; None, there is no file; `Damaged`, the content cannot be
parsed, which is the only reason to set a file aside; or a refusal that leaves everything untouched:
Misconfigured for what is no regular file, not ours or of a newer version, Missing where the system does not
let it be read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Misconfigured, Missing
from orchestrator.model import Job, Kind, Status

FORMAT = "orchestrator-state"
VERSION = 1
_ABSENT = (FileNotFoundError, NotADirectoryError)


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


@dataclass(frozen=True)
class Content:
    """The file as objects; the fields that this version does not know are kept apart, to be written back."""

    jobs: dict[str, Job] = dataclasses.field(default_factory=dict)
    repos: dict[str, RepoMemory] = dataclasses.field(default_factory=dict)
    unknown: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # job key or "repo:" + name
    generation: int = 0
    rest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def encoded(self) -> bytes:
        """The bytes of the file."""
        body = {
            **self.rest,
            "generation": self.generation,
            "jobs": {k: {**self.unknown.get(k, {}), **dataclasses.asdict(j)} for k, j in self.jobs.items()},
            "repos": {n: {**self.unknown.get("repo:" + n, {}), **dataclasses.asdict(r)} for n, r in self.repos.items()},
        }
        document = {"format": FORMAT, "version": VERSION, "checksum": _digest(body), "body": body}
        return json.dumps(document).encode()


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
        content.jobs[job.key], content.unknown[job.key] = job, unknown
    for name, data in body.pop("repos", {}).items():
        values, content.unknown["repo:" + name] = _known(RepoMemory, data)
        content.repos[name] = RepoMemory(**values)
    content.rest.update(body)
    return content


def refuse_odd(path: Path) -> None:
    """Misconfigured for what is there and is no regular file; Missing where the system hides even that."""
    try:
        mode = path.stat().st_mode
    except _ABSENT:
        return
    except OSError as error:
        raise _closed(path, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise Misconfigured(f"{path} is {what}; it was left untouched. Set STATE_FILE to the path of a file.")


def look(path: Path) -> str:
    """The command that shows what is at `path` and who may read it."""
    return f"ls -ld {shlex.quote(str(path))}"


def _closed(path: Path, error: OSError) -> Missing:
    return Missing(f"{path} cannot be read: {error.strerror}; it was left untouched. Look at it with `{look(path)}`.")


def _known(kind: type[Job] | type[RepoMemory], data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that this version knows, and the others."""
    names = {f.name for f in dataclasses.fields(kind)}
    return {k: v for k, v in data.items() if k in names}, {k: v for k, v in data.items() if k not in names}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


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
    if not isinstance(body, dict) or document.get("checksum") != _digest(body):
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
    """Put the content in the place of the file, durably; the one that was there becomes `.prev`."""
    temporary = beside(path, f".tmp-{os.getpid()}-{threading.get_ident()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            _keep_previous(path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep_previous(path: Path) -> None:
    # A link, not a rename: the current file stays in place until the new one replaces it.
    link = beside(path, f".tmp-prev-{threading.get_ident()}")
    link.unlink(missing_ok=True)
    os.link(path, link)
    link.replace(beside(path, ".prev"))
