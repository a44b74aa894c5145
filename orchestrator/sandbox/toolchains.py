"""Which folders outside the system a child needs in order to run its tools, and which of them hold nobody's secrets.

A folder of PATH is opened itself, together with what its programs need beside it: the `lib` of its prefix, the base of
a virtual environment, the packages that a link leads into. In the account's home only what is known to hold programs
alone: the folders of the usual version managers, and others that are called `bin` or `shims`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.sandbox.walls import homes, links, opens_a_home, there, within

SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")))

# Never a whole `.cargo`, `.claude`, `.npm`, `.config`, `.local/share` or `.local/share/uv`: they hold logins.
_MANAGERS = (
    *(".asdf", ".bun/bin", ".bun/install/global", ".cargo/bin", ".claude/local", ".deno/bin", ".fnm", ".goenv"),
    *(".jenv", ".juliaup", ".local/pipx/venvs", ".local/share/claude", ".local/share/fnm", ".local/share/mise"),
    *(".local/share/pipx/venvs", ".local/share/pnpm", ".local/share/uv/python", ".local/share/uv/tools", ".nodenv"),
    *(".nvm", ".phpenv", ".pyenv", ".rbenv", ".rustup", ".rvm", ".sdkman", ".volta", "go/bin"),
)
_NEIGHBOURS = {".cargo/bin": ".rustup", ".bun/bin": ".bun/install/global"}
_PREFIXES = (Path("/home/linuxbrew/.linuxbrew"), Path("/opt/homebrew"))  # whole, as the system
_BIN = frozenset(("bin", "sbin", "shims", ".bin"))
_OF_PREFIX = ("lib", "lib64", "libexec", "include", "conf")  # not `share`: in `~/.local` it holds keyrings


def of_path(path: str) -> Iterator[Path]:
    """What the entries of a PATH need."""
    for entry in map(Path, path.split(":")):
        if entry.is_absolute() and there(entry) and not within(entry, SYSTEM):
            yield from _of_folder(entry)


def of_program(program: Path) -> Iterator[Path]:
    """What a program file needs, wherever its links and its first line lead."""
    for place in links(program):
        if not within(place, SYSTEM):
            yield place
            yield from _of_folder(place.parent)
    if (interpreter := _interpreter(program)) and interpreter != program and there(interpreter):
        yield from of_program(interpreter)


def _of_folder(folder: Path) -> Iterator[Path]:
    """The folder where it may be opened, and what belongs to it."""
    if (known := _known(folder)) is not None:
        yield from known
        return
    if "node_modules" in folder.parts:
        yield Path(*folder.parts[: folder.parts.index("node_modules") + 1])
        return
    if opens_a_home(folder) or (_in_home(folder) and folder.name not in _BIN):
        return
    prefix = folder.parent
    if opens_a_home(prefix):
        yield folder
    elif there(prefix / "pyvenv.cfg"):
        yield prefix
        base = _base(prefix / "pyvenv.cfg")
        if base is not None and not within(base, SYSTEM):
            yield from _of_folder(base)
    else:
        yield folder
        if folder.name in _BIN:
            yield from (prefix / name for name in _OF_PREFIX)


def _known(folder: Path) -> list[Path] | None:
    for prefix in _PREFIXES:
        if within(folder, [prefix]):
            return [prefix]
    for home in homes():
        for name in _MANAGERS:
            if within(folder, [home / name]):
                return [home / name, *((home / _NEIGHBOURS[name],) if name in _NEIGHBOURS else ())]
    return None


def _in_home(folder: Path) -> bool:
    return within(folder, homes()) or within(folder.resolve(), homes())


def _base(configuration: Path) -> Path | None:
    """The folder of the interpreter that a virtual environment was made with."""
    for line in configuration.read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip():
            return Path(value.strip())
    return None


def _interpreter(program: Path) -> Path | None:
    """What the first line of a script names; `env` is of the system and looks along PATH."""
    try:
        with program.open("rb") as file:
            line = file.readline(256)
    except OSError:
        return None
    words = line[2:].split() if line.startswith(b"#!") else []
    return Path(words[0].decode("utf-8", "replace")) if words else None


def existing(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Each of the paths that exists for us, once, without those that lie in another."""
    found = [path for path in dict.fromkeys(paths) if there(path)]
    return tuple(path for path in found if not any(other in path.parents for other in found))
