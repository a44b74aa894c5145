"""Scenario 14: the short commands, beside a bare interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.house import ROOT
from bench.measure import Bench, Broken, Row, count_row, in_turns, ratio_row, timed
from bench.memory import file_of

HEAVY = ("github", "pydantic", "requests", "asyncio")
ITEMS = 100
COMPLETION = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": "orchestrator st", "COMP_CWORD": "1"}
# Runs the command and tells on the last line of stderr what it loaded and which sockets it made.
WATCHED = """
import json, runpy, sys
made = []
sys.addaudithook(lambda event, _: made.append(event) if event == "socket.__new__" else None)
sys.argv[0] = "orchestrator"
try:
    runpy.run_module("orchestrator", run_name="__main__")
finally:
    sys.stderr.write("\\n" + json.dumps({"sockets": len(made), "modules": sorted(sys.modules)}))
"""


def start(bench: Bench) -> Iterator[Row]:
    """Each command as a new process, from its start to its exit."""
    home = bench.folder
    file_of(home / "state.json", ITEMS)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "GITHUB_REPO": "acme/app",
        "GITHUB_TOKEN": "ghp_of_nobody",
        "STATE_FILE": str(home / "state.json"),
        "WORKTREE_BASE": str(home / "worktrees"),
    }
    loaded: dict[str, list[str]] = {}
    sockets: dict[str, int] = {}
    for goal, words, more in (
        ("cli.help", ["--help"], {}),
        ("cli.version", ["--version"], {}),
        ("cli.completion", [], COMPLETION),
        ("cli.status", ["status"], {}),
    ):
        ours = [sys.executable, "-m", "orchestrator", *words]
        pairs = in_turns(
            bench.either(21, 5),
            partial(_seconds, ours, home, {**environ, **more}),
            partial(_seconds, [sys.executable, "-I", "-c", "pass"], home, environ),
        )
        what = {"cli.completion": "completion", "cli.status": f"status of {ITEMS} items"}.get(goal, " ".join(words))
        yield ratio_row(goal, what, pairs, "ms", 1000)
        told = _watched(words, home, {**environ, **more})
        loaded[what] = [name for name in HEAVY if name in told["modules"]]
        sockets[what] = told["sockets"]
    heavy = sum(map(len, loaded.values()))
    yield count_row("cli.imports", f"of {', '.join(HEAVY)} loaded by any of these", heavy, which=loaded)
    yield count_row("cli.sockets", "sockets opened by any of these", sum(sockets.values()), which=sockets)


def _seconds(argv: list[str], home: Path, environ: dict[str, str]) -> float:
    def call() -> None:
        done = subprocess.run(argv, cwd=home, env=environ, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise Broken(f"{' '.join(argv[1:4])}: {done.stderr.decode()[-1000:]}")

    return timed(call)


def _watched(words: list[str], home: Path, environ: dict[str, str]) -> dict[str, Any]:
    argv = [sys.executable, "-c", WATCHED, *words]
    done = subprocess.run(argv, cwd=home, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return found
