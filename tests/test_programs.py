"""Packages are installed once, whole or not at all; npm is played by a script."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.programs import Program, installed

PROGRAM = Program("@maker/thing", "1.2.3", "data/big.json", "thing.json")
NPM = """#!/bin/sh
# npm install --prefix DIR ...
echo "$@" >> "{calls}"
mkdir -p "$3/node_modules/@maker/thing/data"
echo '{{}}' > "$3/node_modules/@maker/thing/data/big.json"
echo rest > "$3/node_modules/@maker/thing/data/rest.json"
{ending}
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that works; the file holds one line for each call."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    play_npm(tmp_path, "exit 0")
    return tmp_path / "calls"


def play_npm(tmp_path: Path, ending: str) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir(exist_ok=True)
    npm.write_text(NPM.format(calls=tmp_path / "calls", ending=ending))
    npm.chmod(0o755)


def test_many_askers_cause_one_install(calls: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(installed, [PROGRAM] * 6))
    assert len(found) == 1
    assert len(calls.read_text().splitlines()) == 1
    assert "@maker/thing@1.2.3" in calls.read_text()


def test_only_the_used_file_is_kept(calls: Path) -> None:
    assert installed(PROGRAM).read_text() == "{}\n"
    assert [path.name for path in installed(PROGRAM).parent.iterdir()] == ["thing.json"]
    assert not list((calls.parent / "cache/npm").glob("*.partial"))


def test_a_failed_install_is_an_error_and_leaves_nothing_that_looks_whole(calls: Path, tmp_path: Path) -> None:
    play_npm(tmp_path, "echo no network >&2; exit 7")
    with pytest.raises(RuntimeError, match=r"(?s)ended with 7.*no network"):
        installed(PROGRAM)
    assert not PROGRAM.folder.exists()
    play_npm(tmp_path, "exit 0")
    assert installed(PROGRAM).exists()


def test_a_killed_install_is_done_again(calls: Path, tmp_path: Path) -> None:
    play_npm(tmp_path, "kill -9 $$")
    with pytest.raises(RuntimeError, match="ended with -9"):
        installed(PROGRAM)
    (PROGRAM.folder.with_name(f"{PROGRAM.folder.name}.partial") / "ready").mkdir(parents=True, exist_ok=True)
    play_npm(tmp_path, "exit 0")
    assert installed(PROGRAM).read_text() == "{}\n"


def test_without_npm_the_test_is_skipped_with_a_sentence(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(calls.parent))
    with pytest.raises(pytest.skip.Exception, match="npm is not installed"):
        installed(PROGRAM)


def test_what_is_installed_is_used_without_npm(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = installed(PROGRAM)
    monkeypatch.setenv("PATH", str(calls.parent))
    assert installed(PROGRAM) == target
