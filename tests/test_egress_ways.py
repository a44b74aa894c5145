"""The ways to the proxy and on from it: the operator's own proxy, and the relay inside the sandbox."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import relay
from orchestrator.egress import Egress, Gate, Patience
from orchestrator.errors import Misconfigured
from tests.test_egress import Names, asked, connect, echo, head, status, upstream, url

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


def relayed(gate: Gate, ports: str, script: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A shell script beside the relay, in the tests' own network; the relay ends with the script's group."""
    argv = [sys.executable, "-I", "-S", relay.__file__, str(gate.socket), ports, "--", "/bin/bash", "-c", script]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, **more)


def spare_port() -> int:
    """One that no connection is given for its own end: those come from above 32768."""
    while True:
        port = random.randrange(15000, 30000)
        with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))):
            return port


@pytest.fixture
def alone() -> Iterator[list[str]]:
    """Ends the relay that a test left behind: outside a sandbox nothing else does."""
    import psutil

    marks: list[str] = []
    yield marks
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if any(mark in line for mark in marks):
            process.kill()


def test_the_relay_hands_connections_to_the_gate(alone: list[str]) -> None:
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        alone.append(str(gate.socket))
        script = f"""
        exec 3<>/dev/tcp/127.0.0.1/${{HTTPS_PROXY##*:}}
        printf 'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\nhello\\n' >&3
        head -n 3 <&3; env | grep -ic _proxy=; exit 7
        """
        ended = relayed(gate, "0", script)
    assert ended.stdout.splitlines() == ["HTTP/1.1 200 Connection established", "", "hello", "8"]
    assert ended.returncode == 7


def test_the_relay_forwards_a_port_to_its_place(alone: list[str]) -> None:
    free = spare_port()
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        alone.append(str(gate.socket))
        script = f"exec 3<>/dev/tcp/127.0.0.1/{free}; echo hello >&3; head -n 1 <&3"
        assert relayed(gate, f"0,{free}=127.0.0.1:{port}", script).stdout == "hello\n"
        refused = f"exec 3<>/dev/tcp/127.0.0.1/{free}; head -n 1 <&3; echo over"
    with Egress([], {}) as gate:
        alone.append(str(gate.socket))
        other = spare_port()
        refused = f"exec 3<>/dev/tcp/127.0.0.1/{other}; head -n 1 <&3; echo over"
        assert relayed(gate, f"0,{other}=127.0.0.1:{port}", refused).stdout == "over\n"


def test_the_relay_goes_on_after_more_connections_than_it_has_descriptors_for(alone: list[str]) -> None:
    free = spare_port()
    with upstream(echo) as port, Egress([url(port)], {}) as gate:
        alone.append(str(gate.socket))
        script = f"""
        ulimit -Sn 256
        for number in {{20..60}}; do eval "exec $number<>/dev/tcp/127.0.0.1/{free}"; done
        for number in {{20..60}}; do eval "exec $number>&-"; done
        trap '' PIPE
        until [ "$got" ]; do exec 3<>/dev/tcp/127.0.0.1/{free}; echo hello >&3; got=$(head -n 1 <&3); done 2>/dev/null
        echo $got
        """
        few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (24, 256))
        assert relayed(gate, f"0,{free}=127.0.0.1:{port}", script, preexec_fn=few).stdout == "hello\n"


def test_the_program_beside_the_relay_ends_when_nobody_reads_it(alone: list[str]) -> None:
    with Egress([], {}) as gate:
        alone.append(str(gate.socket))
        ended = relayed(gate, "0", "yes 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}")
    assert ended.stdout == f"y\n{128 + signal.SIGPIPE}\n"


def test_the_relay_keeps_out_of_the_programs_way(alone: list[str], tmp_path: Path) -> None:
    with Egress([], {}) as gate:
        alone.append(str(gate.socket))
        read, write = os.pipe()
        script = f"ps -o pid= --ppid $$ | grep -vw $! | wc -l; echo kept >&{write}"
        ended = relayed(gate, "0", f"sleep 0 & {script}", pass_fds=[write])
        os.close(write)
        with os.fdopen(read) as pipe:
            assert pipe.read() == "kept\n"  # and its end: the relay holds none of the program's descriptors
    assert ended.returncode == 0
    assert ended.stderr == ""
