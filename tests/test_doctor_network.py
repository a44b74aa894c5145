"""Trouble of the network reaches a person in words."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.github import transport
from tests.ward import GitHub, bad, good_settings, report


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


@pytest.fixture
def wished(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good `.env`."""
    return good_settings(github, tmp_path, monkeypatch)


def closed() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], object], scheme: str = "http") -> Iterator[str]:
    """A server that does this with every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ones: list[socket.socket] = []

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                if ended.is_set():
                    connection.close()
                    return
                open_ones.append(connection)
                with contextlib.suppress(OSError):
                    answer(connection)

        ended = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        socket.create_connection(server.getsockname()).close()
        thread.join()
        for one in open_ones:
            one.close()


def cut(connection: socket.socket) -> None:
    """A reset instead of an answer."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half(connection: socket.socket) -> None:
    """The beginning of an answer, and then the end."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.shutdown(socket.SHUT_RDWR)


def own_certificate(folder: Path) -> Callable[[socket.socket], object]:
    """TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    ).sign(key, hashes.SHA256())
    plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "pem").write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
            """The other side goes away."""

    return answer


def nobody(_: socket.socket) -> None:
    """No answer at all."""


@pytest.mark.parametrize(
    ("trouble", "words", "command"),
    [
        ("refused", "the connection was refused", "unset GITHUB_API_URL"),
        ("unknown", "the server's name was not found", "unset GITHUB_API_URL"),
        (nobody, "it timed out", "curl -sS {url}/meta"),
        (cut, "the connection was cut", "curl -sS {url}/meta"),
        (half, "the answer was cut short", "curl -sS {url}/meta"),
        ("untrusted", "the server's certificate is not trusted", "curl -sS {url}/meta"),
        ("plain", "the encrypted connection could not be made", "curl -sS {url}/meta"),
    ],
)
def test_trouble_of_the_network_is_told_in_words(
    wished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: Any, words: str, command: str
) -> None:
    monkeypatch.setattr(transport, "READ_TRIES", 1)
    monkeypatch.setattr(transport, "TIMEOUT", 1 if trouble is nobody else 5)
    with contextlib.ExitStack() as stack:
        match trouble:
            case "refused":
                url = closed()
            case "unknown":
                url = "https://nobody.invalid"
            case "untrusted":
                url = stack.enter_context(listening(own_certificate(tmp_path), "https"))
            case "plain":
                url = stack.enter_context(listening(half, "https"))
            case _:
                url = stack.enter_context(listening(trouble))
        monkeypatch.setenv("GITHUB_API_URL", url)
        code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        f"FAIL  github      {url} does not work: GET /user failed 1 times: {words}. Mend: `{command.format(url=url)}`"
    ]
