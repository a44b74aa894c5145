"""Pinned npm packages the tests need, each reduced to the one file that is used.

A package is installed once per machine into `<cache>/npm/<name>-<version>/`, where the cache is `.cache` in the
checkout or the folder named by `ORCHESTRATOR_CACHE`. Several processes may ask at once: the first installs, the others
wait. The folder appears by a rename, so a killed install leaves nothing that looks finished.

Run as `python -m tests.programs` to install everything beforehand.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALL_TIMEOUT = 600.0


@dataclass(frozen=True)
class Program:
    """One file of one npm package; `setup` is a script of the package that must run to make the file whole."""

    package: str
    version: str
    file: str
    keep_as: str
    setup: str | None = None

    @property
    def folder(self) -> Path:
        return cache() / "npm" / f"{self.package.rpartition('/')[2]}-{self.version}"


CLAUDE = Program("@anthropic-ai/claude-code", "2.1.329", "bin/claude.exe", "claude", setup="install.cjs")
OPENAPI = Program("@octokit/openapi", "23.0.2", "generated/api.github.com.json", "api.github.com.json")
GRAPHQL = Program("@octokit/graphql-schema", "15.26.1", "schema.graphql", "schema.graphql")


def claude_cli() -> Path:
    """The real Claude Code executable; it needs no Node to run."""
    return installed(CLAUDE)


def openapi() -> Path:
    """GitHub's published REST description."""
    return installed(OPENAPI)


def graphql_schema() -> Path:
    """GitHub's published GraphQL schema."""
    return installed(GRAPHQL)


def cache() -> Path:
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or CHECKOUT / ".cache").resolve()


def installed(program: Program) -> Path:
    """The program's file, installed first where needed. Without npm the test is skipped; a failed install raises."""
    target = program.folder / program.keep_as
    if target.exists():
        return target
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, and {program.package} {program.version} comes from npm")
    with _alone(program.folder):
        if not target.exists():
            _install(program, npm)
    return target


def _install(program: Program, npm: str) -> None:
    # A fixed name under the lock: what a killed install left is found and removed by the next one.
    partial = program.folder.with_name(program.folder.name + ".partial")
    for leftover in (partial, program.folder):
        shutil.rmtree(leftover, ignore_errors=True)
    unpacked, ready = partial / "unpacked", partial / "ready"
    ready.mkdir(parents=True)
    # Package scripts are off because npm versions differ in whether they run them; the needed one is called below.
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    _run([npm, "install", "--prefix", str(unpacked), *options, f"{program.package}@{program.version}"])
    package = unpacked / "node_modules" / program.package
    if program.setup is not None:
        _run([shutil.which("node") or "node", str(package / program.setup)])
    (package / program.file).rename(ready / program.keep_as)
    ready.rename(program.folder)
    shutil.rmtree(partial)


def _run(argv: list[str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, errors="replace"
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    if shutil.which("npm") is None:
        sys.stderr.write("npm is not installed: install Node.js, which brings it.\n")
        return 3
    for program in (CLAUDE, OPENAPI, GRAPHQL):
        sys.stdout.write(f"{program.package} {program.version}: {installed(program)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
