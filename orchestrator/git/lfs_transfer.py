"""Objects of Git LFS on their way from the server and to it: the batch API, with the `basic` transfer.

Guaranteed: the token goes to the server of the remote and nowhere else; what an action that the server names is called
with is what the action says. No redirect is followed, no answer is read beyond its bound, and the disk is not filled.
Raises Retry for what passes by itself, Stopped after `end_all`. What does not pass: a download leaves the pointer where
it is, since most work needs no large file, and a log line says so; an upload raises Refused with the server's own
sentence, before anything is pushed.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from orchestrator import refusals
from orchestrator.clock import Stop
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.git.access import Access
from orchestrator.git.lfs import Pointer, Store
from orchestrator.log import get

_MEDIA = "application/vnd.git-lfs+json"
_JSON = {"Accept": _MEDIA, "Content-Type": _MEDIA}
_AT_ONCE = 100  # objects in one question
_LINES = 4
_TIMEOUT = 60  # seconds for the connection, and between two bytes
_AT_LEAST = 600.0  # seconds for all objects of a checkout or a push, and
_SLOWEST = 128 * 1024  # bytes a second that they may take beside
_ROOM = 0.5  # of the disk's free space, at most, for what is brought and its copies in the worktree
_PAGES = 20  # of locked files that are read
_ANSWER = 4 * 1024 * 1024  # bytes of an answer that is no object
_CHUNK = 1024 * 1024
_PASSING = (408, 429, 500, 502, 503, 504)

_Item = TypeVar("_Item")

_live: set[Stop] = set()
_live_lock = threading.Lock()


class NoLocks(Exception):
    """The server keeps no locks of files."""


def end_all() -> None:
    """End every transfer at its next byte; its caller gets Stopped."""
    with _live_lock:
        for stop in _live:
            stop.set("the daemon is stopping")


class _Pace:
    """Whether a transfer may go on."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._seconds = math.inf
        self._until = math.inf

    def allow(self, objects: Iterable[Pointer]) -> None:
        """So many are to be brought from now on, side by side."""
        self._seconds = _AT_LEAST + sum(one.size for one in objects) / _SLOWEST
        self._until = time.monotonic() + self._seconds

    def check(self) -> None:
        """Raises Retry when it took too long, Stopped when it is to end."""
        if self.stop.is_set():
            raise Stopped("The daemon is stopping; a transfer of large files was ended.")
        if time.monotonic() > self._until:
            raise Retry(f"The Git LFS server took more than {math.ceil(self._seconds / 60)} min.")


@contextmanager
def _transfer() -> Iterator[_Pace]:
    """One that `end_all` ends."""
    stop = Stop()
    with _live_lock:
        _live.add(stop)
    try:
        yield _Pace(stop)
    finally:
        with _live_lock:
            _live.discard(stop)


class _Upload:
    """An object as `requests` reads it: a part at a time, of a length that is known."""

    def __init__(self, one: Pointer, store: Store, pace: _Pace) -> None:
        self._one = one
        self._pieces = store.pieces(one)
        self._pace = pace

    def __len__(self) -> int:
        return self._one.size

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._pace.check()
            yield piece


