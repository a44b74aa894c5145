"""The ways to the proxy and on from it: the operator's own proxy, and what a sandbox hands over."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import handoff
from orchestrator.egress import Egress, Gate, Patience
from orchestrator.errors import Misconfigured
from orchestrator.sandbox.walls import HANDOFF, through
from tests.test_egress import Names, asked, connect, echo, handed, head, status, upstream, url
from tests.test_process import eventually

QUICK = Patience(opening=0.2, silence=0.2, total=30.0)


class Company:
    """A proxy as companies have them: it notes what it is asked for and echoes."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._answer = answer

    def __call__(self, end: socket.socket) -> None:
        self.heads.append(head(end))
        end.sendall(self._answer)
        echo(end)


def test_the_way_leads_through_the_operators_proxy() -> None:
    company = Company()
    with upstream(company) as port:
        environ = {"HTTPS_PROXY": f"http://user:p%40ss@127.0.0.1:{port}", "NO_PROXY": "other.test"}
        with Egress(["https://api.model.test"], environ) as gate:
            with asked(gate, connect("api.model.test:443")) as end:
                assert head(end).startswith(b"HTTP/1.1 200")
                end.sendall(b"hello")
                assert end.recv(5) == b"hello"
            assert status(gate, connect("evil.example:443")) == 403
    assert company.heads == [
        b"CONNECT api.model.test:443 HTTP/1.1\r\nHost: api.model.test:443\r\n"
        b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"
    ]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"", b"x" * 9000])
def test_a_proxy_that_does_not_help_is_told(answer: bytes) -> None:
    def refuse(end: socket.socket) -> None:
        head(end)
        end.sendall(answer)

    with upstream(refuse) as port, Egress(["https://api.model.test"], {"https_proxy": f"127.0.0.1:{port}"}) as gate:
        assert status(gate, connect("api.model.test:443")) == 502


def test_loopback_and_spared_hosts_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HTTPS_PROXY": "http://127.0.0.1:1", "no_proxy": ".corp.test, *.x"}
    with upstream(echo) as port:
        Names(monkeypatch, "127.0.0.1")
        with Egress([url(port), "https://llm.corp.test"], environ) as gate:
            assert status(gate, connect(f"127.0.0.1:{port}")) == 200
            assert status(gate, connect("llm.corp.test:443")) == 403  # by its address: it was looked up here


@pytest.mark.parametrize("value", ["https://proxy:1", "socks5://proxy:1", "http://"])
def test_a_proxy_of_another_kind_is_the_operators_mistake(value: str) -> None:
    with pytest.raises(Misconfigured, match="HTTPS_PROXY must be"):
        Egress([], {"HTTPS_PROXY": value})


def started(gate: Gate, ports: list[int], script: str) -> subprocess.CompletedProcess[str]:
    """A shell script as a sandbox starts it, in the tests' own network."""
    argv, env = through(gate.socket, HANDOFF, ["/bin/bash", "-c", script], os.environ, ports)
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=30)


def spare_port() -> int:
    """One that no connection is given for its own end: those come from above 32768."""
    while True:
        port = random.randrange(15000, 30000)
        with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))):
            return port


def test_the_program_finds_the_proxy_where_its_variables_say() -> None:
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        script = f"""
        exec 3<>/dev/tcp/127.0.0.1/${{HTTPS_PROXY##*:}}
        printf 'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\nhello\\n' >&3
        head -n 3 <&3; echo $NO_PROXY; env | grep -i _proxy= | cut -d= -f1 | sort; exit 7
        """
        ended = started(gate, [spare_port()], script)
    answer, spared, names = (lines := ended.stdout.splitlines())[:3], lines[3], lines[4:]
    assert answer == ["HTTP/1.1 200 Connection established", "", "hello"]
    assert spared == "127.0.0.1,localhost,::1"
    assert {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} < set(names)
    assert ended.returncode == 7


def test_a_port_of_a_place_on_loopback_leads_straight_there() -> None:
    free = spare_port()
    script = f"exec 3<>/dev/tcp/127.0.0.1/{free}; echo hello >&3; head -n 1 <&3"
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        assert started(gate, [spare_port(), free], script).stdout == "hello\n"
        assert gate.direct == (("127.0.0.1", port),)
    with Egress([url(port)], {}) as gate:  # nobody is there any more
        assert started(gate, [spare_port(), free], script).stdout == "HTTP/1.1 502 Bad Gateway\n"


def test_each_port_leads_to_its_own_place() -> None:
    with (
        upstream(lambda end: end.sendall(b"one\n")) as one,
        upstream(lambda end: end.sendall(b"two\n")) as two,
        Egress([url(one), url(two)], {}) as gate,
    ):
        ports = {port: spare_port() for _, port in gate.direct}
        script = "".join(f"exec 3<>/dev/tcp/127.0.0.1/{ports[port]}; head -n 1 <&3;" for port in (one, two))
        assert started(gate, [spare_port(), *ports.values()], script).stdout == "one\ntwo\n"


def test_a_port_leads_to_the_first_of_two_places() -> None:
    with Egress([url(8080, "localhost"), "https://api.model.test", url(8080), url(9090)], {}) as gate:
        assert sorted(gate.direct) == [("127.0.0.1", 9090), ("localhost", 8080)]


