"""The sandbox's end of the way out: run as a script inside it, `relay.py SOCKET PORTS -- argv...`, becomes `argv`.

A program in a network namespace of its own reaches no proxy of the daemon, but a Unix socket crosses. So a process
listens on the loopback of the sandbox, hands the bytes of each connection to the socket, and dies with the sandbox.
`PORTS`, separated by commas: the port of the proxy, 0 for any, which is told in the proxy variables; and
`PORT=HOST:PORT`, where a connection goes straight to that host, for addresses on loopback that no program asks a proxy
for. `argv` begins with a path. The relay decides nothing: the daemon's end does.

Nothing of ours is imported, so that only this file need be readable here. And a start waits for the interpreter as it
is, so nothing is imported that is not part of it, but the sockets: `os`, `socket` and `threading` take as long again.
"""

import sys
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]
from _socket import AF_UNIX, SHUT_RDWR, SHUT_WR, SO_REUSEADDR, SOL_SOCKET, socket
from _thread import LockType, allocate_lock, start_new_thread
from posix import O_RDWR, _exit, close, closerange, dup2, environ, execve, fork, setsid, waitpid
from posix import open as open_file

CHUNK = 64 * 1024
BACKLOG = 64
PAUSE = 0.05  # seconds
MOST_FILES = 65536  # inherited descriptors are few and low
VARIABLES = (b"HTTPS_PROXY", b"https_proxy", b"HTTP_PROXY", b"http_proxy", b"ALL_PROXY", b"all_proxy")


def main(arguments: list[str]) -> None:
    path, ports, _, *argv = arguments
    targets: dict[socket, bytes] = {}
    for entry in ports.split(","):
        port, _, target = entry.partition("=")
        targets[_listen(int(port))] = target.encode()
    proxy = next(listener for listener, target in targets.items() if not target)
    # Twice, so that it is no child of the program, which may wait for all that it has.
    child = fork()
    if child == 0:
        if fork() == 0:
            serve(path, targets)
        _exit(0)
    waitpid(child, 0)
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}".encode()
    direct = b"127.0.0.1,localhost,::1"
    own = {**dict.fromkeys(VARIABLES, address), b"NO_PROXY": direct, b"no_proxy": direct}
    for number in (SIGPIPE, SIGXFSZ):  # Python ignores them, and what is ignored stays so in the program
        signal(number, SIG_DFL)
    execve(argv[0], argv, {**environ, **own})


def serve(path: str, targets: dict[socket, bytes]) -> None:
    """Accept for ever, away from the program's group, pipes and other descriptors."""
    setsid()
    null = open_file("/dev/null", O_RDWR)
    for number in range(3):
        dup2(null, number)
    ours = sorted(listener.fileno() for listener in targets)
    for after, before in zip((2, *ours), (*ours, MOST_FILES), strict=True):
        closerange(after + 1, before)
    (listener, target), *others = targets.items()
    for other, place in others:
        start_new_thread(_accept, (other, path, place))
    _accept(listener, path, target)


def _listen(port: int) -> socket:
    listener = socket()
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener


def _accept(listener: socket, path: str, target: bytes) -> None:
    pause = allocate_lock()
    pause.acquire()
    while True:
        try:
            client, _ = listener._accept()  # type: ignore[attr-defined]  # `accept` is of the class built on this one
        except OSError:  # no descriptor left, until a connection ends
            pause.acquire(timeout=PAUSE)
            continue
        try:
            start_new_thread(_carry, (client, path, target))
        except RuntimeError:  # no more threads: one connection less, not all
            close(client)


def _carry(accepted: int, path: str, target: bytes) -> None:
    client, gate, done = socket(fileno=accepted), socket(AF_UNIX), allocate_lock()
    try:
        gate.connect(path)
        if target and not _opened(gate, target):
            return
        done.acquire()
        start_new_thread(_back, (gate, client, done))
        _pump(client, gate)
        done.acquire()
    except (OSError, RuntimeError):
        return
    finally:
        client.close()
        gate.close()


def _opened(gate: socket, target: bytes) -> bool:
    """Whether the gate opened the way to the target; its answer is taken byte by byte, what follows is not ours."""
    gate.sendall(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = gate.recv(1)
        if not byte or len(head) > CHUNK:
            return False
        head += byte
    return head.split(b" ", 2)[1] == b"200"


def _back(gate: socket, client: socket, done: LockType) -> None:
    try:
        _pump(gate, client)
    finally:
        done.release()


def _pump(source: socket, sink: socket) -> None:
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
