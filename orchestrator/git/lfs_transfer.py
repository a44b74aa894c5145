"""Objects of Git LFS on their way from the server and to it: the batch API, with the `basic` transfer.

Guaranteed: the token goes to the server of the remote and nowhere else; what an action that the server names is called
with is what the action says. No redirect is followed, no answer is read beyond its bound, and the disk is not filled.
Raises Retry for what passes by itself. What does not: a download leaves the pointer where it is, since most work needs
no large file, and a log line says so; an upload raises Refused with the server's own sentence, before anything is
pushed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import requests

from orchestrator import refusals
from orchestrator.errors import Refused, Retry
from orchestrator.git.access import Access
from orchestrator.git.lfs import Pointer, Store
from orchestrator.log import get

_MEDIA = "application/vnd.git-lfs+json"
_JSON = {"Accept": _MEDIA, "Content-Type": _MEDIA}
_AT_ONCE = 100  # objects in one question
_LINES = 4
_TIMEOUT = 60  # seconds for the connection, and between two bytes
_LONGEST = 1800  # seconds for all downloads of a checkout
_ROOM = 0.5  # of the disk's free space, at most, for what is brought and its copies in the worktree
_PAGES = 20  # of locked files that are read
_ANSWER = 4 * 1024 * 1024  # bytes of an answer that is no object
_CHUNK = 1024 * 1024
_PASSING = (408, 429, 500, 502, 503, 504)


class NoLocks(Exception):
    """The server keeps no locks of files."""


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
        until = time.monotonic() + _LONGEST

        def bring(pair: tuple[Pointer, Mapping[str, Any]]) -> None:
            one, action = pair
            try:
                with self._call("GET", action) as answer:
                    whole = store.add(self._pieces(answer, until), one)
            except Refused as refused:
                get().warning("lfs_not_fetched", oid=one.oid, why=str(refused))
                return
            if whole is None:
                get().warning("lfs_not_fetched", oid=one.oid, why="the server has other content under this name")

        self._all(bring, offered)

    def send(self, written: Sequence[tuple[str, Pointer]], branch: str, store: Store) -> None:
        """Let the server have what it has not, before `branch` shows pointers to it at these paths.

        Refused where it is not here either, and for a file that somebody else has locked.
        """
        self._check_locks([path for path, _ in written], branch)
        offered = []
        for one, told in self._batch("upload", list(dict.fromkeys(one for _, one in written))):
            if "error" in told:
                code = told["error"].get("code") if isinstance(told["error"], dict) else None
                raise self._refused(code if isinstance(code, int) else 0, _said(told))
            if actions := told.get("actions"):
                if not store.has(one):
                    raise Refused(
                        f"A Git LFS pointer names the object `{one.oid[:12]}`, which is neither on the server nor in "
                        "the worktree, so nothing was pushed. The file's content must be written, not its pointer."
                    )
                offered.append((one, actions))

        def bring(pair: tuple[Pointer, Mapping[str, Any]]) -> None:
            one, actions = pair
            with store.path(one).open("rb") as file:
                self._call("PUT", actions["upload"], file, {"Content-Type": "application/octet-stream"}).close()
            if verify := actions.get("verify"):
                self._call("POST", verify, json.dumps({"oid": one.oid, "size": one.size}), _JSON).close()

        self._all(bring, offered)

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

    def _pieces(self, answer: requests.Response, until: float) -> Iterator[bytes]:
        try:
            left = int(answer.headers.get("Content-Length", 0))
            for piece in answer.iter_content(_CHUNK):
                if time.monotonic() > until:
                    raise Retry(f"The Git LFS server took more than {_LONGEST // 60} min.")
                left -= len(piece)
                yield piece
            if left > 0 and "Content-Encoding" not in answer.headers:
                raise Retry("The Git LFS server broke off within an object.")
        except requests.RequestException as error:
            raise self._broken(error) from error

    @staticmethod
    def _all(bring: Any, pairs: Sequence[Any]) -> None:
        with ThreadPoolExecutor(_LINES) as lines:
            list(lines.map(bring, pairs))


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
