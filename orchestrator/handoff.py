"""The sandbox's end of the way out: run inside it, the script `handoff.py SOCKET PORTS LIMITS argv...` becomes `argv`.

A program in a network namespace of its own reaches no proxy of the daemon, but a Unix socket crosses, and an open
listener crosses that. So the `PORTS` of the sandbox's own loopback, separated by commas, are listened to from here and
handed to the daemon's end, which accepts and decides. `argv`, which begins with a path, starts once they have arrived,
holds none of them, and keeps to the `LIMITS`: `number=most` of resources, separated by commas.

Nothing of ours is imported, so that only this file need be readable here. And a start waits for the interpreter as it
is, so nothing is imported that is not part of it, but the sockets: `os` and `socket` take as long again.
"""

import sys
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]
from _socket import AF_UNIX, SCM_RIGHTS, SOL_SOCKET, socket
from posix import execv
from resource import setrlimit

BACKLOG = 128


def main(arguments: list[str]) -> None:
    path, ports, limits, *argv = arguments
    hand_over(path, [listen(int(port)) for port in ports.split(",")])
    for limit in filter(None, limits.split(",")):
        number, most = map(int, limit.split("="))
        setrlimit(number, (most, most))
    for number in (SIGPIPE, SIGXFSZ):  # Python ignores them, and what is ignored stays so in the program
        signal(number, SIG_DFL)
    execv(argv[0], argv)


def listen(port: int) -> socket:
    """A listener on loopback; `port` 0: any free one."""
    listener = socket()
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener


def hand_over(path: str, listeners: list[socket]) -> None:
    """Give the listeners to the daemon at the Unix socket; OSError where it did not take all of them."""
    numbers = b"".join(listener.fileno().to_bytes(4, sys.byteorder) for listener in listeners)
    gate = socket(AF_UNIX)
    try:
        gate.connect(path)
        gate.sendmsg([bytes([len(listeners)])], [(SOL_SOCKET, SCM_RIGHTS, numbers)])
        # The kernel drops, without a word, what the other side has no descriptors for.
        if not gate.recv(1):
            raise OSError("the daemon did not take the listeners of the sandbox")
    finally:
        gate.close()


if __name__ == "__main__":
    main(sys.argv[1:])
