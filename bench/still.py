"""A quick GitHub of standing answers: each is asked of the local GitHub once and given again from memory.

With 10,000 open items the local GitHub takes up to a second for a page of pull requests, since it renders the whole
world for each request; what is measured here is the one who asks. ETags, `Link` and status codes are the local
GitHub's own; `forget` makes every answer be asked for again.
"""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_OURS = ("date", "content-length", "connection", "transfer-encoding", "server")


@dataclass(frozen=True)
class Asked:
    """One request as it was answered; `path` with its query."""

    method: str
    path: str
    status: int
    etag: str
    length: int


@dataclass(frozen=True)
class _Kept:
    status: int
    headers: list[tuple[str, str]]
    etag: str
    body: bytes


class Still:
    """Serves until closed. `asked` is everything that was asked since it was last emptied."""

    def __init__(self, behind: str, now: Callable[[], float]) -> None:
        self.asked: list[Asked] = []
        self.now = now
        self._behind = urlsplit(behind)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            still = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="still", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """GITHUB_API_URL for who is measured."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def forget(self) -> None:
        """The world has changed."""
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Kept:
        """From memory, else from behind; only what was read is kept."""
        key = (path, headers.get("authorization", ""))
        with self._lock:
            kept = self._kept.get(key) if method == "GET" else None
        if kept is None:
            kept = self._ask(method, path, headers, body)
            if method == "GET" and kept.status == 200:
                with self._lock:
                    self._kept[key] = kept
        fresh = bool(kept.etag) and kept.etag == headers.get("if-none-match")
        given = _Kept(304, kept.headers, kept.etag, b"") if fresh else kept
        self.asked.append(Asked(method, path, given.status, given.etag, len(given.body)))
        return given

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Kept:
        connection = http.client.HTTPConnection(self._behind.netloc, timeout=120)
        try:
            passed = {name: value for name, value in headers.items() if name not in ("if-none-match", "connection")}
            connection.request(method, path, body or None, passed)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OURS]
        return _Kept(answer.status, kept, answer.getheader("etag") or "", text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    still: Still

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        found = self.still.answer(self.command, self.path, headers, body)
        lines = [f"HTTP/1.1 {found.status} {http.client.responses.get(found.status, '')}"]
        lines.append(f"Date: {formatdate(self.still.now(), usegmt=True)}")
        lines += [f"{name}: {value}" for name, value in found.headers]
        lines.append(f"Content-Length: {len(found.body)}")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + found.body)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """`asked` is the log."""