@contextmanager
def descriptors(more: int) -> Iterator[None]:
    """This process can open only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as free:
        *_, beyond = (free.enter_context(socket.socket()).fileno() for _ in range(more + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (beyond, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_program_does_not_start_where_the_daemon_has_no_descriptors(lines: list[Any]) -> None:
    with (
        Egress([url(80)], {}) as gate,
        closing(handoff.listen(0)) as one,
        closing(handoff.listen(0)) as two,
        descriptors(2),  # for the ends of the connection; then the place of the door is free for one listener
        pytest.raises(OSError, match="did not take the listeners"),
    ):
        handoff.hand_over(str(gate.socket), [one, two])
    told = [(line["event"], line["error"]) for line in lines if line["log_level"] == "warning"]
    assert told == [("egress_broken", "of the sandbox's listeners 1 arrived")]


def test_connections_wait_while_the_daemon_has_no_descriptor_for_them() -> None:
    tried = threading.Event()

    class Closed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            tried.set()
            return super().wait(timeout)

    egress = Egress(["https://api.model.test"], {})
    egress._closed = Closed()
    with egress as gate, closing(socket.socket()) as end:
        address = ("127.0.0.1", handed(gate))
        with asked(gate, connect("evil.example:443")) as first:  # the listeners have arrived
            head(first)
        with descriptors(0):
            end.settimeout(20)
            end.connect(address)
            assert tried.wait(20)
        end.sendall(connect("evil.example:443"))
        assert head(end).startswith(b"HTTP/1.1 403 ")


def test_the_way_in_is_open_once() -> None:
    with Egress([], {}) as gate:
        assert status(gate, connect("evil.example:443")) == 403
        with closing(handoff.listen(0)) as other, pytest.raises(ConnectionRefusedError):
            handoff.hand_over(str(gate.socket), [other])


def test_a_program_whose_gate_is_shut_does_not_start(tmp_path: Path) -> None:
    with Egress([], {}) as gate:
        pass
    ended = started(gate, [spare_port()], f"touch {tmp_path / 'started'}")
    assert ended.returncode != 0
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("speaks", [True, False])
def test_one_who_comes_with_nothing_is_told_in_the_log(lines: list[Any], speaks: bool) -> None:
    with Egress([], {}, patience=QUICK) as gate, closing(socket.socket(socket.AF_UNIX)) as end:
        end.settimeout(20)
        end.connect(str(gate.socket))
        if speaks:
            end.sendall(b".")
        assert end.recv(1) == b""
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["egress_broken"]


def test_a_listener_holds_up_nobody_and_is_for_the_daemon_alone() -> None:
    egress = Egress([url(80)], {})
    with egress as gate, closing(handoff.listen(0)) as one, closing(handoff.listen(0)) as two:
        handoff.hand_over(str(gate.socket), [one, two])
        _, *taken = egress._ready.get_map().values()
        assert [os.get_blocking(key.fd) for key in taken] == [False, False]
        assert [os.get_inheritable(key.fd) for key in taken] == [False, False]


def test_a_connection_that_finds_no_thread_is_one_less_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = threading.Thread.start, threading.Event()

    def no_tunnel(thread: threading.Thread) -> None:
        if thread.name == "tunnel" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_tunnel)
    with Egress(["https://api.model.test"], {}) as gate:
        with asked(gate, b"") as end:
            assert end.recv(1) == b""
        assert refused.is_set()
        assert status(gate, connect("evil.example:443")) == 403


def test_a_tunnel_without_a_thread_for_its_way_back_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def no_way_back(thread: threading.Thread) -> None:
        if thread.name == "tunnel-back":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_way_back)
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        with asked(gate, connect(f"127.0.0.1:{port}")) as end:
            assert head(end).startswith(b"HTTP/1.1 200 ")
            assert end.recv(1) == b""
        assert status(gate, connect("evil.example:443")) == 403


def test_the_end_does_not_wait_for_one_who_keeps_his_listeners() -> None:
    egress = Egress([], {}, patience=Patience(opening=3600.0))
    gate = egress.__enter__()
    with closing(socket.socket(socket.AF_UNIX)) as end:
        end.connect(str(gate.socket))
        assert eventually(lambda: bool(egress._open))
        over = threading.Thread(target=egress.__exit__, args=(None, None, None), daemon=True)
        over.start()
        over.join(20)
        assert not over.is_alive()


def test_the_program_ends_when_nobody_reads_it() -> None:
    with Egress([], {}) as gate:
        ended = started(gate, [spare_port()], "yes 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}")
    assert ended.stdout == f"y\n{128 + signal.SIGPIPE}\n"


def test_the_program_is_alone_and_holds_no_listener() -> None:
    with Egress([], {}) as gate:
        port = spare_port()
        script = f"""
        ps -o comm= --ppid $$
        for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c socket:
        exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'x\\r\\n\\r\\n' >&3; head -n 1 <&3
        """
        ended = started(gate, [port], script)
    children, sockets, answer = ended.stdout.splitlines()
    assert (children, sockets, answer) == ("ps", "0", "HTTP/1.1 400 Bad Request")
    assert ended.stderr == ""
