"""The proxy to the allowed hosts: real sockets, no network."""

from __future__ import annotations

import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrator import handoff
from orchestrator.egress import _CHUNK, _HEAD, TUNNELS, Egress, Gate, Patience
from orchestrator.errors import Misconfigured
from tests.test_process import eventually

QUICK = Patience(opening=0.2, silence=0.2, total=30.0)


@contextmanager
def upstream(answer: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """A server on loopback that treats each connection so, one after the other; gives its port."""

    def serve(server: socket.socket) -> None:
        while True:
            try:
                end, _ = server.accept()
            except OSError:
                return
            with end:
                answer(end)

    with socket.create_server((host, 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def echo(end: socket.socket) -> None:
    try:
        while chunk := end.recv(65536):
            end.sendall(chunk)
    except OSError:
        return


@cache
def handed(gate: Gate) -> int:
    """The port of the proxy, for which a listener is handed over as from a sandbox."""
    with closing(handoff.listen(0)) as listener:
        handoff.hand_over(str(gate.socket), [listener])
        return int(listener.getsockname()[1])


@contextmanager
def asked(gate: Gate, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", handed(gate)), timeout=20) as end:
        end.sendall(request)
        yield end


def status(gate: Gate, request: bytes) -> int:
    with asked(gate, request) as end:
        return int(head(end).split()[1])


def head(end: socket.socket) -> bytes:
    said = b""
    while b"\r\n\r\n" not in said:
        byte = end.recv(1)
        assert byte, said
        said += byte
    return said


def connect(place: str) -> bytes:
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode("latin-1")


def url(port: int, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{port}"


def test_a_tunnel_to_a_listed_place_carries_bytes_both_ways() -> None:
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        assert gate.allowed == (("127.0.0.1", port),)
        with asked(gate, connect(f"127.0.0.1:{port}") + b"at once ") as end:
            assert head(end).startswith(b"HTTP/1.1 200")
            end.sendall(b"and later")
            end.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: end.recv(100), b"")) == b"at once and later"


@pytest.mark.parametrize(
    "place",
    [
        *("evil.example:443", "api.model.test:444", "api.model.test", "API.model.test:443", "api.model.test.:443"),
        *("user@api.model.test:443", "api.model.test:443:443", "api.model.test:0443", "api.model.test:443/", "x"),
        *(
            "[api.model.test]:443",
            "127.0.0.1:443",
            "[::1]:443",
            "2130706433:443",
            "0x7f.1:443",
            "sub.api.model.test:443",
        ),
        *("api.model.test%00.evil.example:443", "evil.example#api.model.test:443", "api%2emodel.test:443"),
    ],
)
def test_every_other_spelling_is_refused(place: str) -> None:
    egress = Egress(["https://api.model.test"], {})
    with egress as gate:
        assert status(gate, connect(place)) == 403
    assert egress.refused == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET http://api.model.test/ HTTP/1.1\r\nHost: api.model.test\r\n\r\n", 405),
        (b"POST http://api.model.test:443/ HTTP/1.1\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"connect api.model.test:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.model.test:443\x00.evil.example HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.model.test:443\x00 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT  api.model.test:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT api.model.test:443 HTTP/2\r\n\r\n", 400),
        (b"CONNECT api.model.test:443\n HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT \xc3\xa4pi:443 HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"CONNECT api.model.test:443 HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 400),
        (b"CONNECT " + b"x" * 200_000, 400),
    ],
)
def test_what_is_no_plain_connect_is_refused(request_: bytes, code: int) -> None:
    with Egress(["https://api.model.test"], {}) as gate, asked(gate, b"") as end:
        try:
            end.sendall(request_)
            assert int(end.recv(1000).split()[1]) == code
        except ConnectionError:  # it was cut off in the midst of it
            assert len(request_) > 65536


def test_a_request_that_never_ends_is_given_up() -> None:
    with Egress(["https://api.model.test"], {}, patience=QUICK) as gate:
        assert status(gate, b"CONNECT api") == 400


def test_a_request_that_comes_byte_by_byte_is_given_up_all_the_same() -> None:
    with Egress(["https://api.model.test"], {}, patience=QUICK) as gate, asked(gate, b"CONNECT ") as end:
        end.setblocking(False)
        for _ in range(200):
            threading.Event().wait(0.05)
            with suppress(BlockingIOError):
                assert end.recv(1000).startswith(b"HTTP/1.1 400 ")
                break
            end.send(b"x")
        else:
            raise AssertionError("it listened for 10 s")


def test_no_more_of_a_request_is_kept_than_a_head_can_have() -> None:
    endless = b"x" * (_HEAD + _CHUNK + 1)  # none of it stays unread, so that the answer is not lost
    with Egress(["https://api.model.test"], {}, patience=Patience(opening=60.0)) as gate:
        assert status(gate, endless) == 400


class Names:
    """What the system's resolver answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.asked: list[str] = []
        real = socket.getaddrinfo

        def answer(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
            if host == "127.0.0.1":
                return real(host, port, *args, **kwargs)
            self.asked.append(host)
            at = addresses[min(len(self.asked), len(addresses)) - 1]
            family = socket.AF_INET6 if ":" in at else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (at, port))]

        monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::1", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "224.0.0.1", "::"),
    ],
)
def test_a_listed_name_that_points_inwards_opens_nothing(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    names = Names(monkeypatch, address)
    with Egress(["https://api.model.test"], {}) as gate:
        assert status(gate, connect("api.model.test:443")) == 403
    assert names.asked == ["api.model.test"]


def test_a_gateway_of_the_operators_may_have_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, fits in (
        ("10.1.2.3", True),
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("fe80::1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:169.254.169.254", False),
        ("::ffff:127.0.0.1", False),
    ):
        egress = Egress(["https://llm.corp.test"], {}, inside=["llm.corp.test"])
        assert egress._is_fit("llm.corp.test", address) is fits
        assert not egress._is_fit("api.model.test", address)
    assert Egress([], {})._is_fit("api.model.test", "93.184.215.14")


def test_a_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever asks the system itself a second time gets 127.0.0.1, where nobody listens.
    with upstream(echo, "127.0.0.2") as port:
        names = Names(monkeypatch, "127.0.0.2", "10.0.0.1")
        with Egress([url(port, "localhost")], {}) as gate:
            assert gate.direct == (("localhost", port),)
            assert status(gate, connect(f"localhost:{port}")) == 200
        assert names.asked == ["localhost"]


def test_localhost_is_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "93.184.215.14")
    with Egress([url(80, "localhost")], {}) as gate:
        assert status(gate, connect("localhost:80")) == 403


def test_a_host_that_does_not_answer_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with Egress([url(port)], {}) as gate:
        assert status(gate, connect(f"127.0.0.1:{port}")) == 502


def test_a_silent_tunnel_is_closed() -> None:
    with (
        upstream(echo) as port,
        Egress([url(port)], {}, patience=QUICK) as gate,
        asked(gate, connect(f"127.0.0.1:{port}")) as end,
    ):
        head(end)
        assert end.recv(1) == b""


def test_a_tunnel_with_traffic_one_way_stays_open() -> None:
    def trickle(end: socket.socket) -> None:
        pause = threading.Event()  # the passing of time is what is tested
        for _ in range(8):
            end.sendall(b"x")
            pause.wait(0.05)

    with (
        upstream(trickle) as port,
        Egress([url(port)], {}, patience=QUICK) as gate,
        asked(gate, connect(f"127.0.0.1:{port}")) as end,
    ):
        head(end)
        assert b"".join(iter(lambda: end.recv(100), b"")) == b"x" * 8


def test_an_old_tunnel_is_closed() -> None:
    def endless(end: socket.socket) -> None:
        try:
            while True:
                end.sendall(b"x" * 65536)
        except OSError:
            return

    patience = Patience(silence=10.0, total=0.2)
    with (
        upstream(endless) as port,
        Egress([url(port)], {}, patience=patience) as gate,
        asked(gate, connect(f"127.0.0.1:{port}")) as end,
        suppress(ConnectionError),
    ):
        head(end)
        while end.recv(65536):
            pass


def test_a_slow_reader_holds_back_the_other_side() -> None:
    sent = 0
    stuck = threading.Event()

    def flood(end: socket.socket) -> None:
        nonlocal sent
        end.settimeout(0.2)
        try:
            while True:
                sent += end.send(b"x" * 65536)
        except OSError:
            stuck.set()

    with upstream(flood) as port, Egress([url(port)], {}) as gate, asked(gate, connect(f"127.0.0.1:{port}")) as end:
        head(end)
        assert stuck.wait(20)
        assert 0 < sent < 64 << 20  # the kernel's buffers, not ours


def test_more_tunnels_than_allowed_are_told_to_come_later() -> None:
    with upstream(echo) as port, Egress([url(port)], {}) as gate, ExitStack() as ends:
        for _ in range(TUNNELS + 1):
            end = ends.enter_context(asked(gate, b""))
        assert b"503" in end.recv(100)


def test_the_end_of_the_run_ends_every_tunnel() -> None:
    held = threading.Event()

    def hold(end: socket.socket) -> None:
        held.set()
        echo(end)

    with upstream(hold) as port:
        before = set(threading.enumerate())
        with Egress([url(port)], {}) as gate:
            end = socket.create_connection(("127.0.0.1", handed(gate)), timeout=20)
            end.sendall(connect(f"127.0.0.1:{port}"))
            head(end)
            assert held.wait(20)
        assert end.recv(1) == b""
        end.close()
        assert eventually(lambda: set(threading.enumerate()) <= before)
        assert not gate.socket.parent.exists()


def test_the_socket_is_for_this_account_only() -> None:
    with Egress([], {}) as gate:
        assert stat.S_IMODE(gate.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(gate.socket.parent.stat().st_mode) == 0o700


def test_a_long_name_of_the_folder_for_temporary_files_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with upstream(echo) as port, Egress([url(port)], {}) as gate, asked(gate, connect(f"127.0.0.1:{port}")) as end:
        assert b" 200 " in head(end)


def test_refusals_are_logged_once_for_each_host(lines: list[Any]) -> None:
    with Egress(["https://api.model.test"], {}) as gate:
        for _ in range(3):
            status(gate, connect("evil.example:443"))
    told = [(line["event"], line.get("host"), line.get("times")) for line in lines if line["log_level"] == "warning"]
    assert told == [("egress_refused", "evil.example:443", None), ("egress_refusals", None, 3)]


def test_many_refused_hosts_do_not_fill_the_log(lines: list[Any]) -> None:
    with Egress(["https://api.model.test"], {}) as gate:
        for number in range(30):
            status(gate, connect(f"evil-{number}.example:443"))
    told = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert told == [*["egress_refused"] * 20, "egress_refusals"]


@pytest.mark.parametrize(
    "bad", ["ftp://host", "https://", "https://ho st", "https://h:99999", "https://ä.test", "http://[x"]
)
def test_what_is_no_host_is_the_operators_mistake(bad: str) -> None:
    with pytest.raises(Misconfigured, match="names no host"):
        Egress([bad], {})


def test_hosts_as_people_write_them() -> None:
    urls = [
        "https://API.model.test/v1",
        "pypi.org",
        "pypi.org:8443",
        "http://plain.test",
        "http://[::1]:8080",
        "pypi.org",
    ]
    with Egress(urls, {}) as gate:
        assert gate.allowed == (
            ("api.model.test", 443),
            ("pypi.org", 443),
            ("pypi.org", 8443),
            ("plain.test", 80),
            ("::1", 8080),
        )
