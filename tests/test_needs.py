"""What a machine lacks is left out of the run, which says so at its end with one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import PACKAGES, left_out, why_not

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import pytest
from tests.needs import needs

@needs("git-lfs")
@pytest.mark.parametrize("n", [1, 2])
def test_with_lfs(n): pass

@needs("npm")
def test_with_npm(): pass

def test_another(): pytest.skip("it rains")

def test_good(): pass
"""


def test_a_run_ends_with_what_was_not_run_and_the_command_that_brings_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_terminal_summary\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").touch()
    options = ["-q", f"--rootdir={tmp_path}", f"--config-file={tmp_path}/pytest.ini"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=ROOT,
        env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, said = done.stdout.partition(" not run ")
    first, *others, command, count = said.split("-\n")[1].splitlines()
    assert first == "2 not run: git-lfs is not installed"
    assert set(others) == {"1 not run: npm is not installed", "1 not run: it rains"}
    assert command.startswith("To run them: ")
    assert command.endswith(" install git-lfs npm")
    assert count.startswith("1 passed, 4 skipped")


def test_nothing_is_said_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert list(left_out([])) == []
    assert list(left_out(["it rains", "it rains"])) == ["2 not run: it rains"]
    for program in PACKAGES:
        (tmp_path / program).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert [why_not(program) for program in PACKAGES] == [""] * len(PACKAGES)


@pytest.mark.parametrize(
    ("system", "user", "command"),
    [
        ("linux", 0, "apt-get install bubblewrap npm"),
        ("linux", 1000, "sudo apt-get install bubblewrap npm"),
        ("darwin", 501, "brew install npm"),
    ],
)
def test_the_command_is_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, user: int, command: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(left_out(map(why_not, ["npm", "bwrap"])))[-1] == f"To run them: {command}"
