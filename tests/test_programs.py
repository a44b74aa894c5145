"""Packages are installed once, whole or not at all, and a failure is met once; npm is mostly played by a script."""

from __future__ import annotations

import re
import socket
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import programs
from tests.needs import needs
from tests.programs import Program, installed

PROGRAM = Program("@maker/thing", "1.2.3", "data/big.json", "thing.json")
NPM = """#!/bin/sh
# npm install --prefix DIR ...
echo "$@" >> "{calls}"
[ "$1" = install ] || {{ echo 9.9.9; exit; }}
mkdir -p "$3/node_modules/@maker/thing/data"
echo '{{}}' > "$3/node_modules/@maker/thing/data/big.json"
echo rest > "$3/node_modules/@maker/thing/data/rest.json"
{ending}
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that works; the file holds one line for each call."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PROGRAMS", raising=False)
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


def another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", str(uuid.uuid4()))


def test_a_failed_install_is_an_error_and_leaves_nothing_that_looks_whole(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_npm(tmp_path, "echo no network >&2; exit 7")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)ended with 7.*no network"):
        installed(PROGRAM)
    assert not PROGRAM.folder.exists()
    another_run(monkeypatch)
    play_npm(tmp_path, "exit 0")
    assert installed(PROGRAM).exists()


def test_after_a_failed_install_nothing_more_is_asked_of_npm_in_this_run(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_run(monkeypatch)
    play_npm(tmp_path, "exit 7")
    other = Program("@maker/other", "1", "x", "x")

    def ask(program: Program) -> str:
        try:
            return str(installed(program))
        except (pytest.fail.Exception, pytest.skip.Exception) as reason:
            return str(reason)

    with ThreadPoolExecutor(6) as pool:
        said = Counter(pool.map(ask, [PROGRAM, other] * 3))
    assert len(calls.read_text().splitlines()) == 1
    assert sorted(said.values()) == [1, 5]
    assert next(words for words, times in said.items() if times == 5).startswith("npm could not install")


@needs("npm")
def test_a_registry_that_does_not_answer_is_told_in_npms_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "PATIENCE", 0.5)
    monkeypatch.delenv("PROGRAMS", raising=False)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setenv("npm_config_registry", url)
        with pytest.raises(pytest.fail.Exception, match=re.escape(f"network timeout at: {url}")):
            installed(PROGRAM)


@pytest.mark.parametrize(("wish", "version"), [("newest", "9.9.9"), ("", "1.2.3")])
def test_the_newest_version_is_taken_on_demand(
    calls: Path, monkeypatch: pytest.MonkeyPatch, wish: str, version: str
) -> None:
    monkeypatch.setenv("PROGRAMS", wish)
    assert f"thing-{version}" in str(installed(PROGRAM))
    assert f"@maker/thing@{version}" in calls.read_text()


def test_a_killed_install_is_done_again(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_npm(tmp_path, "kill -9 $$")
    with pytest.raises(pytest.fail.Exception, match="ended with -9"):
        installed(PROGRAM)
    another_run(monkeypatch)
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
