"""The way out of a sandbox: a proxy on its loopback that opens tunnels to a fixed list of hosts and does nothing else.

The listeners are the sandbox's own: `handoff` opens them inside and hands them over through a Unix socket, once, before
the program starts. The first is the proxy's; each other one leads to one place of the list, which is on loopback.

Guaranteed
- The proxy answers only `CONNECT host:port` with a tunnel, and only where those very bytes are on the list: no other
  spelling of a name (case, trailing dot, NUL, userinfo, number forms of an address) is looked at twice.
- The name is resolved once, and the tunnel goes to an address of that answer. An address that is not public is refused
  unless the list itself names an address or localhost, or `inside` names the host: a name on the list that somebody
  points at the machine's own network opens nothing. Link-local addresses, where clouds keep their keys, only literally.
- Each tunnel holds two threads and two buffers of 64 KiB, whatever flows; a silent or an old one is closed, and all of
  them end with the `with` block. The Unix socket is 0600 in a folder 0700 of its own.

Not guaranteed: what is said inside a tunnel is between the child and the host, which is a channel. Behind a proxy of
the operator's (HTTPS_PROXY) that one resolves the names.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from structlog.contextvars import get_contextvars

from orchestrator.errors import Misconfigured
from orchestrator.log import get
from orchestrator.proxy import Proxy, spelled

TUNNELS = 64  # at the same time; an agent with a busy package manager opens some twenty

_CHUNK = 64 * 1024
_HEAD = 8 * 1024  # bytes; a CONNECT has some hundred
_LAST = 2.0  # seconds that the end waits for a tunnel; one that still looks up a name ends by itself
_PAUSE = 0.1  # seconds
_TOLD = 20  # different refused hosts that are worth a line in the log each
_REQUEST = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.[01]")
_LONGEST = 60  # bytes of the folder for temporary files; `/orchestrator-gate-12345678/socket` follows
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Gate:
    """How one sandboxed child gets out: where it hands over a listener for the proxy, and one for each of `direct`.

    `direct`: places on loopback, which no program asks a proxy for; their ports lead straight there.
    """

    socket: Path
    allowed: tuple[tuple[str, int], ...]
    direct: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Patience:
    """Seconds: for listeners, a request and a connection outwards, of silence in a tunnel, and for a tunnel in all."""

    opening: float = 15.0
    silence: float = 900.0  # above the longest wait for a model's first word
    total: float = 24 * 3600.0


PATIENCE = Patience()


class Egress:
    """A proxy for one run, from `with` to its end, to `urls` such as `https://api.example.com` or `pypi.org:8443`.

    Of `environ` counts the operator's proxy. `inside`: hosts that may have a private address, as a company's gateway
    has. Raises Misconfigured for what is no URL and for a proxy that speaks no plain HTTP. `refused` counts requests.
    """

    def __init__(
        self,
        urls: Sequence[str],
        environ: Mapping[str, str],
        inside: Collection[str] = (),
        patience: Patience = PATIENCE,
    ) -> None:
        self.refused = 0
        self._allowed = tuple(dict.fromkeys(_place(url) for url in urls))
        # The first one of a port has it.
        self._direct = tuple({place[1]: place for place in reversed(self._allowed) if _is_local(place[0])}.values())
        self._known = {spelled(*place).encode(): place for place in self._allowed}
        self._inside = inside
        self._patience = patience
        self._proxy = Proxy.of(environ)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._told: set[str] = set()
        self._free = threading.BoundedSemaphore(TUNNELS)
        self._closed = threading.Event()
        self._serving: set[threading.Thread] = set()
        self._log = get(**get_contextvars())  # the threads have no context of the run's

    def __enter__(self) -> Gate:
        with contextlib.ExitStack() as held:
            # The kernel takes about a hundred bytes for a socket's path.
            place = None if len(tempfile.gettempdir()) < _LONGEST else "/tmp"
            folder = tempfile.TemporaryDirectory(prefix="orchestrator-gate-", dir=place, ignore_cleanup_errors=True)
            path = Path(held.enter_context(folder), "socket")
            self._door = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            self._door.bind(str(path))
            path.chmod(0o600)
            self._door.listen(1)
            self._door.setblocking(False)
            self._bell, rung = map(held.enter_context, socket.socketpair())
            self._ready = held.enter_context(selectors.DefaultSelector())
            for end in (rung, self._door):
                self._ready.register(end, selectors.EVENT_READ)
            self._held = held.pop_all()
        self._acceptor = threading.Thread(target=self._accept, name="egress", daemon=True)
        self._acceptor.start()
        return Gate(path, self._allowed, self._direct)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed.set()
            for end in self._open:
                _cut(end)
        _cut(self._bell)
        self._acceptor.join()
        for thread in tuple(self._serving):
            thread.join(_LAST)
        self._held.close()
        if self.refused:
            self._log.warning("egress_refusals", times=self.refused)

    def _accept(self) -> None:
        """Take the sandbox's listeners, from the first who comes, and then what comes to them, until the end."""
        while True:
            for key, _ in self._ready.select():
                if self._closed.is_set():
                    return
                listener: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    client, _ = listener.accept()
                except BlockingIOError:  # it has gone again
                    continue
                except OSError:  # no descriptor left, until others are closed
                    self._closed.wait(_PAUSE)
                    continue
                if listener is self._door:
                    self._take_over(client)
                else:
                    self._welcome(client, key.data)

    def _take_over(self, giver: socket.socket) -> None:
        """Serve the listeners that come through the socket, and say so, which starts the program."""
        self._ready.unregister(self._door)
        self._door.close()
        giver.settimeout(self._patience.opening)
        with giver, self._watched(giver):
            try:
                count, numbers, _, _ = socket.recv_fds(giver, 1, 1 + len(self._direct))
                listeners = [self._held.enter_context(socket.socket(fileno=number)) for number in numbers]
                if count != bytes([len(listeners)]):
                    raise OSError(f"of the sandbox's listeners {len(listeners)} arrived")
                for listener, place in zip(listeners, (None, *self._direct), strict=False):
                    listener.set_inheritable(False)
                    listener.setblocking(False)
                    self._ready.register(listener, selectors.EVENT_READ, place)
                giver.sendall(b".")
            except OSError as error:
                self._log.warning("egress_broken", error=str(error))

    def _welcome(self, client: socket.socket, place: tuple[str, int] | None) -> None:
        if not self._free.acquire(blocking=False):
            with client, contextlib.suppress(OSError):
                _answer(client, "503 Service Unavailable")
            return
        thread = threading.Thread(target=self._serve, args=(client, place), name="tunnel", daemon=True)
        self._serving.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads: one connection less, not all
            self._serving.discard(thread)
            self._free.release()
            client.close()

    def _serve(self, client: socket.socket, place: tuple[str, int] | None) -> None:
        try:
            with client, self._watched(client):
                if place is None:
                    self._asked(client)
                else:
                    self._lead(client, place)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread for the way back
            self._log.debug("egress_broken", error=str(error))
        finally:
            self._free.release()
            self._serving.discard(threading.current_thread())

    def _asked(self, client: socket.socket) -> None:
        head, rest = self._read_head(client)
        request = _REQUEST.fullmatch(head.partition(b"\r\n")[0])
        if request is None:
            return self._refuse(client, "400 Bad Request", "")
        if request[1] != b"CONNECT":
            return self._refuse(client, "405 Method Not Allowed", "")
        place = self._known.get(request[2])
        if place is None:
            return self._refuse(client, "403 Forbidden", request[2].decode("ascii"))
        return self._lead(client, place, b"HTTP/1.1 200 Connection established\r\n\r\n", rest)

    def _lead(self, client: socket.socket, place: tuple[str, int], greeting: bytes = b"", rest: bytes = b"") -> None:
        try:
            server = self._connect(*place)
        except PermissionError as error:
            return self._refuse(client, "403 Forbidden", str(error))
        except OSError as error:
            self._log.info("egress_unreachable", host=place[0], error=str(error))
            return _answer(client, "502 Bad Gateway")
        with server, self._watched(server):
            client.sendall(greeting)
            server.sendall(rest)
            return _Tunnel(client, server, self._patience).flow()

    def _read_head(self, client: socket.socket) -> tuple[bytes, bytes]:
        """The request's head and what came behind it; empty where it is too long, too slow or cut off."""
        until, head = time.monotonic() + self._patience.opening, b""
        while b"\r\n\r\n" not in head:
            client.settimeout(max(0.001, until - time.monotonic()))
            try:
                chunk = client.recv(_CHUNK)
            except TimeoutError:
                chunk = b""
            head += chunk
            if not chunk or len(head) > _HEAD + _CHUNK:
                return b"", b""
        begin, _, rest = head.partition(b"\r\n\r\n")
        return (begin, rest) if len(begin) <= _HEAD else (b"", b"")

    def _refuse(self, client: socket.socket, status: str, host: str) -> None:
        with self._lock:
            self.refused += 1
            is_news = host not in self._told and len(self._told) < _TOLD
            if is_news:
                self._told.add(host)
        if is_news:
            self._log.warning("egress_refused", host=host[:255], status=status)
        _answer(client, status)

    def _connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the host's addresses; PermissionError where all of them are out of bounds."""
        if self._proxy and not _is_local(host) and not self._proxy.spares(host):
            return self._proxy.connect(host, port, self._patience.opening)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        fit = [entry for entry in found if self._is_fit(host, str(entry[4][0]))]
        if not fit:
            raise PermissionError(f"{host} has no public address")
        trouble = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in fit:
            server = socket.socket(family, kind, protocol)
            server.settimeout(self._patience.opening)
            try:
                server.connect(address)
            except OSError as error:
                server.close()
                trouble = error
            else:
                return server
        raise trouble

    def _is_fit(self, host: str, address: str) -> bool:
        if _literal(host):
            return True
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if _is_local(host):
            return ip.is_loopback
        if ip.is_link_local or ip.is_loopback or ip.is_unspecified or ip.is_multicast:
            return False
        return ip.is_global or host in self._inside

    @contextlib.contextmanager
    def _watched(self, end: socket.socket) -> Iterator[None]:
        """While a socket is in use, the end of the block cuts it."""
        with self._lock:
            if self._closed.is_set():
                _cut(end)
            self._open.add(end)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(end)


