"""Linux: namespaces of its own for each child, made by bubblewrap."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from orchestrator.errors import Missing
from orchestrator.git.disk import write_whole
from orchestrator.sandbox import toolchains
from orchestrator.sandbox.toolchains import SYSTEM, existing
from orchestrator.sandbox.walls import (
    HANDOFF,
    RATION,
    Ration,
    Walls,
    checked,
    interpreter,
    located,
    opens_a_home,
    there,
    through,
    within,
    without_proxies,
)

# Of the machine's configuration what programs look up at run time, and nothing that may hold a key or a password. Each
# is one more mount, and mounts are what a start costs.
_ETC = (
    *("alternatives", "crypto-policies", "group", "ld.so.cache", "localtime", "nsswitch.conf", "os-release"),
    *("passwd", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "services", "ssl/ca-bundle.pem", "ssl/cert.pem"),
    *("ssl/certs", "ssl/openssl.cnf"),
)
_JAVA = "java-*-openjdk"
_ELSEWHERE = ("/var/lib/ca-certificates",)
# What root may write to in /proc without any capability: `core_pattern` alone would run a program outside.
_ROOTS_PROC = ("sys", "sysrq-trigger", "mtrr", "scsi", "acpi", "fs")
_INSIDE = "/run/orchestrator"  # where the gate's socket and the script that goes to it appear
_PROXY_PORT = 3128  # of a loopback that nobody else is on; the one that proxies usually have
_LOOPBACK = "127.0.0.1"
_SOME = 300  # numbers below are kept for the kernel's own when a namespace starts anew at the end of its range


class Bubblewrap:
    """Each child in namespaces of its own: user, processes, network, mounts, host name, IPC, control groups.

    Guaranteed: it sees the system and its tools read-only, an empty home and /tmp of its own, what its walls name, and
    no process, socket, key or loopback of the machine; it has no capability, cannot win any by set-uid programs, and
    dies with everything that it started when its parent does, or when it ends itself. The parent is the *thread* that
    started it. Its variables never appear on a command line. The machine's name is its own, and leads to its loopback.

    Not guaranteed: the kernel is shared. With `network=True` everything on loopback and every abstract socket is in
    reach. /opt and /usr/local are taken for programs. Memory is limited for each process, not for all together. For
    root, the number of processes is limited from Linux 6.14 on. Namespaces inside are not forbidden
    (`--disable-userns`), because the agent's own sandbox for its commands would not start then; they give nothing that
    the walls do not give.
    """

    name = "bwrap"

    def __init__(self, tools: Sequence[Path] = (), ration: Ration = RATION) -> None:
        """`tools`: more folders to read. Missing without bubblewrap or prlimit, ValueError for a home folder."""
        self._program = _installed("bwrap", "bubblewrap")
        self._prlimit = _installed("prlimit", "util-linux")
        self._limits = _limits(ration)
        if wrong := [tool for tool in tools if opens_a_home(tool)]:
            raise ValueError(f"{wrong[0]} would open the account's home folder")
        self._tools = tuple(tools)
        self._size = ["--size", str(ration.scratch)] if _version(self._program) >= (0, 7) else []
        self._front = _front(ration)
        self._back = ["env", "--default-signal=TERM"] if self._front else []
        self._own = Path(tempfile.mkdtemp(prefix="orchestrator-"))
        weakref.finalize(self, shutil.rmtree, self._own, ignore_errors=True)
        self._constant = [
            *(self._program, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts"),
            *("--unshare-cgroup-try", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", *_system(), "--proc", "/proc", *_hidden_of_root(), "--dev", "/dev"),
            *(*self._size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev", *self._size, "--tmpfs", "/tmp"),
            *("--dir", "/run", "--dir", "/var", "--symlink", "../tmp", "/var/tmp"),
        ]
        self._needed = lru_cache(maxsize=64)(self._search)

    def wrap(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], walls: Walls
    ) -> tuple[list[str], dict[str, str]]:
        """See `Sandbox.wrap`. `cwd` must lie in what the walls, the system or the tools open."""
        checked(walls)
        program = located(argv[0], cwd, env)
        inner = [str(program), *argv[1:]]
        needed = self._needed(program, env.get("PATH", os.defpath), walls.gate is not None)
        if cwd != Path("/tmp") and not within(cwd, [*walls.write, *walls.read, *needed, *SYSTEM]):
            raise ValueError(f"{cwd} is behind the walls")
        if walls.network:
            found = [str(file) for file in map(Path, ("/etc/hosts", "/etc/resolv.conf")) if file.exists()]
            network = [word for file in found for word in ("--ro-bind", file, file)]
        else:
            network = ["--unshare-net", "--ro-bind", str(self._hosts()), "/etc/hosts"]
            env = without_proxies(env)
        if walls.gate and not walls.network:
            socket, script = Path(_INSIDE, "gate"), Path(_INSIDE, HANDOFF.name)
            network += ["--ro-bind", str(walls.gate.socket), str(socket), "--ro-bind", str(HANDOFF), str(script)]
            direct = [port for _, port in walls.gate.direct]
            proxy = next(port for port in range(_PROXY_PORT, 65536) if port not in direct)
            limits = {getattr(resource, f"RLIMIT_{name.upper()}"): most for name, most in self._limits.items()}
            inner, env = through(socket, script, inner, env, [proxy, *direct], limits)
        else:
            inner = [self._prlimit, *(f"--{name}={most}:{most}" for name, most in self._limits.items()), *inner]
        mounts = self._mounts(walls, needed, env.get("HOME"))
        return [
            *(*self._front, *self._constant, *network, *mounts, "--remount-ro", "/", "--chdir", str(cwd), "--"),
            *(*self._back, *inner),
        ], dict(env)

    def _mounts(self, walls: Walls, needed: Sequence[Path], home: str | None) -> list[str]:
        """An empty home, the tools, and what the walls open: the outer before the inner, to write before to read."""
        wanted = dict.fromkeys(needed, "--ro-bind")
        wanted.update((path, "--bind") for path in walls.write if there(path))
        wanted.update((path, "--ro-bind") for path in walls.read if there(path))
        words = {path: [how, str(path.resolve()), str(path)] for path, how in wanted.items()}
        own = Path(home or "/")
        # Our own git is given /dev/null for a home, so that nothing can lie below it.
        can_be = own.is_absolute() and own not in (Path("/"), *words) and (own.is_dir() or not there(own))
        if can_be and not within(own, walls.write):
            words[own] = [*self._size, "--tmpfs", str(own)]
        return [word for path in sorted(words, key=lambda path: len(path.parts)) for word in words[path]]

    def _hosts(self) -> Path:
        """The machine's own table of hosts, in which its name is on loopback: programs look for themselves by it.

        Made anew under another name, and where somebody tidied it away.
        """
        name = platform.node() or "localhost"
        file = self._own / name
        if not file.exists():
            file.parent.mkdir(exist_ok=True, mode=0o700)
            table = Path("/etc/hosts")
            write_whole(file, hosts(table.read_text("utf-8", "replace") if table.exists() else "", name).encode())
        return file

    def _search(self, program: Path, path: str, has_gate: bool) -> tuple[Path, ...]:
        programs = [program, interpreter()] if has_gate else [program]
        found = [*self._tools, *toolchains.of_path(path)]
        for one in programs:
            found += toolchains.of_program(one)
        return existing(found)


def hosts(table: str, name: str) -> str:
    """A table of hosts in which `name`, with what else it is called, leads to loopback only."""
    lines, is_there = [], name == "localhost"
    for line in table.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names and ":" in address and name != "localhost":
            names.remove(name)
        elif name in names:
            address, is_there = (address if address.startswith("127.") else _LOOPBACK), True
        lines.append(" ".join((address, *names)) if names else "")
    if not is_there:
        lines.append(f"{_LOOPBACK} {name}")
    return "".join(f"{line}\n" for line in lines if line)


def _installed(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(
            f"`{name}` is not installed, and without it nothing holds agents and commands; SANDBOX=off runs them with "
            f"all that this account can, else install it: `{install(package)}`"
        )
    return found


def install(package: str) -> str:
    """The command that installs a package on this system."""
    for program, words in (("dnf", "install"), ("apk", "add"), ("pacman", "-S"), ("zypper", "install")):
        if shutil.which(program):
            return f"{program} {words} {package}"
    return f"apt-get install {package}"


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    return tuple(int(number) for number in re.findall(r"\d+", said))


def _kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def _limits(ration: Ration) -> dict[str, int]:
    """Names of resources and the most of each; set inside, where from Linux 5.14 on only its own processes count."""
    given = {"core": 0, "data": ration.memory, "fsize": ration.file}
    if _kernel() >= (5, 14):
        given["nproc"] = ration.processes
    return {name: most for name, most in given.items() if most is not None}


def _front(ration: Ration) -> list[str]:
    """For root, whom the limit on processes does not bind: an outer namespace that has only so many process numbers.

    Only where that setting belongs to the namespace, from Linux 6.14 on, and only as the first process of a new one:
    anywhere else the same write would limit the machine. The outer shell holds on to SIGTERM, which is for those
    inside.
    """
    tie, space = shutil.which("setpriv"), shutil.which("unshare")
    if os.geteuid() != 0 or ration.processes is None or _kernel() < (6, 14) or tie is None or space is None:
        return []
    script = 'trap "" TERM; [ $$ -eq 1 ] && echo "$0" >/proc/sys/kernel/pid_max && exec "$@"'
    return [
        *(tie, "--pdeathsig", "KILL", space, "--user", "--map-root-user", "--pid", "--fork", "--kill-child"),
        *("--mount-proc", "/bin/sh", "-c", script, str(_SOME + ration.processes)),
    ]


def _hidden_of_root() -> list[str]:
    if os.geteuid() != 0:
        return []
    found = [path for path in (Path("/proc", name) for name in _ROOTS_PROC) if path.exists()]
    return [word for path in found if _is_writable(path) for word in ("--ro-bind", str(path), str(path))]


def _is_writable(path: Path) -> bool:
    return path.name == "sys" or any(file.stat().st_mode & 0o222 for file in (path, *path.rglob("*")) if file.is_file())


def _system() -> list[str]:
    """The system and its configuration, read-only; links stay links where they lead into the system."""
    words: list[str] = []
    for path in SYSTEM:
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir() and any(path.iterdir()):
            words += ["--ro-bind", str(path), str(path)]
    etc = Path("/etc")
    for file in (*(etc / name for name in _ETC), *sorted(etc.glob(_JAVA)), *map(Path, _ELSEWHERE)):
        if file.is_symlink() and within(file.resolve(), SYSTEM):
            words += ["--symlink", str(file.resolve()), str(file)]
        elif there(file):
            words += ["--ro-bind", str(file), str(file)]
    return words
