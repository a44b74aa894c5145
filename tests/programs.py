"""Pinned npm packages the tests need, each reduced to the one file that is used.

A package is installed once per machine into `<cache>/npm/<name>-<version>/`, where the cache is `.cache` in the
checkout or the folder named by `ORCHESTRATOR_CACHE`. Several processes may ask at once: the first installs, the others
wait. The folder appears by a rename, so a killed install leaves nothing that looks finished.

An install that fails does so in one test, with npm's own words; what else needs npm in that run is not run.
`PROGRAMS=newest` takes the newest versions in place of the pinned ones.

Run as `python -m tests.programs` to install everything beforehand.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import needs

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALL_TIMEOUT = 600.0
_THIS_PROCESS = uuid.uuid4().hex
PATIENCE = 15.0  # seconds for the registry to begin an answer; npm's own five minutes are three times as many


@dataclass(frozen=True)
class Program:
    """One file of one npm package; `setup` is a script of the package that must run to make the file whole."""

    package: str
    pinned: str
    file: str
    keep_as: str
    setup: str | None = None

    @property
    def version(self) -> str:
        newest = os.environ.get("PROGRAMS") == "newest" and not needs.why_not("npm")
        return _newest(self.package) if newest else self.pinned

    @property
    def folder(self) -> Path:
        return cache() / "npm" / f"{self.package.rpartition('/')[2]}-{self.version}"

    @property
    def path(self) -> Path:
        return self.folder / self.keep_as


CLAUDE = Program("@anthropic-ai/claude-code", "2.1.329", "bin/claude.exe", "claude", setup="install.cjs")
OPENAPI = Program("@octokit/openapi", "23.0.2", "generated/api.github.com.json", "api.github.com.json")
GRAPHQL = Program("@octokit/graphql-schema", "15.26.1", "schema.graphql", "schema.graphql")
PROGRAMS = (CLAUDE, OPENAPI, GRAPHQL)


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
    """The program's file, installed first where needed; where it cannot be had the test is skipped."""
    if why := why_not(program):
        pytest.skip(why)
    return program.path


def why_not(program: Program) -> str:
    """Why it cannot be had in this run; nothing once it is installed. The first install of a run that fails raises."""
    if program.path.exists():
        return ""
    if why := needs.why_not("npm"):
        return why
    with _alone(cache() / "npm") as failed:
        if program.path.exists():
            return ""
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", _THIS_PROCESS)
        if failed.exists() and failed.read_text() == run:
            return "npm could not install what is needed: its words are in the one test that fails of it"
        failed.write_text(run)
        _install(program)
        failed.unlink()
    return ""


@functools.cache
def _newest(package: str) -> str:
    return _npm("view", package, "version").strip()


def _install(program: Program) -> None:
    # A fixed name under the lock: what a killed install left is found and removed by the next one.
    partial = program.folder.with_name(program.folder.name + ".partial")
    for leftover in (partial, program.folder):
        shutil.rmtree(leftover, ignore_errors=True)
    unpacked, ready = partial / "unpacked", partial / "ready"
    ready.mkdir(parents=True)
    # Package scripts are off because npm versions differ in whether they run them; the needed one is called below.
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    _npm("install", "--prefix", str(unpacked), *options, f"{program.package}@{program.version}")
    package = unpacked / "node_modules" / program.package
    if program.setup is not None:
        _run([shutil.which("node") or "node", str(package / program.setup)])
    (package / program.file).rename(ready / program.keep_as)
    ready.rename(program.folder)
    shutil.rmtree(partial)


def _npm(*words: str) -> str:
    bounds = [f"--fetch-timeout={PATIENCE * 1000:.0f}", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    return _run([shutil.which("npm") or "npm", *words, *bounds])


def _run(argv: list[str]) -> str:
    """What it printed; else the test fails with its words."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, errors="replace"
        )
    except subprocess.TimeoutExpired as late:
        pytest.fail(str(late), pytrace=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """One process at a time; the file holds the run in which an install has failed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / "failed"


def main() -> int:
    try:
        for program in PROGRAMS:
            sys.stdout.write(f"{program.package} {program.version}: {installed(program)}\n")
    except (pytest.fail.Exception, pytest.skip.Exception) as reason:
        sys.stderr.write(f"{reason}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
