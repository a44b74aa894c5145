"""The sandbox's end of the way out: run as a script inside it, `relay.py SOCKET PORTS -- argv...`, becomes `argv`.

A program in a network namespace of its own reaches no proxy of the daemon, but a Unix socket crosses. So a process
listens on the loopback of the sandbox, hands the bytes of each connection to the socket, and dies with the sandbox.
`PORTS`, separated by commas: the port of the proxy, 0 for any, which is told in the proxy variables; and
`PORT=HOST:PORT`, where a connection goes straight to that host, for addresses on loopback that no program asks a proxy
for. The relay decides nothing: the daemon's end does.

Nothing of ours is imported, so that only this file need be readable here; and before the program runs only what the
interpreter has ready anyway, because a start waits for it.
"""

from __future__ import annotations

import os
import sys
from _socket import SHUT_RDWR, SHUT_WR, SO_REUSEADDR, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as sockets

CHUNK = 64 * 1024
BACKLOG = 64
MOST_FILES = 65536  # inherited descriptors are few and low
VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def main(arguments: list[str]) -> None:
    path, ports, _, *argv = arguments
    targets: dict[socket, bytes] = {}
    for entry in ports.split(","):
        port, _, target = entry.partition("=")
        targets[_listen(int(port))] = target.encode()
    proxy = next(listener for listener, target in targets.items() if not target)
    # Twice, so that it is no child of the program, which may wait for all that it has.
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            serve(path, {listener.detach(): target for listener, target in targets.items()})
        os._exit(0)
    os.waitpid(child, 0)
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    direct = "127.0.0.1,localhost,::1"
    os.environ.update(dict.fromkeys(VARIABLES, address), NO_PROXY=direct, no_proxy=direct)
    os.execvp(argv[0], argv)


def serve(path: str, targets: dict[int, bytes]) -> None:
    """Accept for ever on the descriptors, away from the program's group and pipes."""
    from select import select
    from socket import socket as socket_of
    from threading import Thread

    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    ours = sorted(targets)
    for after, before in zip((2, *ours), (*ours, MOST_FILES), strict=True):
        os.closerange(after + 1, before)
    listeners = {socket_of(fileno=number): target for number, target in targets.items()}
    while True:
        for listener in select(list(listeners), [], [])[0]:
            client, _ = listener.accept()
            Thread(target=_carry, args=(client, path, listeners[listener]), daemon=True).start()


def _listen(port: int) -> socket:
    listener = socket()
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener


def _carry(client: sockets.socket, path: str, target: bytes) -> None:
    from socket import AF_UNIX
    from socket import socket as socket_of
    from threading import Thread

    with client, socket_of(AF_UNIX) as gate:
        try:
            gate.connect(path)
            if target and not _opened(gate, target):
                return
        except OSError:
            return
        back = Thread(target=_pump, args=(gate, client), daemon=True)
        back.start()
        _pump(client, gate)
        back.join()


def _opened(gate: sockets.socket, target: bytes) -> bool:
    """Whether the gate opened the way to the target; its answer is taken byte by byte, what follows is not ours."""
    gate.sendall(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = gate.recv(1)
        if not byte or len(head) > CHUNK:
            return False
        head += byte
    return head.split(b" ", 2)[1] == b"200"


def _pump(source: sockets.socket, sink: sockets.socket) -> None:
    try:
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
        sink.shutdown(SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(SHUT_RDWR)
            except OSError:  # it is cut already
                continue


if __name__ == "__main__":
    main(sys.argv[1:])
