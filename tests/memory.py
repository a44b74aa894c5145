"""Words for tests of the state file: who wrote it, what a daemon that starts now knows, another version's hand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.record import Job, Kind
from orchestrator.state import State

ROOT = Path(__file__).resolve().parent.parent
KEY = "acme/app#1/implement"


def job(number: int = 1, **fields: Any) -> Job:
    return Job("acme/app", Kind.IMPLEMENT, number, "7", **fields)


def wrote(path: Path, *jobs: Job) -> None:
    """A daemon wrote these, one after the other, and ended."""
    memory = State.open(path)
    for one in jobs:
        memory.put(one)
    memory.close()


def read(path: Path) -> State:
    """What a daemon that starts now knows; it is not running any more."""
    memory = State.open(path)
    memory.close()
    return memory


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change the body of a file as another version of the program would, checksum and all."""
    document = json.loads(path.read_bytes())
    change(document["body"])
    text = json.dumps(document["body"], sort_keys=True, ensure_ascii=True)
    document["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(document))
    return path.read_bytes()


def script(text: str, *words: object) -> None:
    """Run Python in a process of its own to its good end."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", text, *map(str, words)], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
