"""macOS: a generated profile for `sandbox-exec`, which is deprecated by name and in use by browsers and build tools."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import Missing
from orchestrator.sandbox import toolchains
from orchestrator.sandbox.toolchains import existing
from orchestrator.sandbox.walls import (
    HANDOFF,
    RATION,
    Ration,
    Walls,
    checked,
    interpreter,
    located,
    opens_a_home,
    through,
    within,
    without_proxies,
)

PROGRAM = Path("/usr/bin/sandbox-exec")

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/opt", "/System", "/Library", "/nix/store", "/Applications/Xcode.app"),
    *("/private/etc/ssl", "/private/etc/hosts", "/private/etc/passwd", "/private/etc/group", "/private/etc/protocols"),
    *("/private/etc/services", "/private/etc/localtime", "/private/var/db/timezone", "/private/var/select"),
    *("/private/var/db/xcode_select_link", "/private/var/db/dyld", "/dev"),
)
_RULES = """(version 1)
(deny default)
(allow process-exec process-fork)
(allow signal process-info* (target same-sandbox))
(allow sysctl-read)
(allow ipc-posix-sem)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-write* file-ioctl (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty"))
"""
_LIMITED = 'ulimit -c 0; ulimit -f "$0"; exec "$@"'
_BLOCK = 512  # bytes, the unit of `ulimit -f`


class Seatbelt:
    """Each child under a profile that denies what it does not name.

    Guaranteed as far as the system keeps it: it reads the system, its tools and what its walls name, writes to what
    they name, signals and inspects nothing outside, and has no network but the gate's port.

    Not guaranteed, for want of namespaces: it sees that files exist, though not what is in them; HOME is the folder of
    TMPDIR instead of an empty one; whoever else uses loopback may use the gate's port too while it is open; a child may
    outlive its parent (`process` looks for it by its run id); only the size of files is limited.
    """

    name = "seatbelt"

    def __init__(self, tools: Sequence[Path] = (), ration: Ration = RATION) -> None:
        """`tools`: more folders to read. Missing on another system, ValueError for a home folder."""
        if not PROGRAM.exists():
            raise Missing("SANDBOX=seatbelt is for macOS; on Linux set `SANDBOX=bwrap`")
        if wrong := [tool for tool in tools if opens_a_home(tool)]:
            raise ValueError(f"{wrong[0]} would open the account's home folder")
        self._tools = tuple(tools)
        self._most = "unlimited" if ration.file is None else str(ration.file // _BLOCK)

    def wrap(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], walls: Walls
    ) -> tuple[list[str], dict[str, str]]:
        """See `Sandbox.wrap`."""
        checked(walls)
        program = located(argv[0], cwd, env)
        inner = ["/bin/sh", "-c", _LIMITED, self._most, str(program), *argv[1:]]
        needed = [*self._tools, *toolchains.of_path(env.get("PATH", os.defpath)), *toolchains.of_program(program)]
        variables = dict(env) if walls.network else without_proxies(env)
        port = None
        if walls.gate and not walls.network:
            port = _free_port()
            needed += [HANDOFF, *toolchains.of_program(interpreter())]
            inner, variables = through(walls.gate.socket, HANDOFF, inner, variables, [port])
        scratch = variables.get("TMPDIR")
        if scratch and within(Path(scratch), walls.write):
            variables["HOME"] = scratch
        return [str(PROGRAM), "-p", profile(walls, existing(needed), port), *inner], variables


def profile(walls: Walls, needed: Sequence[Path], port: int | None) -> str:
    """The rules for one child; the last one that fits counts. `port`: the proxy's."""
    lines = [f"(allow file-read* (subpath {_quoted(path)}))" for path in map(Path, _SYSTEM)]
    lines += ['(deny file-read* (subpath "/Library/Keychains"))', '(deny file-read* (regex #"^/dev/r?disk"))']
    how = dict.fromkeys(needed, False)
    how.update((path, True) for path in walls.write)
    how.update((path, False) for path in walls.read)
    for path in sorted(how, key=lambda path: len(path.parts)):
        for name in dict.fromkeys((path, path.resolve())):  # rules match the place that links lead to
            word = _quoted(name)
            lines.append(f"(allow file-read* (subpath {word}))")
            lines.append(f"({'allow' if how[path] else 'deny'} file-write* (subpath {word}))")
    if walls.network:
        lines.append("(allow network*)")
        lines.append('(allow mach-lookup (global-name "com.apple.SystemConfiguration.configd"))')
        lines += [f"(allow file-read* (literal {_quoted(Path('/private/etc/resolv.conf'))}))"]
    elif walls.gate and port:
        lines.append(f"(allow network-outbound (remote unix-socket (path-literal {_quoted(walls.gate.socket)})))")
        lines.append(f'(allow network-bind network-inbound (local ip "localhost:{port}"))')
        ports = (port, *(number for _, number in walls.gate.direct))
        lines += [f'(allow network-outbound (remote ip "localhost:{number}"))' for number in ports]
    return _RULES + "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    text = str(path)
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot be named in a profile")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