class LfsServer:
    """The server at `url`, which is asked with the token of `access`."""

    def __init__(self, url: str, access: Access) -> None:
        self._url = url
        self._access = access

    def fetch(self, wanted: Sequence[Pointer], store: Store) -> None:
        """Bring what the store has not, as far as it can be had."""
        missing = [one for one in dict.fromkeys(wanted) if not store.has(one)]
        room = shutil.disk_usage(next(p for p in (store.folder, *store.folder.parents) if p.exists())).free * _ROOM
        if (size := 2 * sum(one.size for one in missing)) > room:
            get().warning("lfs_not_fetched", objects=len(missing), why=f"no room on the disk for {size} bytes")
            return
        with _transfer() as pace:
            offered = []
            try:
                for one, told in self._batch("download", missing):
                    if action := (told.get("actions") or {}).get("download"):
                        offered.append((one, action))
                    else:
                        get().warning("lfs_not_fetched", oid=one.oid, why=_said(told))
            except Refused as refused:
                get().warning("lfs_not_fetched", objects=len(missing), why=str(refused))
                return

            def bring(pair: tuple[Pointer, Mapping[str, Any]]) -> None:
                one, action = pair
                try:
                    with self._call("GET", action) as answer:
                        whole = store.add(self._pieces(answer, pace), one)
                except Refused as refused:
                    get().warning("lfs_not_fetched", oid=one.oid, why=str(refused))
                    return
                if whole is None:
                    get().warning("lfs_not_fetched", oid=one.oid, why="the server has other content under this name")

            pace.allow(one for one, _ in offered)
            _side_by_side(bring, offered, pace)

    def send(self, written: Sequence[tuple[str, Pointer]], branch: str, store: Store) -> None:
        """Let the server have what it has not, before `branch` shows pointers to it at these paths.

        Refused where it is not here either, and for a file that somebody else has locked.
        """
        with _transfer() as pace:
            self._check_locks([path for path, _ in written], branch)
            offered = []
            for one, told in self._batch("upload", list(dict.fromkeys(one for _, one in written))):
                if "error" in told:
                    code = told["error"].get("code") if isinstance(told["error"], dict) else None
                    raise self._refused(code if isinstance(code, int) else 0, _said(told))
                if actions := told.get("actions"):
                    if not store.has(one):
                        raise Refused(
                            f"A Git LFS pointer names the object `{one.oid[:12]}`, which is neither on the server nor "
                            "in the worktree, so nothing was pushed. The file's content must be written, not its "
                            "pointer."
                        )
                    offered.append((one, actions))

            def bring(pair: tuple[Pointer, Mapping[str, Any]]) -> None:
                one, actions = pair
                content = _Upload(one, store, pace)
                self._call("PUT", actions["upload"], content, {"Content-Type": "application/octet-stream"}).close()
                if verify := actions.get("verify"):
                    self._call("POST", verify, json.dumps({"oid": one.oid, "size": one.size}), _JSON).close()

            pace.allow(one for one, _ in offered)
            _side_by_side(bring, offered, pace)

    def _check_locks(self, paths: Collection[str], branch: str) -> None:
        cursor = ""
        for _ in range(_PAGES):
            asked = {"ref": {"name": f"refs/heads/{branch}"}, **({"cursor": cursor} if cursor else {})}
            try:
                with self._own("locks/verify", asked) as answer:
                    told = _json(answer)
                    theirs = {str(one["path"]): one for one in told.get("theirs") or ()}
            except NoLocks:
                return
            except (ValueError, LookupError, TypeError, AttributeError, requests.RequestException) as error:
                raise Retry("The Git LFS server's answer was not whole.") from error
            if path := next((path for path in paths if path in theirs), None):
                owner = theirs[path].get("owner")
                raise Refused(refusals.locked(path, str(owner.get("name")) if isinstance(owner, dict) else ""))
            cursor = str(told.get("next_cursor") or "")
            if not cursor:
                return

    def _own(self, what: str, asked: Mapping[str, Any]) -> requests.Response:
        """Ask the server itself, with the token."""
        headers = {name: value for line in self._access.headers for name, _, value in [line.partition(": ")]}
        return self._call("POST", {"href": f"{self._url}/{what}", "header": headers}, json.dumps(asked), _JSON)

    def _batch(self, operation: str, objects: Sequence[Pointer]) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
        """What the server says of each object."""
        for place in range(0, len(objects), _AT_ONCE):
            part = objects[place : place + _AT_ONCE]
            asked = {
                "operation": operation,
                "transfers": ["basic"],
                "objects": [{"oid": one.oid, "size": one.size} for one in part],
            }
            with self._own("objects/batch", asked) as answer:
                try:
                    told = {(one["oid"], one["size"]): one for one in _json(answer)["objects"]}
                    found = [(one, told[one.oid, one.size]) for one in part]
                    for _, said in found:
                        for action in (said.get("actions") or {}).values():
                            urlsplit(action["href"]), (action.get("header") or {}).items()
                except (ValueError, LookupError, TypeError, AttributeError, requests.RequestException) as error:
                    raise Retry("The Git LFS server's answer was not whole.") from error
            yield from found

    def _call(
        self, method: str, action: Mapping[str, Any], data: Any = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        url = str(action["href"])
        parts, ours = urlsplit(url), urlsplit(self._url)
        if parts.scheme != "https" and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc):
            raise Refused(
                f"The LFS server sends us to `{parts.scheme}://{parts.netloc}`, which is not encrypted; this was not "
                "done. Look at the server's settings."
            )
        session = requests.Session()
        session.auth = lambda request: request  # no `.netrc` of the account has a say
        given = {**(headers or {}), **{str(k): str(v) for k, v in (action.get("header") or {}).items()}}
        try:
            answer = session.request(
                method, url, data=data, headers=given, timeout=_TIMEOUT, stream=True, allow_redirects=False
            )
        except requests.RequestException as error:
            raise self._broken(error) from error
        if answer.status_code // 100 == 2:
            return answer
        with answer:
            try:
                said = str(_json(answer)["message"])
            except (ValueError, LookupError, TypeError, requests.RequestException):
                said = answer.reason or ""
        if url.endswith("/locks/verify") and answer.status_code in (404, 501):
            raise NoLocks
        raise self._refused(answer.status_code, said)

    def _refused(self, status: int, said: str) -> Exception:
        sentence = f"The Git LFS server answered {status}: {said[:300]}"
        if status in _PASSING:
            return Retry(sentence)
        return Refused(f"{sentence}. See whether Git LFS is on for this repository, its quota, and the token's rights.")

    def _broken(self, error: Exception) -> Retry:
        said = self._access.mask(f"{type(error).__name__}: {error}".encode()).decode()
        return Retry(f"The Git LFS server could not be reached: {said[:300]}")

    def _pieces(self, answer: requests.Response, pace: _Pace) -> Iterator[bytes]:
        try:
            left = int(answer.headers.get("Content-Length", 0))
            for piece in answer.iter_content(_CHUNK):
                pace.check()
                left -= len(piece)
                yield piece
            if left > 0 and "Content-Encoding" not in answer.headers:
                raise Retry("The Git LFS server broke off within an object.")
        except requests.RequestException as error:
            raise self._broken(error) from error


def _side_by_side(work: Callable[[_Item], None], items: Iterable[_Item], pace: _Pace) -> None:
    """Do the work on all items, a few at once; the first error ends the rest and is raised.

    In daemon threads, which no exit of the process waits for: a server may be silent for long.
    """
    ahead, turn, failed = iter(items), threading.Lock(), list[Exception]()

    def run() -> None:
        try:
            while True:
                pace.check()
                with turn:
                    item = next(ahead)
                work(item)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            failed.append(error)
            pace.stop.set("another one failed")

    lines = [threading.Thread(target=run, name="large-files", daemon=True) for _ in range(_LINES)]
    for line in lines:
        line.start()
    for line in lines:
        line.join()
    if failed:
        raise failed[0]


def _said(told: Mapping[str, Any]) -> str:
    """What the server says of one object."""
    error = told.get("error")
    return str(error.get("message"))[:300] if isinstance(error, dict) else "it names no way"


def _json(answer: requests.Response) -> Any:
    """The answer's content; ValueError for what is none, or too long."""
    read = b""
    for piece in answer.iter_content(_CHUNK):
        read += piece
        if len(read) > _ANSWER:
            raise ValueError("too long")
    return json.loads(read)
