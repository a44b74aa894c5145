"""The commands as a person calls them: what is printed, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.record import Job, Kind, Status
from orchestrator.settings import Settings
from orchestrator.state import State

ROOT = Path(__file__).resolve().parent.parent
STREAM: list[dict[str, Any]] = [
    {"type": "system", "subtype": "init", "model": "claude-x", "session_id": "s-1"},
    {"type": "assistant", "message": {"content": [{"type": "text", "text": "I fix it.\nNow."}]}},
    {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}]}},
    {"type": "user", "message": {"content": [{"type": "tool_result", "content": "a\nb", "is_error": False}]}},
    {"type": "result", "is_error": False, "num_turns": 3, "duration_ms": 4200, "total_cost_usd": 0.5, "result": "OK"},
]


def environment(**more: str) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    kept = {k: v for k, v in os.environ.items() if k not in ours}
    return {**kept, "PYTHONPATH": str(ROOT), "GITHUB_REPO": "octo/demo", **more}


@pytest.fixture(autouse=True)
def _a_folder_with_one_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("GITHUB_REPO", "octo/demo")
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> Result:
    """The command in this process: quick."""
    done = CliRunner().invoke(main, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def process(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: real."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def job(number: int, kind: Kind = Kind.IMPLEMENT, status: Status = Status.PARKED, **more: Any) -> Job:
    return Job(
        **{"repo": "octo/demo", "trigger": "1", "title": "Add a page", "started_at": 1.0, "updated_at": 2.0, **more},
        number=number,
        kind=kind,
        status=status,
    )


def remember(folder: Path, *jobs: Job) -> None:
    state = State.open(folder / ".orchestrator-state.json")
    for one in jobs:
        state.put(one)
    state.close()


def remembered(folder: Path) -> dict[str, Job]:
    state = State.open(folder / ".orchestrator-state.json")
    state.close()
    return state.jobs


def stream(file: Path, events: list[dict[str, Any]]) -> None:
    file.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events))


def test_help_loads_neither_pygithub_nor_the_twin_nor_pydantic(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from orchestrator.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'github', 'requests', 'pydantic', 'pydantic_settings', 'structlog', 'psutil', 'asyncio'}\n"
        "print(sorted(m for m in sys.modules if m in heavy or m.startswith('orchestrator.twin')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("run", "status", "doctor", "retry", "clear", "logs", "demo"):
        assert f"\n  {command} " in done.stdout
    assert "..." not in done.stdout.split("Commands:")[1]  # each sentence fits its line


def test_status_does_without_pygithub(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from orchestrator.cli import main\n"
        "main(['status'], standalone_mode=False)\n"
        "print(sorted({'github', 'requests', 'psutil'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_told(tmp_path: Path) -> None:
    done = process(tmp_path, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "orchestrator,")


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["fly"], {}),
        (["retry"], {}),
        (["demo", "--agent", "parrot"], {}),
        (["run", "--once"], {"GITHUB_REPO": "octo"}),
        (["status"], {"MAX_TURNS": "many"}),
        (["doctor", "--no-probe"], {"MAX_TURNS": "many", "GITHUB_API_URL": "http://127.0.0.1:9"}),
    ],
)
def test_bad_usage_and_bad_settings_exit_with_2_and_touch_nothing(
    tmp_path: Path, words: list[str], more: dict[str, str]
) -> None:
    done = process(tmp_path, *words, **more)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["status"], ["run", "--once"], ["doctor", "--no-probe"]])
def test_the_example_copied_unchanged_exits_with_2(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    given = {k: v for k, v in environment().items() if k != "GITHUB_REPO"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], cwd=tmp_path, env=given, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "GITHUB_REPO still holds the example owner/name" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["status"], ["run", "--once"], ["doctor", "--no-probe"], ["retry", "1"]])
def test_a_folder_that_was_deleted_exits_with_3(tmp_path: Path, words: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-m", "orchestrator", *words],
        cwd=gone,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == ("The current folder cannot be used: No such file or directory. Go into one that exists.\n")


@pytest.mark.parametrize("words", [["status"], ["run", "--once"], ["doctor", "--no-probe"]])
def test_a_home_that_nobody_has_exits_with_2(tmp_path: Path, words: list[str]) -> None:
    done = process(tmp_path, *words, WORKTREE_BASE="~nobodyx/x", GITHUB_API_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "nobody's home is known for '~nobodyx/x'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_demo_without_git_exits_with_3_and_leaves_nothing(tmp_path: Path) -> None:
    done = process(tmp_path, "demo", PATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "git is not installed, or not in PATH. Install git 2.39 or newer.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["status"], ["run", "--once"]])
def test_a_folder_as_state_file_exits_with_2_and_stays_where_it_is(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter").touch()
    done = process(tmp_path, *words, STATE_FILE=str(folder), GITHUB_TOKEN="ghp_x", GITHUB_API_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{folder} is a folder; it was left untouched.")
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "letter"]


def test_every_wrong_setting_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = process(tmp_path, "run", "--once", GITHUB_REPO="octo", MAX_TURNS="many")
    assert done.stdout == ""
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["GITHUB_REPO", "MAX_TURNS"]


def test_no_token_exits_with_3(tmp_path: Path) -> None:
    done = process(tmp_path, "run", "--once", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "Set GITHUB_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_foreign_state_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".orchestrator-state.json"
    file.write_text('{"mine": 1}')
    done = call("status")
    assert done.exit_code == 2
    assert "is not a state file of this program" in done.stderr
    assert file.read_text() == '{"mine": 1}'


def test_status_shows_the_items_as_text_and_as_json(tmp_path: Path) -> None:
    remember(tmp_path, job(42, reason="No change was made."), job(7, Kind.REVIEW, Status.DONE, updated_at=time.time()))
    done = call("status")
    assert done.exit_code == 0
    assert done.stdout.startswith("needs you (1)\n  #42  implement")
    document = json.loads(call("status", "--json").stdout)
    assert [item["outcome"] for item in document["items"]] == [None, "needs a person: No change was made."]
    assert document["counts"] == {"needs_you": 1, "running": 0, "waiting": 0, "done": 1}


@pytest.mark.parametrize("word", ["42", "#42", "octo/demo#42", "Octo/Demo#42/implement"])
def test_retry_wakes_a_parked_item_however_it_is_named(tmp_path: Path, word: str) -> None:
    remember(tmp_path, job(42, reason="No change was made."), job(42, Kind.MERGE, Status.DONE))
    done = call("retry", word)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("retry octo/demo#42/implement:")
    after = remembered(tmp_path)
    assert after["octo/demo#42/implement"].status is Status.WAITING
    assert after["octo/demo#42/merge"].status is Status.DONE


def test_retry_of_what_is_done_says_so(tmp_path: Path) -> None:
    remember(tmp_path, job(42, status=Status.DONE))
    done = call("retry", "42")
    assert (done.exit_code, done.stdout) == (0, "Nothing to wake: octo/demo#42/implement is done.\n")


def test_clear_forgets_everything_of_one_item(tmp_path: Path) -> None:
    remember(tmp_path, job(42), job(42, Kind.MERGE, Status.DONE), job(43))
    assert call("clear", "42").exit_code == 0
    assert set(remembered(tmp_path)) == {"octo/demo#43/implement"}


@pytest.mark.parametrize("command", ["retry", "clear", "logs"])
def test_an_unknown_item_lists_the_candidates(tmp_path: Path, command: str) -> None:
    remember(tmp_path, job(42), job(42, repo="octo/other"))
    for word, said in (
        ("44", "There is no item 44. Known: octo/demo#42, octo/other#42."),
        ("42", "42 is in several repositories; write one of: octo/demo#42, octo/other#42."),
        ("the-issue", "'the-issue' names no item"),
    ):
        done = call(command, word)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
    assert set(remembered(tmp_path)) == {"octo/demo#42/implement", "octo/other#42/implement"}


def test_logs_shows_the_newest_run_for_a_person_or_raw(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    stream(old, [{"type": "result", "result": "old"}])
    stream(new, [*STREAM[:-1], {**STREAM[-1], "result": "I fix it.\nNow."}])
    remember(tmp_path, job(42, log=str(old)), job(42, Kind.REVIEW, log=str(new), run_id="r-1", updated_at=9.0))
    done = call("logs", "42")
    assert done.exit_code == 0
    assert done.stdout == (
        "-- started: claude-x, session s-1\n"
        "I fix it.\nNow.\n"
        "> Bash: ls\n"
        "  < a (and 1 more lines)\n"
        "== done: 3 turns, 4 s, $0.50\n"
    )
    assert done.stderr == f"octo/demo#42 review, attempt 1, run r-1: {new}\n"
    raw = call("logs", "42", "--raw")
    assert (raw.stdout, raw.stderr) == (new.read_text(), "")


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_logs_of_a_run_that_wrote_nothing_says_so(tmp_path: Path, follow: list[str]) -> None:
    file = tmp_path / "run.log"
    file.touch()
    remember(tmp_path, job(42, log=str(file)))
    done = call("logs", "42", *follow)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [f"octo/demo#42 implement, attempt 1: {file}", "This run wrote nothing."]
    raw = call("logs", "42", "--raw")
    assert (raw.stdout, raw.stderr) == ("", "")


def test_logs_of_a_running_agent_that_is_silent_so_far_says_so(tmp_path: Path, running: State) -> None:
    (tmp_path / "run.log").touch()
    running.put(job(42, status=Status.RUNNING, run_id="r-1", log=str(tmp_path / "run.log")))
    assert call("logs", "42").stderr.splitlines()[1] == "This run has written nothing yet."


def test_logs_of_a_run_that_is_gone_or_never_was_exits_with_3(tmp_path: Path) -> None:
    remember(tmp_path, job(42, log=str(tmp_path / "gone.jsonl")), job(43))
    for number, said in (("42", "is gone"), ("43", "No run of 43 has been recorded yet")):
        done = call("logs", number)
        assert done.exit_code == 3
        assert said in done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[State]:
    """A state file in the hands of a living daemon: this process."""
    state = State.open(tmp_path / ".orchestrator-state.json")
    yield state
    state.close()


def test_logs_follows_a_run_to_its_end(tmp_path: Path, running: State) -> None:
    file = tmp_path / "run.jsonl"
    stream(file, STREAM[:1])
    running.put(job(42, status=Status.RUNNING, run_id="r-1", log=str(file)))
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs", "42", "-f"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"-- started: claude-x, session s-1\n"
        with file.open("ab") as more:
            more.write(json.dumps(STREAM[1]).encode())  # no newline yet: half an event
            more.flush()
            more.write(b"\n")
        assert child.stdout.readline() == b"I fix it.\n"
        assert child.stdout.readline() == b"Now.\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=1)
        running.put(job(42, status=Status.DONE, run_id="r-1", log=str(file)))
        assert child.stdout.read() == b""
        assert child.wait(timeout=10) == 0


def test_clear_and_retry_reach_a_running_daemon_through_its_folder(tmp_path: Path) -> None:
    remember(tmp_path, job(42))
    script = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from orchestrator.state import State\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "state = State.open(Path('.orchestrator-state.json'))\n"
        "print('open', flush=True)\n"
        "signal.sigwait([signal.SIGUSR1])\n"
        "print([tuple(words) for _, *words in state.requests()], flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "open\n"
        done = process(tmp_path, "retry", "42")
        assert f"the running daemon (pid {daemon.pid}) was told" in done.stdout
        assert daemon.stdout.readline() == "[('retry', 'octo/demo#42/implement')]\n"
        assert daemon.wait(timeout=10) == 0
