"""`doctor` measures this machine and the settings; each line that is not good ends with the command that mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.diagnosis import Fail, Level, Warn
from tests.boxed import walled
from tests.ward import GitHub, assert_can_be_pasted, bad, good_settings, mend, report


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


@pytest.fixture
def wished(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good `.env`."""
    return good_settings(github, tmp_path, monkeypatch)


@walled
def test_a_good_house_passes_every_check_with_a_real_turn(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("SANDBOX=auto\n")
    code, lines = report()
    assert (code, bad(lines)) == (0, [])
    names = [line[6:17].strip() for line in lines]
    assert names == ["settings", "git", "worktrees", "disk", "state", "sandbox", "agent", "agent login", "token",
                     "scopes", "clock", "octo/demo", "octo/demo"]  # fmt: skip
    assert any("0.0.0 (stub of Claude Code)" in line for line in lines)


def test_no_probe_takes_no_turn(wished: Path) -> None:
    assert not any("agent login" in line for line in report("--no-probe")[1])


def test_nothing_is_left_behind(wished: Path) -> None:
    before = sorted(wished.parent.iterdir())
    report("--no-probe")
    assert sorted(wished.parent.iterdir()) == before


def test_an_agent_that_is_not_logged_in_fails(wished: Path) -> None:
    wished.write_text(wished.read_text().replace(" success\n", " not-logged-in\n"))
    code, lines = report()
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith("FAIL  agent login")
    assert mend(line).endswith("stub_agent.py not-logged-in auth login")


def test_an_agent_whose_key_is_refused_is_mended_where_the_key_is(
    wished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished.write_text(wished.read_text().replace(" success\n", " not-logged-in\nANTHROPIC_API_KEY=sk-canary-1\n"))
    (line,) = bad(report()[1])
    assert "ANTHROPIC_API_KEY is set, but Claude Code is not logged in or was refused" in line
    assert mend(line) == "${EDITOR:-nano} .env"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-2")
    (line,) = bad(report()[1])
    assert mend(line) == "unset ANTHROPIC_API_KEY"


def test_an_agent_that_fails_otherwise_is_to_be_tried_by_hand(wished: Path) -> None:
    wished.write_text(wished.read_text().replace(" success\n", " billing\n"))
    (line,) = bad(report()[1])
    assert "cannot pay for the run: Credit balance is too low" in line
    assert mend(line).endswith("stub_agent.py billing -p hello")


def test_a_missing_agent_fails_with_the_command_that_installs_it(
    wished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path))
    wished.write_text("".join(x for x in wished.read_text().splitlines(True) if not x.startswith("CLAUDE")))
    code, lines = report()
    assert code == 3
    assert bad(lines) == [
        "FAIL  agent       `claude` cannot be started. Mend: `npm install -g @anthropic-ai/claude-code`"
    ]


def test_another_command_for_the_agent_that_does_not_start_is_a_setting_to_change(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("CLAUDE_COMMAND=/no/such/agent\n")
    (line,) = bad(report()[1])
    assert "`/no/such/agent` cannot be started; CLAUDE_COMMAND must start Claude Code" in line
    assert mend(line) == "${EDITOR:-nano} .env"


def test_a_settings_file_that_others_can_read_is_a_warning(wished: Path) -> None:
    wished.chmod(0o644)
    code, lines = report("--no-probe")
    assert code == 0
    assert bad(lines) == ["WARN  settings    others can read .env. Mend: `chmod 600 .env`"]


def test_a_state_file_that_is_not_ours_fails(wished: Path) -> None:
    (wished.parent / ".orchestrator-state.json").write_text("{}")
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith("FAIL  state")
    assert mend(line) == "${EDITOR:-nano} .env"


def test_a_state_file_that_is_damaged_fails(wished: Path) -> None:
    (wished.parent / ".orchestrator-state.json").write_text("{")
    (line,) = bad(report("--no-probe")[1])
    assert line.startswith("FAIL  state")
    assert "is damaged" in line
    assert mend(line) == "orchestrator run"


def test_a_state_file_that_the_system_does_not_let_us_read_is_not_to_be_started_on(wished: Path) -> None:
    file = wished.parent / ".orchestrator-state.json"
    file.symlink_to("/proc/self/mem")  # a regular file whose first byte cannot be read
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert f"{file} cannot be read: Input/output error. Mend" in line
    assert mend(line) == f"ls -ld {file}"


def test_a_folder_in_the_place_of_the_state_file_is_a_setting_to_change(wished: Path) -> None:
    (wished.parent / ".orchestrator-state.json").mkdir()
    (line,) = bad(report("--no-probe")[1])
    assert line.startswith("FAIL  state")
    assert "is a folder" in line
    assert mend(line) == "${EDITOR:-nano} .env"


def git_here(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)


def test_a_checkout_that_would_offer_our_files_for_a_commit_is_a_warning_that_mends_itself(wished: Path) -> None:
    git_here(wished.parent)
    code, lines = report("--no-probe")
    assert code == 0
    (line,) = bad(lines)
    assert line.startswith("WARN  checkout    git does not ignore STATE_FILE in ")
    with wished.open("a") as env:
        env.write("WORKTREE_BASE=./worktrees\n")
    inside, line = bad(report("--no-probe")[1])
    assert line.startswith("WARN  checkout    git does not ignore STATE_FILE and WORKTREE_BASE in ")
    subprocess.run(["/bin/sh", "-c", mend(line)], cwd=wished.parent, check=True)
    assert bad(report("--no-probe")[1]) == [inside]
    for name in (".orchestrator-state.json", ".orchestrator-state.json.prev", "worktrees/octo/demo/x"):
        (wished.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (wished.parent / name).touch()
    seen = ["git", "status", "--porcelain"]
    assert subprocess.run(seen, cwd=wished.parent, capture_output=True, check=True).stdout == b"?? .env\n"


@pytest.mark.parametrize(
    ("setting", "ignored", "pattern"),
    [
        ("STATE_FILE=./a folder/[x] state.json", "/worktrees/", "'/a folder/\\[x] state.json*'"),
        ("WORKTREE_BASE=./it's here", ".orchestrator-state.json*", "/it'\"'\"'s here/'"),
        (
            "STATE_FILE=.orchestrator-state.json",
            "/worktrees/\n/.orchestrator-state.json",
            "'/.orchestrator-state.json*'",
        ),
    ],
)
def test_only_what_is_not_ignored_is_named(wished: Path, setting: str, ignored: str, pattern: str) -> None:
    git_here(wished.parent)
    (wished.parent / ".gitignore").write_text(f"{ignored}\n")
    with wished.open("a") as env:
        name, _, value = setting.partition("=")
        env.write(f'{name}="{value}"\n')
    *inside, line = bad(report("--no-probe")[1])
    assert [line[:17].split()[1] for line in inside] == (["worktrees"] if name == "WORKTREE_BASE" else [])
    assert f"git does not ignore {name} in " in line
    assert pattern in mend(line)
    subprocess.run(["/bin/sh", "-c", mend(line)], cwd=wished.parent, check=True)
    assert bad(report("--no-probe")[1]) == inside


def test_a_checkout_without_our_files_in_it_is_no_concern(
    wished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    git_here(wished.parent)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with wished.open("a") as env:
        env.write(f"STATE_FILE={elsewhere}/state.json\nWORKTREE_BASE={elsewhere}\n")
    assert bad(report("--no-probe")[1]) == []


def test_worktrees_below_what_tools_look_for_are_a_warning_with_the_setting_to_change(wished: Path) -> None:
    (wished.parent / "package.json").touch()
    assert bad(report("--no-probe")[1]) == []
    with wished.open("a") as env:
        env.write("WORKTREE_BASE=./trees\n")
    code, lines = report("--no-probe")
    (line,) = bad(lines)
    assert code == 0
    assert line.startswith(f"WARN  worktrees   in the worktrees in {wished.parent}/trees, tools that look in parent ")
    assert f"name a folder outside of {wished.parent} as WORKTREE_BASE" in line
    assert mend(line) == "${EDITOR:-nano} .env"


def test_the_folder_of_an_earlier_version_in_a_checkout_is_a_warning_that_mends_itself(
    wished: Path,
) -> None:
    git_here(wished.parent)
    (wished.parent / ".gitignore").write_text("/.orchestrator-state.json*\n/worktrees/\n")
    (wished.parent / "worktrees/octo/demo/mirror.git").mkdir(parents=True)
    (line,) = bad(report("--no-probe")[1])
    assert line.startswith("WARN  worktrees ")
    subprocess.run(["/bin/sh", "-c", mend(line)], cwd=wished.parent, check=True)
    assert bad(report("--no-probe")[1]) == []
    assert (wished.parent / "worktrees/octo/demo/mirror.git").is_dir()


@pytest.mark.parametrize("program", ["cat", "false"])
def test_a_program_that_is_not_claude_code_is_no_agent(wished: Path, program: str) -> None:
    with wished.open("a") as env:
        env.write(f"CLAUDE_COMMAND={program}\n")
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith(f"FAIL  agent       `{program} --version` does not ")
    assert "CLAUDE_COMMAND must start Claude Code" in line
    assert "icense" not in line
    assert "Free Software" not in line
    assert mend(line) == "${EDITOR:-nano} .env"


def test_a_sentence_that_asks_gets_no_full_stop(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("MAX_CONCURENT=1\n")
    (line,) = bad(report("--no-probe")[1])
    assert "Did you mean MAX_CONCURRENT? Mend: `" in line


def test_one_cause_is_one_line(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("CI_SETTLE=${NOPE}\n")
    assert len(bad(report("--no-probe")[1])) == 1


def test_a_worktree_folder_that_cannot_be_written_fails(wished: Path) -> None:
    (wished.parent / "file").write_text("")
    with wished.open("a") as env:
        env.write("WORKTREE_BASE=./file\n")
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith("FAIL  worktrees")
    assert mend(line) == "${EDITOR:-nano} .env"


@pytest.mark.parametrize(
    ("script", "level"),
    [
        ("echo git version 2.39.0", Level.PASS),
        ("echo git version 2.37.9", Level.FAIL),
        ("echo git version 1.99.0", Level.FAIL),
        ("echo git version 3.0.windows.1", Level.PASS),
        ("echo hello", Level.FAIL),
        ("exit 1", Level.FAIL),
        (None, Level.FAIL),
    ],
)
def test_git_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, level: Level
) -> None:
    if script is not None:
        (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.git_version()
    assert found.level is level
    if level is Level.FAIL:
        assert_can_be_pasted(str(found))
        assert mend(str(found)).endswith("install git")
        assert ("it is not installed" in found.text) is (script is None)


def test_wrong_settings_are_listed_and_exit_with_2(wished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_TIMEOUT", "long")
    with wished.open("a") as env:
        env.write("MAX_TURNS=many\nPOLL_INTERVAL=0\nCOFFEE=1\n")
    code, lines = report()
    assert code == 2
    assert [line[:27] for line in bad(lines)] == [
        "FAIL  settings    .env, lin", "FAIL  settings    POLL_INTE", "FAIL  settings    MAX_TURNS",
        "FAIL  settings    CI_TIMEOU",
    ]  # fmt: skip
    assert [mend(line) for line in bad(lines)] == [*["${EDITOR:-nano} .env"] * 3, "unset CI_TIMEOUT"]


def checked(lines: list[str]) -> list[str]:
    return [line[6:17].strip() for line in lines if line.startswith("PASS")]


@pytest.mark.parametrize(
    ("wrong", "skipped"),
    [
        ("MAX_TURNS=many", []),
        ("STATE_FILE=", ["state"]),
        ("WORKTREE_BASE=~nobodyx/x", ["worktrees", "disk"]),
        ("CLAUDE_COMMAND='\"'", ["agent"]),
        ("GITHUB_REPO=octo", ["octo/demo", "octo/demo"]),
        ("READY_LABEL=a,b", ["octo/demo", "octo/demo"]),
        ("GITHUB_API_URL=ftp://x", ["token", "scopes", "clock", "octo/demo", "octo/demo"]),
    ],
)
def test_only_what_needs_a_wrong_setting_is_skipped(wished: Path, wrong: str, skipped: list[str]) -> None:
    every = [name for name in checked(report("--no-probe")[1]) if name != "settings"]
    with wished.open("a") as env:
        env.write(f"{wrong}\n")
    code, lines = report()  # a real turn is not taken either
    assert (code, len(bad(lines))) == (2, 1)
    assert checked(lines) == [name for name in every if name not in skipped]


def test_a_settings_file_that_cannot_be_read_leaves_git_to_be_checked(wished: Path) -> None:
    wished.write_bytes(b"\xff")
    code, lines = report()
    assert code == 2
    assert checked(lines) == ["git"]
    assert mend(bad(lines)[0]) == "${EDITOR:-nano} .env"


@pytest.mark.parametrize("name", ["owner/name", "octo/demo,owner/name"])
def test_the_example_left_in_the_settings_is_told_as_such(wished: Path, github: GitHub, name: str) -> None:
    with wished.open("a") as env:
        env.write(f"GITHUB_REPO={name}\n")
    code, lines = report("--no-probe")
    assert code == 2
    assert bad(lines) == [
        "FAIL  settings    GITHUB_REPO still holds the example owner/name; put the name of your repository there. "
        "Mend: `${EDITOR:-nano} .env`"
    ]
    assert [path for _, path, _ in github.asked] == ["/user"]


@pytest.mark.parametrize("kind", [Warn, Fail])
def test_trouble_without_a_command_cannot_be_told(kind: type[Warn]) -> None:
    with pytest.raises(ValueError, match="no command mends 'it rains'"):
        kind("weather", "it rains", " ")


def test_too_little_room_fails(wished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.statvfs(wished.parent)
    monkeypatch.setenv("DISK_FLOOR_GB", str(stat.f_frsize * stat.f_bavail / 1e9 * 2))
    monkeypatch.setenv("WORKTREE_BASE", "worktrees")
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].startswith("FAIL  disk        only ")
    assert mend(bad(lines)[0]) == f"du -sh {wished.parent}"
