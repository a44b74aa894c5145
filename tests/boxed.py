"""A place to run children behind walls: a folder to work in, a home with secrets, and what the children said."""

from __future__ import annotations

import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.clock import Stop
from orchestrator.errors import Missing
from orchestrator.process import Cause, Ended, Limits, run
from orchestrator.sandbox import Bubblewrap, Ration, Sandbox, Walls, choose
from tests.needs import why_not

CANARY = "canary-5be1f0"
PATH = "/usr/local/bin:/usr/bin:/bin"


def _why_not() -> str:
    if reason := why_not("bwrap"):
        return reason
    try:
        choose("bwrap", [])
    except Missing as refusal:
        return str(refusal)
    return ""


WHY_NOT = _why_not()
walled = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "works")


class Box:
    """`work` is writable inside; `home` is the account's, full of secrets."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.home = folder / "home"
        self.sandbox = sandbox
        self.env = {"PATH": PATH, "HOME": str(self.home)}
        self.output = folder / "output"
        self.stop = Stop()
        self.walls = Walls(write=(self.work,))
        self.work.mkdir()
        for secret in (".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml", ".netrc", "notes/private.txt"):
            file = self.home / secret
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(CANARY)

    def run(
        self,
        *argv: str,
        walls: Walls | None = None,
        stdin: bytes = b"",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        sandbox: Sandbox | None = None,
        seconds: float = 30.0,
    ) -> Ended:
        return run(
            argv,
            cwd=cwd or self.work,
            env={**self.env, **(env or {})},
            run_id=str(uuid.uuid4()),
            output=self.output,
            errors=None,
            limits=Limits(total=seconds, grace=2.0, output=1 << 20),
            stop=self.stop,
            stdin=stdin,
            sandbox=sandbox or self.sandbox,
            walls=walls or self.walls,
        )

    def said(self, *argv: str, walls: Walls | None = None, env: Mapping[str, str] | None = None) -> str:
        """What the child wrote on both streams; it must have come to its own end."""
        assert self.run(*argv, walls=walls, env=env).cause is Cause.EXITED
        return self.output.read_text("utf-8", "replace")

    def sh(self, script: str, walls: Walls | None = None, env: Mapping[str, str] | None = None) -> str:
        return self.said("/bin/sh", "-c", script, walls=walls, env=env)

    def python(self, script: str, *arguments: object, walls: Walls | None = None) -> str:
        """By the Python of the tests, which lies outside the system."""
        return self.said(sys.executable, "-I", "-S", "-c", script, *map(str, arguments), walls=walls)


class Unprivileged:
    """The same sandbox for an account without rights, whoever runs the tests."""

    name = "bwrap"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._before = shlex.split("setpriv --reuid 65534 --regid 65534 --clear-groups") if os.geteuid() == 0 else []
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 65534)
            self._bwrap = Bubblewrap()

    def wrap(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], walls: Walls
    ) -> tuple[list[str], dict[str, str]]:
        words, variables = self._bwrap.wrap(argv, cwd, env, walls)
        for path in (self._bwrap._own, *self._bwrap._own.iterdir()):
            os.chown(path, 65534 if self._before else -1, -1)
        return [*self._before, *words], variables


@pytest.fixture(scope="session")
def bwrap() -> Bubblewrap:
    """What accounts without rights have: nothing is put around it for root, which would stand in for a missing wall."""
    return Bubblewrap(ration=Ration(processes=None))


@pytest.fixture
def box(tmp_path: Path, bwrap: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    box = Box(tmp_path, bwrap)
    monkeypatch.setenv("HOME", str(box.home))
    yield box
    box.stop.set("over")
