"""Canaries: a token, an API key and a file of the home are laid out, and a hostile agent and hostile commands look for
them through a whole story of the real daemon. None of them is found in anything that was said, written or started.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.boxed import walled
from tests.child import ROOT, Child
from tests.hostile_agent import command

KEY = "sk-ant-canary03-0123456789abcdefghijklmnopqrstuvwxyz"
HOME = "canary-of-the-home-0123456789"
# The commands run what the pull request brings along.
STEAL = """
env; cat /proc/*/environ /proc/*/cmdline; cat .git; git config -l
find "$HOME" /root -name .pyenv -prune -o -type f -print | head -n 50 | xargs head -c 2000
cat FOLDER/.orchestrator-state.json FOLDER/daemon.log FOLDER/home/.ssh/id_canary
base64 -w0 /proc/self/environ; echo; rev /proc/self/environ; od -An -tx1 /proc/self/environ
test -e pass.txt
"""


def forms(secret: str) -> dict[str, bytes]:
    """The secret as it could be seen; of base64 the part that is its own, whatever stands beside it."""
    raw = secret.encode()
    encoded = {
        f"base64 at {n}": base64.b64encode(b"\0" * n + raw)[(0, 2, 3)[n] : (n + len(raw)) * 8 // 6] for n in range(3)
    }
    return {"plain": raw, "reversed": raw[::-1], "hex": raw.hex().encode(), **encoded}


class Sight:
    """Every process that the daemon starts, as often as can be looked."""

    def __init__(self, pid: int) -> None:
        self.argv: set[bytes] = set()
        self.environ: dict[str, bytes] = {}  # of processes by what they are
        self._daemon = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Sight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            try:
                for process in self._daemon.children(recursive=True):
                    words, name = process.cmdline(), self._name(process)
                    environ = repr(process.environ()).encode()
                    if not words or self._name(process) != name:  # between two programs: it may be of either
                        continue
                    self.argv.add("\0".join(words).encode())
                    self.environ[name] = self.environ.get(name, b"") + environ
            except (psutil.Error, OSError):
                continue

    def _name(self, process: psutil.Process) -> str:
        return " ".join(self._lines(process))

    def _lines(self, process: psutil.Process) -> Iterator[str]:
        """The command lines from it up to the daemon: what git starts in order to talk carries what git carries."""
        for one in [process, *process.parents()]:
            if one == self._daemon:
                return
            yield from one.cmdline()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    tools = [str(ROOT / "tests"), sys.prefix, sys.base_prefix]
    child = Child(
        tmp_path,
        sandbox="auto",
        toolchain_paths=json.dumps(tools),
        anthropic_api_key=KEY,
        review_prs="all",
        max_diff_kb=1_000_000,
        claude_command=command(tmp_path),
        pre_merge_commands='["sh steal.sh"]',
    )
    (child.home / ".ssh").mkdir()
    (child.home / ".ssh" / "id_canary").write_text(HOME)
    yield child
    child.close()


def whole_story(child: Child) -> None:
    """An issue, its pull request, the review, a merge that is refused and one that is done."""
    child.alice.pushes(child.repo, "main", {"steal.sh": STEAL.replace("FOLDER", str(child.folder))})
    issue = child.labelled()
    child.until(lambda: child.is_done("implement", issue.number))
    [pull] = child.repo.pulls
    child.until(lambda: child.is_done("review", pull.number))
    assert pull.reviews
    child.asked(pull)
    child.until(lambda: any("Not merged" in c.body for c in pull.comments))
    child.later()
    child.alice.pushes(child.repo, pull.head_ref, {"pass.txt": "x\n"})
    child.until(lambda: child.is_done("review", pull.number))
    child.asked(pull)
    child.until(lambda: pull.merged and child.is_done("merge", pull.number))


def objects(bare: Path) -> bytes:
    """Everything in a repository, also what no branch names."""
    wanted = ["git", "--git-dir", str(bare), "cat-file", "--batch", "--batch-all-objects", "--buffer"]
    return subprocess.run(wanted, check=True, capture_output=True).stdout


def written(child: Child) -> Iterator[tuple[str, bytes]]:
    """What the daemon left on the disk."""
    for top, folders, files in os.walk(child.folder):
        here = Path(top)
        if here == child.folder:
            folders.remove("home")
            folders.remove("github")
        for name in files:
            yield str(here / name), (here / name).read_bytes()
        if "mirror.git" in folders:
            yield "the mirror's objects", objects(here / "mirror.git")


@walled
def test_no_canary_is_found_in_anything_that_was_said_written_or_started(child: Child) -> None:
    process = child.start()
    with Sight(process.pid) as sight:
        whole_story(child)
    child.stop()
    posts = [e for e in child.github.journal.exchanges if e.login == "robot"]
    assert any("[secret]" in json.dumps(e.body) for e in posts), "the key was found and said, which is what is tested"
    everything = {f"{e.method} {e.path}": b"" for e in posts}
    for e in posts:
        everything[f"{e.method} {e.path}"] += json.dumps(e.body).encode()
    everything |= dict(written(child))
    everything["what was pushed"] = objects(child.repo.thing.bare.path)
    everything["the command lines"] = b"\n".join(sight.argv)
    # A child is the daemon itself until it begins its own program, and the agent has the key of its model.
    others = (n for n in sight.environ if child.github.url not in n and "-m orchestrator run" not in n)
    everything["the environment of what does not talk to GitHub"] = b"".join(
        sight.environ[name].replace(KEY.encode(), b"") for name in others
    )
    commands = b"".join(data for name, data in sight.environ.items() if "steal.sh" in name)
    assert commands
    everything["the environment of commands"] = commands
    seen = [
        (place, what, form)
        for what, secret in {"token": child.token, "key": KEY, "home": HOME}.items()
        for form, data in forms(secret).items()
        for place, content in everything.items()
        if data in content
    ]
    assert seen == []
    assert sum(map(len, everything.values())) > 100_000
