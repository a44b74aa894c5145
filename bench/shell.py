"""The shell scripts in `floors/` at work: a bare clone of the same repository, the same agent, the same server."""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
from pathlib import Path

from bench.house import NAME, House, child
from bench.measure import Broken, timed

FLOORS = Path(__file__).parent / "floors"


class Shell:
    """A person's own clone of the house's repository and the scripts that work on it."""

    def __init__(self, house: House) -> None:
        self.folder = house.folder / "shell"
        self.clone = self.folder / "clone.git"
        self.work = self.folder / "work"
        self.work.mkdir(parents=True)
        basic = base64.b64encode(f"x-access-token:{house.token}".encode()).decode()
        who = {
            f"GIT_{role}_{what}": "floor@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "CLONE": str(self.clone),
            "WORK": str(self.work),
            "API": house.twin.url,
            "TOKEN": house.token,
            "AGENT": child("agent"),
            "COMMAND": "sleep 0.1",
            **who,
        }
        self._numbers = itertools.count(1)
        header = f"http.extraHeader=Authorization: Basic {basic}"
        self._call("git", "clone", "--quiet", "--bare", "-c", header, f"{house.twin.url}/{NAME}.git", str(self.clone))
        self._call("git", "-C", str(self.clone), "config", "gc.auto", "0")

    def name(self) -> str:
        """A new name for a branch and its worktree."""
        return f"floor-{next(self._numbers)}"

    def run(self, script: str, *words: str) -> float:
        """Seconds that a script of `floors/` takes."""
        return timed(lambda: self._call("sh", str(FLOORS / script), *words))

    def fan_out(self, script: str, names: list[str], at_once: int) -> float:
        """Seconds for a script on every name, so many at a time."""
        call = ("xargs", "-P", str(at_once), "-n", "1", "sh", str(FLOORS / script))
        return timed(lambda: self._call(*call, stdin="\n".join(names)))

    def tidy(self, *names: str) -> None:
        """Take away what the items of these names left."""
        for name in names:
            self.run("tidy.sh", name)

    def _call(self, *argv: str, stdin: str = "") -> None:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=self._environ, cwd=self.folder)
        if done.returncode:
            raise Broken(f"{argv[0]} {argv[1]} ended with {done.returncode}: {done.stderr[-2000:]}")
