"""Where worktrees lie when nobody says otherwise: outside of any checkout, and where they lay before while they do."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orchestrator import place, settings
from orchestrator.cli import main
from orchestrator.settings import Settings
from tests.boxed import walled
from tests.child import PATIENCE, Child
from tests.house import stub
from tests.sizes import some

MakeChild = Callable[..., Child]

# Other work may fill the machine.
calm = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider"
CALL = "PUT pulls/2/merge"
PLANTED = (
    *("pytest.ini", "package.json", ".npmrc", "node_modules", "Cargo.toml", ".cargo", "go.work", ".editorconfig"),
    *("tsconfig.json", ".git", "conftest.py", "pyproject.toml", "tox.ini", "CLAUDE.md", "pom.xml", "setup.cfg"),
)


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[MakeChild]:
    """Daemons whose folder is a checkout, and whose home is not in it."""
    made: list[Child] = []

    def make(**settings: Any) -> Child:
        folder, home = tmp_path / "checkout", tmp_path / "home"
        folder.mkdir()
        home.mkdir()
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        child = Child(folder, **{"worktree_base": None, **settings})
        child.home = home
        made.append(child)
        return child

    yield make
    for child in made:
        child.close()


def called(child: Child, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, from another folder than the daemon's."""
    child.settings["state_file"] = child.folder / ".orchestrator-state.json"
    command = [sys.executable, "-m", "orchestrator", *words]
    return subprocess.run(
        command, cwd=folder, env=child.environment(), capture_output=True, text=True, check=True, timeout=PATIENCE
    )


def told(child: Child, event: str) -> str:
    """What the newest line of this event says."""
    lines = [json.loads(line) for line in child.log().splitlines() if f'"event":"{event}"' in line.replace(": ", ":")]
    return str(lines[-1]["what"]) if lines else ""


def own(child: Child) -> Path:
    """The place of the child's daemon."""
    [found] = (child.home / ".local/state/orchestrator").glob("[0-9a-f]" * 8)
    return found


def merge(child: Child) -> bool:
    """Whether a pull request with a test of its own is merged after `/merge`, to which there is an answer."""
    child.later()
    child.alice.pushes(child.repo, "topic", {"test_topic.py": "def test_topic() -> None:\n    assert True\n"})
    pull = child.alice.opens_pr(child.repo, "topic")
    child.asked(pull)
    child.start()
    child.until(lambda: child.is_done("merge", pull.number))
    child.stop()
    return pull.merged


# What lies above