class _Tunnel:
    """Bytes both ways between two sockets until both have said all, or one is silent or open for too long."""

    def __init__(self, client: socket.socket, server: socket.socket, patience: Patience) -> None:
        self._ends = (client, server)
        self._patience = patience
        self._until = time.monotonic() + patience.total
        self._heard = time.monotonic()
        for end in self._ends:
            end.settimeout(patience.silence / 4)  # both ways share the silence, so each looks up now and then

    def flow(self) -> None:
        client, server = self._ends
        back = threading.Thread(target=self._pump, args=(server, client), name="tunnel-back", daemon=True)
        back.start()
        self._pump(client, server)
        back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := self._next(source):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in self._ends:
                _cut(end)

    def _next(self, source: socket.socket) -> bytes:
        while time.monotonic() < self._until:
            try:
                chunk = source.recv(_CHUNK)
            except TimeoutError:
                if time.monotonic() - self._heard < self._patience.silence:
                    continue
                raise
            self._heard = time.monotonic()
            return chunk
        raise TimeoutError


def _place(url: str) -> tuple[str, int]:
    """Host and port of a URL or of `host:port`, the host in the form in which programs ask for it."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
            raise ValueError(host)
    except (ValueError, KeyError) as error:
        raise Misconfigured(f"{url!r} names no host that an agent could be let out to") from error
    return host, port


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_literal(host) and ipaddress.ip_address(host).is_loopback)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _answer(client: socket.socket, status: str) -> None:
    client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    _cut(client)
