"""The operator's own proxy, as HTTPS_PROXY names it."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from orchestrator.errors import Misconfigured

_HEAD = 8 * 1024  # bytes of its answer's head


def spelled(host: str, port: int) -> str:
    """The one form in which a request for a tunnel names the place."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Proxy:
    """The operator's own proxy, which we ask for a tunnel in our turn."""

    host: str
    port: int
    login: str  # `Basic ...`, or empty
    spared: str  # NO_PROXY

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxy | None:
        """What the variables name, None for nothing; Misconfigured for a proxy that speaks no plain HTTP."""
        names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        name = next((name for name in names if environ.get(name)), None)
        if name is None:
            return None
        value = environ[name]
        parts = urlsplit(value if "://" in value else f"http://{value}")
        if parts.scheme != "http" or not parts.hostname:
            raise Misconfigured(f"{name} must be the address of a proxy that speaks plain HTTP, as http://host:port")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        basic = f"Basic {base64.b64encode(login).decode()}" if parts.username else ""
        return cls(parts.hostname, parts.port or 80, basic, environ.get("NO_PROXY") or environ.get("no_proxy") or "")

    def spares(self, host: str) -> bool:
        """Whether NO_PROXY excepts the host, by its name or as part of a domain."""
        names = [name.strip().lstrip(".").lower() for name in self.spared.split(",")]
        return any(name == "*" or host == name or host.endswith(f".{name}") for name in names if name)

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """A tunnel to the place; OSError where the proxy opens none. `seconds`: the longest silence."""
        server = socket.create_connection((self.host, self.port), timeout=seconds)
        try:
            place, login = spelled(host, port), f"Proxy-Authorization: {self.login}\r\n" if self.login else ""
            server.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to the tunnel
                byte = server.recv(1)
                head += byte
                if not byte or len(head) > _HEAD:
                    raise OSError("the operator's proxy gave no answer")
            if not re.match(rb"HTTP/1\.[01] 200\b", head):
                raise OSError("the operator's proxy refused")
        except OSError:
            server.close()
            raise
        return server
