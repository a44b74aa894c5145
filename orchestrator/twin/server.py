"""The HTTP face on 127.0.0.1: reads requests, lets faults strike, sends head and body in one write."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import threading
import traceback
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from orchestrator.twin.api import Answered, Api, Request, encode
from orchestrator.twin.faults import Faults, Kind, Trouble
from orchestrator.twin.git_http import PATH as GIT_PATH
from orchestrator.twin.git_http import GitHttp
from orchestrator.twin.journal import Journal
from orchestrator.twin.lfs import PATH as LFS_PATH
from orchestrator.twin.lfs import Lfs
from orchestrator.twin.protocol import DOCS

_BEFORE = (Trouble.STATUS, Trouble.HANG, Trouble.RESET, Trouble.HTML)
_WEB_PAGE = b"<!DOCTYPE html><html><body><h1>Unicorn!</h1></body></html>"


class Server(ThreadingHTTPServer):
    """Listens, and knows its open connections so that closing leaves no thread behind."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, api: Api, git: GitHttp, lfs: Lfs, faults: Faults, journal: Journal, port: int) -> None:
        self.api = api
        self.git = git
        self.lfs = lfs
        self.faults = faults
        self.journal = journal
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        if self.closing.is_set():
            self.hang_up()

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    @property
    def connections(self) -> int:
        """How many clients are served, or may be: one that died is until what it asked for last is done."""
        with self._lock:
            return len(self._open)

    def hang_up(self) -> None:
        """Release hanging requests and idle connections."""
        self.closing.set()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is a bug of the twin and kept for the journal."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.journal.record_unknown(f"twin crashed: {traceback.format_exc()}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """The journal is the log."""

    def do_GET(self) -> None:
        """Serve any method."""
        split = urlsplit(self.path)
        path, query = split.path, split.query
        payload = self._payload()
        git = GIT_PATH.fullmatch(path) is not None or LFS_PATH.fullmatch(path) is not None
        body = None if git else _json_or_none(payload)
        self.server.faults.run_hooks(self.command, path, body, after=False)
        kind = self.server.faults.strike(self.command, path, body)
        if kind is not None and kind.trouble is Trouble.DELAY:
            self.server.closing.wait(kind.seconds)
        if kind is not None and kind.trouble in _BEFORE:
            answered = replace(self._refused(kind), login=self.server.api.login(self._lower_headers()))
        elif git:
            answered = self._git(path, query, payload)
        else:
            answered = self.server.api.answer(self._request(path, query, body))
        self.server.faults.run_hooks(self.command, path, body, after=True)
        if kind is not None:
            answered = _spoiled(answered, kind)
        answered = replace(answered, headers={"Date": self._date(), **answered.headers})
        self._record(path, query, body, answered, git)
        self._send(answered, kind)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the base class calls them so

    def _payload(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:
                raise ConnectionError("the client ended in the midst of its request")
            return body
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _url(self) -> str:
        return f"http://{self.headers.get('Host') or self.server.url.removeprefix('http://')}"

    def _request(self, path: str, query: str, body: Any) -> Request:
        return Request(
            self.command,
            path,
            dict(parse_qsl(query, keep_blank_values=True)),
            self._lower_headers(),
            body,
            self._url(),
        )

    def _git(self, path: str, query: str, payload: bytes) -> Answered:
        headers, url = self._lower_headers(), self._url()
        if LFS_PATH.fullmatch(path):
            got = self.server.lfs.answer(self.command, path, headers, payload, url)
        else:
            got = self.server.git.answer(self.command, path, query, headers, payload, url)
        return Answered(got.status, got.headers, None, got.body, got.login)

    def _refused(self, kind: Kind) -> Answered:
        if kind.trouble is Trouble.HANG:
            self._hang()
        if kind.trouble is Trouble.HTML:
            return Answered(200, {"Content-Type": "text/html"}, None, _WEB_PAGE)
        return _status_answer(kind) if kind.trouble is Trouble.STATUS else Answered(0, {}, None, b"")

    def _hang(self) -> None:
        """Until the client gives up or the twin closes."""
        while not self.server.closing.wait(0.02):
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def _record(self, path: str, query: str, body: Any, answered: Answered, git: bool) -> None:
        self.server.journal.record(
            method=self.command,
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            body=body,
            status=answered.status,
            headers={name.lower(): value for name, value in answered.headers.items()},
            answer=answered.data,
            login=answered.login,
            git=git,
        )

    def _send(self, answered: Answered, kind: Kind | None) -> None:
        """Head and body in one write: two cost 40 ms on every kept connection."""
        if answered.status == 0:
            self._drop()
            return
        head = [f"HTTP/1.1 {answered.status} {self.responses.get(answered.status, ('Status',))[0]}"]
        head += [f"{name}: {value}" for name, value in answered.headers.items()]
        body = answered.body
        if answered.status not in (204, 304):
            head.append(f"Content-Length: {len(body)}")
        if kind is not None and kind.trouble in (Trouble.CUT, Trouble.STALL):
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        if kind is not None and kind.trouble is Trouble.STALL:
            self._hang()

    def _date(self) -> str:
        return formatdate(self.server.api.world.now(), usegmt=True)

    def _drop(self) -> None:
        self.close_connection = True
        # A linger of zero makes the close a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _status_answer(kind: Kind) -> Answered:
    body = kind.body
    if body is None:
        body = {"message": f"Fault {kind.code}", "documentation_url": DOCS}
    text = isinstance(body, str)
    payload = body.encode() if text else encode(body)
    headers = {"Content-Type": "text/html" if text else "application/json; charset=utf-8", **kind.headers}
    return Answered(kind.code, headers, None if text else body, payload)


def _spoiled(answered: Answered, kind: Kind) -> Answered:
    """What is sent although the request was applied."""
    if kind.trouble is Trouble.APPLY_THEN_STATUS:
        return replace(_status_answer(kind), login=answered.login)
    if kind.trouble is Trouble.APPLY_THEN_RESET:
        return replace(answered, status=0, headers={}, data=None, body=b"")
    if kind.trouble is Trouble.SHORT:
        return replace(answered, body=answered.body[: len(answered.body) // 2])
    return answered


def _json_or_none(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return None