@pytest.mark.parametrize("sandbox", ["off", pytest.param("bwrap", marks=walled)])
def test_case_20_a_checkout_around_the_daemon_has_no_part_in_a_test_run(make_child: MakeChild, sandbox: str) -> None:
    """Its uncommitted `pytest.ini` would break every run below it."""
    tools = [sys.prefix, sys.base_prefix, str(Path(__file__).parent)]
    child = make_child(sandbox=sandbox, toolchain_paths=json.dumps(tools), pre_merge_commands=json.dumps([PYTEST]))
    (child.folder / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    assert merge(child), child.repo.pulls[0].comments[-1].body
    assert not (child.folder / "worktrees").exists()
    assert told(child, "worktrees_in_checkout") == ""
    assert (own(child) / "acme/app/mirror.git").is_dir()


def test_case_20_a_place_that_was_named_inside_a_checkout_is_kept_and_told_of(make_child: MakeChild) -> None:
    child = make_child(worktree_base="./there", pre_merge_commands=json.dumps([PYTEST]))
    (child.folder / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    assert not merge(child)
    assert "--nonsense" in child.repo.pulls[0].comments[-1].body
    assert (child.folder / "there/acme/app/mirror.git").is_dir()
    assert told(child, "worktrees_in_checkout") == (
        f"in the worktrees in {child.folder}/there, tools that look in parent folders find {child.folder}/.git, "
        f"{child.folder}/pytest.ini, and take that for the repository's own unless a sandbox hides it; name a folder "
        f"outside of {child.folder} as WORKTREE_BASE"
    )


def seen_from(folder: Path) -> set[Path]:
    """What a tool meets that looks for the planted names in this folder and in those above."""
    return {up / name for up in (folder, *folder.parents) for name in PLANTED if os.path.lexists(up / name)}


@calm
@given(
    depth=st.integers(0, 4),
    planted=st.lists(st.tuples(st.sampled_from(PLANTED), st.integers(0, 5), st.sampled_from("fdl")), max_size=8),
    base=st.sampled_from([".", "worktrees", "../beside", "a/b/c"]),
)
def test_whatever_lies_around_the_daemon_is_not_above_its_worktrees(
    depth: int, planted: list[tuple[str, int, str]], base: str
) -> None:
    """And of a place that somebody named, `above` tells exactly what is met there."""
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        top = Path(temporary).resolve()
        patch.setenv("HOME", str(top / "home"))
        here = top.joinpath("project", *"wxyz"[:depth])
        here.mkdir(parents=True)
        for name, level, kind in planted:
            path = top.joinpath("project", *"wxyz"[: min(level, depth)], name)
            if not os.path.lexists(path):
                path.symlink_to("nowhere") if kind == "l" else path.mkdir() if kind == "d" else path.touch()
        patch.chdir(here)
        before = seen_from(top)
        found = place.default(Path(".orchestrator-state.json").absolute())
        assert seen_from(found / "acme/app/issue-1") == before
        named = Path(os.path.normpath(here / base))
        assert set(place.above(named)) - before == seen_from(named / "acme/app/issue-1") - before
        assert bool(place.trouble(named)) == bool(place.above(named))


def test_of_the_home_only_a_checkout_and_what_is_not_hidden_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".npmrc", ".editorconfig", ".cargo", ".tool-versions", ".config"):
        (tmp_path / name).touch()
    base, further = place.own(tmp_path / "state.json"), place.above(tmp_path.parent)
    assert place.above(base) == further
    (tmp_path / "package.json").touch()
    (tmp_path / ".git").mkdir()
    assert place.above(base) == [tmp_path / ".git", tmp_path / "package.json", *further]
    assert place.above(tmp_path / "sub/worktrees") == place.above(base)


# Which place is whose


def test_each_state_file_has_a_place_of_its_own_whatever_it_is_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GITHUB_REPO", "octo/demo")
    for folder in ("here/sub", "there"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("here")

    def base(cwd: str, state: str) -> Path:
        monkeypatch.chdir(tmp_path / cwd)
        monkeypatch.setenv("STATE_FILE", state)
        return settings.load().worktree_base

    first = base("here", ".orchestrator-state.json")
    assert first.parent == tmp_path / "home/.local/state/orchestrator"
    same = [("here/sub", "../.orchestrator-state.json"), ("link", "./.orchestrator-state.json")]
    same += [("there", f"{tmp_path}/{name}/.orchestrator-state.json") for name in ("here", "link", "there/../here")]
    assert {base(*words) for words in same} == {first}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("WORKTREE_BASE", "")
    assert base("there", f"{tmp_path}/here/.orchestrator-state.json") == first
    others = [("here", "second.json"), ("there", ".orchestrator-state.json"), ("here/sub", ".orchestrator-state.json")]
    assert len({first, *(base(*words) for words in others)}) == 4
    monkeypatch.setenv("WORKTREE_BASE", "mine")
    assert base("there", "x.json") == tmp_path / "there/mine"


@pytest.mark.parametrize("base", ["", "worktrees"])
def test_an_account_without_a_home_is_told_to_set_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("GITHUB_REPO", "octo/demo")
    monkeypatch.setenv("WORKTREE_BASE", base)
    for command in (["doctor", "--no-probe"], ["run", "--once"], ["salvage", "list"]):
        done = CliRunner().invoke(main, command)
        said = "This account has no home: HOME is not set. Set it to a folder of the account's own.\n"
        assert (done.exit_code, done.stderr) == (3, said), command


def test_what_was_saved_is_found_from_another_folder(make_child: MakeChild, tmp_path: Path) -> None:
    child = make_child()
    script = child.folder / "script"
    script.write_text("ignores-sigterm\nsuccess\n")
    child.settings["claude_command"] = stub("--record", str(child.record), f"@{script}")
    child.labelled()
    child.start()
    child.until(lambda: child.runs == 1 and b"deaf" in Path(child.job("implement", 1)["log"]).read_bytes())
    (own(child) / "acme/app/issue-1/half.txt").write_text("half a thought\n")
    child.kill()
    child.start()
    child.until(lambda: child.is_done("implement", 1))
    child.stop()
    assert "issue-1/1" in called(child, tmp_path, "salvage", "list").stdout
    assert "half a thought" in called(child, tmp_path, "salvage", "show", "issue-1/1").stdout
    assert called(child, tmp_path, "logs", "1").stdout
    assert not (child.folder / "worktrees").exists()


# The place of earlier versions


MOMENTS = ("agent", "push", "pull request", "told", "merge", "merged")


@pytest.mark.parametrize(("moment", "moved"), some(list(product(MOMENTS, (False, True))), 3))
def test_a_story_that_began_in_the_old_place_ends_as_it_would_have(
    make_child: MakeChild, tmp_path: Path, moment: str, moved: bool
) -> None:
    """A daemon of the old default dies in the middle; the next has the new default, after a person's move or not."""
    child = make_child(worktree_base="./worktrees", pre_merge_commands='["test -f agent.txt && git status"]')
    script = child.folder / "script"
    script.write_text("ignores-sigterm\nsuccess\n" if moment == "agent" else "success\n")
    known = child.folder / "sessions"
    words = ("--record", str(child.record), "--sessions", str(known), f"@{script}")
    child.settings["claude_command"] = stub(*words)
    issue = child.labelled()
    if moment == "agent":
        child.start()
        child.until(lambda: child.runs == 1 and b"deaf" in Path(child.job("implement", 1)["log"]).read_bytes())
        child.kill()
    elif moment in ("merge", "merged"):
        child.start()
        child.until(lambda: child.is_done("implement", 1))
        child.asked(child.repo.pulls[0])
        (child.dies_before if moment == "merge" else child.dies_after)(CALL)
        child.until(child.killed)
    else:
        push = "POST *.git/git-receive-pack"
        dies = {"push": (push, child.dies_before), "pull request": ("POST pulls", child.dies_before)}
        request, die = dies.get(moment, ("POST pulls", child.dies_after))
        die(request)
        child.start_and_die()
    old = child.folder / "worktrees"
    log = next(job["log"] for job in child.state()["jobs"].values() if job["kind"] == "implement")
    child.settings["worktree_base"] = None
    if moved:
        command = place_command(child)
        subprocess.run(["/bin/sh", "-c", command], check=True)
        assert (old.resolve(), (own(child) / "acme/app/mirror.git").is_dir()) == (own(child), True)
    child.start()
    child.until(lambda: child.is_done("implement", 1))
    [pull] = child.repo.pulls
    if moment not in ("merge", "merged"):
        child.asked(pull)
    child.until(lambda: child.is_done("merge", pull.number))
    child.stop()
    assert (pull.merged, issue.open, child.repo.branches) == (True, False, ["main"])
    assert child.runs == (2 if moment == "agent" else 1)
    if moment == "agent":
        resumed = [json.loads(line)["argv"] for line in child.record.read_text().splitlines()]
        assert ["--resume" in argv for argv in resumed] == [False, True]
    assert (child.said(issue), child.said(pull)) == (["sticky"], ["status-*"])
    assert child.worktrees() == []
    assert Path(log).is_file()
    assert called(child, tmp_path, "logs", "1").stdout
    assert (old / "acme/app/runs.jsonl").is_file()
    told_of = told(child, "worktrees_in_checkout")
    assert ("and run `mkdir -p" in told_of) is not moved
    assert bool(list((child.home / ".local/state/orchestrator").glob("[0-9a-f]" * 8))) is moved


def place_command(child: Child) -> str:
    """The command with which `doctor` moves the old place."""
    [line] = [
        line
        for line in child.command("doctor", "--no-probe").stdout.splitlines()
        if line.startswith("WARN  worktrees") and "stop the daemon and move it" in line
    ]
    return line.split("Mend: `")[1].strip("`")


def test_an_old_place_that_nothing_lies_above_is_told_of_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    state, old = tmp_path / "state.json", tmp_path / "worktrees"
    (old / "notes/of/mine").mkdir(parents=True)
    assert place.default(state) == place.own(state), "what is not ours is no place of ours"
    (old / "acme/app/mirror.git.damaged-1").mkdir(parents=True)
    assert place.default(state) == old
    assert place.moving(old, state).startswith("mkdir -p ")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert place.default(state) == old
    assert place.default(tmp_path / "home/other.json") == place.own(tmp_path / "home/other.json")
    monkeypatch.chdir(tmp_path)
    assert place.default(tmp_path / "home/other.json") == old, "earlier versions had it where they were started"
    place.own(state).mkdir(parents=True)
    assert (place.default(state), place.moving(old, state)) == (place.own(state), "")
