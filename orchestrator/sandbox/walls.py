"""What one child may reach, and what every sandbox makes of it."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from orchestrator import handoff
from orchestrator.egress import Gate

_PROXIES = frozenset(
    name
    for word in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy")
    for name in (word, word.upper())
)


@dataclass(frozen=True)
class Walls:
    """What one child may reach besides the system and its tools, which are read-only; a home folder is always empty.

    `write` and `read` are folders or files that appear at the same path. Where one lies in another the inner one
    counts, and for the same path `read`: a worktree can be writable but for its `.git`. What does not exist stays
    away. `gate`: the way out through a proxy of the daemon; `network`: the machine's whole network instead; neither:
    no network at all.
    """

    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()
    gate: Gate | None = None
    network: bool = False


@dataclass(frozen=True)
class Ration:
    """The most that a child and what it starts may take; None: no such limit. Not limited: their memory together."""

    processes: int | None = 2048  # threads count; a build of many cores or a JVM needs some hundreds
    memory: int | None = 8 << 30  # bytes of data for each process; linkers and type checkers take a few of these
    file: int | None = 4 << 30  # bytes; above any sane build product, below what fills a disk unnoticed
    scratch: int = 2 << 30  # bytes for /tmp and for the home each, which are memory; bubblewrap can from 0.7 on


RATION = Ration()


class Sandbox(Protocol):
    """What is put around a command line."""

    name: str  # "bwrap", "seatbelt" or "off"

    def wrap(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], walls: Walls
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and environment that run `argv` behind the walls; exit code and pipes are the program's own.

        Raises FileNotFoundError with `argv[0]` as its file name for a program that is not there, and ValueError for
        walls that would open a home folder, or that a link inside a writable folder leads out of.
        """


class Open:
    """No sandbox: the owner's explicit word. The child reaches whatever the daemon's account can."""

    name = "off"

    def wrap(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], walls: Walls
    ) -> tuple[list[str], dict[str, str]]:
        """Command line and environment as they are; the walls are not looked at."""
        return list(argv), dict(env)


OPEN: Sandbox = Open()


def homes() -> tuple[Path, ...]:
    """The account's home folders, by the system and by HOME, links followed."""
    found = [Path.home()]
    with suppress(KeyError):  # an account without an entry, as in containers
        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return tuple(dict.fromkeys(path for home in found for path in (home, home.resolve()) if path != Path("/")))


def opens_a_home(path: Path) -> bool:
    """Whether the folder is the account's home or holds it."""
    real = path.resolve()
    return real == Path("/") or any(real == home or real in home.parents for home in homes())


def within(path: Path, folders: Sequence[Path]) -> bool:
    """Whether the path is one of the folders or lies in one; by their names only."""
    return any(path == folder or folder in path.parents for folder in folders)


def there(path: Path) -> bool:
    """Whether the path exists for us; `Path.exists` raises where a folder on the way is somebody else's."""
    return os.access(path, os.F_OK)


def checked(walls: Walls) -> None:
    """Raise ValueError for walls that let somebody's secrets in."""
    for path in (*walls.write, *walls.read):
        if not path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} is not an absolute path")
        if opens_a_home(path):
            raise ValueError(f"{path} would open the account's home folder")
        for folder in walls.write:
            # Whoever ran in the folder before may have left a link there in the place of what is wanted.
            if folder in path.parents and not within(path.resolve(), [folder.resolve()]):
                raise ValueError(f"{path} leads out of {folder}")


def located(name: str, cwd: Path, env: Mapping[str, str]) -> Path:
    """The program file that a command word means, links kept; FileNotFoundError where there is none."""
    found = shutil.which(str(cwd / name) if "/" in name else name, path=env.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return Path(found)


def links(path: Path) -> Iterator[Path]:
    """The path, and each place that it leads to, down to the file itself."""
    for _ in range(40):  # as many as the kernel follows
        yield path
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    yield path.resolve()


def without_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without the operator's own proxy, whose address may hold a password."""
    return {name: value for name, value in env.items() if name not in _PROXIES}


def interpreter() -> Path:
    """The Python that runs the daemon, not the virtual environment's link to it."""
    return Path(sys.executable).resolve()


def through(
    socket: Path,
    script: Path,
    argv: Sequence[str],
    env: Mapping[str, str],
    ports: Sequence[int],
    limits: Mapping[int, int] = MappingProxyType({}),
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment that start `argv` once `script` has handed its `ports` to a gate's `socket`.

    The first port is the proxy's. `limits`: the most of resources, by their numbers, that it sets on the way.
    """
    proxy, direct = f"http://127.0.0.1:{ports[0]}", "127.0.0.1,localhost,::1"
    own = {name: direct if name.lower() == "no_proxy" else proxy for name in _PROXIES}
    given = ",".join(f"{number}={most}" for number, most in limits.items())
    start = [str(interpreter()), "-I", "-S", str(script), str(socket), ",".join(map(str, ports)), given]
    return [*start, *argv], {**env, **own}


HANDOFF = Path(handoff.__file__).resolve()
