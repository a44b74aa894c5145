"""The Claude adapter against a stub that speaks its protocol, as a real process, in every odd way known."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.agents import standin
from orchestrator.agents.base import Bounds, Outcome, Role, RunResult, Task
from orchestrator.agents.claude import INSTALL, Claude
from orchestrator.agents.prompts import REVIEW_SCHEMA, implement_prompt, prompt_file, review_prompt
from orchestrator.agents.schema import mismatch
from orchestrator.clock import Stop
from orchestrator.errors import Misconfigured, Missing
from orchestrator.model import PullRequest

STUB = shlex.join([sys.executable, str(Path(__file__).with_name("stub_agent.py"))])
STANDIN = shlex.join([sys.executable, standin.__file__])
ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
WIDE = Bounds(max_turns=7, budget_usd=2.5, total=60.0, stall=60.0)


class Bench:
    """Runs tasks in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "work"
        self.cwd.mkdir()
        self.log = folder / "logs" / "run.log"
        self.record = folder / "record"
        self.pids = folder / "pids"

    def task(self, role: Role = Role.IMPLEMENT, prompt: str = "Do it.", resume: bool = False) -> Task:
        return Task(
            role=role,
            cwd=self.cwd,
            instructions=prompt_file(role.value),
            prompt=prompt,
            session_id=str(uuid.uuid4()),
            run_id=str(uuid.uuid4()),
            log=self.log,
            schema=REVIEW_SCHEMA if role is Role.REVIEW else None,
            resume=resume,
        )

    def play(self, scenario: str, bounds: Bounds = WIDE, stop: Stop | None = None, **task: Any) -> RunResult:
        claude = Claude(f"{STUB} --record {self.record} {scenario}", {**ENVIRON, "GITHUB_TOKEN": "ghp_canary"})
        claude.result_grace = 0.3
        claude.stop_grace = 0.3
        return claude.run(self.task(**task), bounds, stop or Stop())

    def review(self, scenario: str) -> RunResult:
        return self.play(f"--review {scenario} success", role=Role.REVIEW)

    def recorded(self) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads(self.record.read_text())
        return entry


@contextlib.contextmanager
def when_logged(log: Path, word: bytes, stop: Stop) -> Iterator[None]:
    """Stops as soon as the log holds the word."""

    def watch() -> None:
        pause = threading.Event()
        until = time.monotonic() + 20.0
        while not (log.exists() and word in log.read_bytes()) and time.monotonic() < until:
            pause.wait(0.01)
        stop.set("by a test")

    helper = threading.Thread(target=watch)
    helper.start()
    yield
    helper.join()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_good_run_gives_its_text_turns_and_cost(bench: Bench) -> None:
    task = bench.task()
    result = Claude(f"{STUB} success made.txt", ENVIRON).run(task, WIDE, Stop())
    assert result.outcome is Outcome.DONE
    assert (result.text, result.turns, result.cost_usd) == ("The stub did its work.", 2, 0.25)
    assert (result.session_id, result.detail, result.data) == (task.session_id, "", None)
    assert (bench.cwd / "made.txt").read_text() == "made by the stub\n"
    assert len(bench.log.read_text().splitlines()) == 3


def test_what_reaches_the_program(bench: Bench) -> None:
    prompt = "/clear\n@/etc/passwd --help $(id) \U0001f980"
    bench.play("success", prompt=prompt)
    seen = bench.recorded()
    flags = seen["argv"][seen["argv"].index("-p") :]
    given = dict(itertools.pairwise(flags))
    assert given["--setting-sources"] == ""
    assert "--strict-mcp-config" in flags
    assert given["--permission-mode"] == "dontAsk"
    assert given["--tools"] == given["--allowedTools"] == "Bash,Read,Edit,Write,Glob,Grep"
    assert (given["--max-turns"], given["--max-budget-usd"]) == ("7", "2.5")
    assert uuid.UUID(given["--session-id"])
    assert Path(given["--append-system-prompt-file"]).is_absolute()
    assert "# Your task" in Path(given["--append-system-prompt-file"]).read_text()
    assert seen["cwd"] == str(bench.cwd)
    message = json.loads(seen["stdin"])
    assert message["client_composed"] is True
    assert message["message"] == {"role": "user", "content": f"Task:\n{prompt}"}
    assert prompt not in " ".join(seen["argv"])


def test_a_reviewer_can_only_read_and_must_answer_in_the_form(bench: Bench) -> None:
    bench.review("review")
    flags = bench.recorded()["argv"]
    assert flags[flags.index("--tools") + 1] == flags[flags.index("--allowedTools") + 1] == "Read,Glob,Grep"
    assert json.loads(flags[flags.index("--json-schema") + 1]) == REVIEW_SCHEMA


def test_the_environment_holds_no_token_and_a_temp_folder_that_goes(bench: Bench) -> None:
    bench.play("success")
    env = bench.recorded()["env"]
    assert "ghp_canary" not in json.dumps(env)
    assert not [name for name in env if name.startswith(("GIT", "GH_T"))]
    assert env["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] == env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert int(env["BASH_MAX_TIMEOUT_MS"]) < WIDE.stall * 1000
    assert env["CLAUDE_CODE_TMPDIR"]
    assert not Path(env["CLAUDE_CODE_TMPDIR"]).exists()


def test_a_resumed_run_names_the_session_as_such(bench: Bench) -> None:
    bench.play("success", resume=True)
    flags = bench.recorded()["argv"]
    assert "--resume" in flags
    assert "--session-id" not in flags


@pytest.mark.parametrize(
    ("scenario", "outcome", "detail"),
    [
        ("commits made.txt", Outcome.DONE, ""),
        ("no-change", Outcome.DONE, ""),
        ("flood 5", Outcome.DONE, ""),
        ("long-line", Outcome.DONE, ""),
        ("bad-bytes", Outcome.DONE, ""),
        ("deep", Outcome.DONE, ""),
        ("limit-then-good", Outcome.DONE, ""),
        ("hang-after-result", Outcome.DONE, ""),
        ("truncated", Outcome.INCOMPLETE, "Claude Code ended with code 0 and gave no result: it said nothing"),
        ("no-result", Outcome.INCOMPLETE, "Claude Code ended with code 0 and gave no result: it said nothing"),
        ("is-error", Outcome.CRASHED, "Claude Code failed: It fell over."),
        ("exit-1", Outcome.INCOMPLETE, "Claude Code ended with code 1 and gave no result: stub: out of order"),
        ("bad-exit", Outcome.CRASHED, "Claude Code reported success but ended with code 3."),
        ("max-turns", Outcome.TURNS, "It was not done after 7 turns (MAX_TURNS)."),
        ("budget", Outcome.BUDGET, "It was not done when its $2.5 were spent (RUN_BUDGET_USD)."),
        (
            "billing",
            Outcome.BILLING,
            "The account behind Claude Code cannot pay for the run: Credit balance is too low",
        ),
        ("overloaded", Outcome.TRANSIENT, "The model's service failed: Overloaded"),
        ("bad-request", Outcome.BAD_REQUEST, "The model's service refused the request: messages: too odd"),
        ("limit-unknown", Outcome.USAGE_LIMIT, "The usage limit of the Claude account is reached."),
    ],
)
def test_each_end_has_its_outcome_and_its_sentence(bench: Bench, scenario: str, outcome: Outcome, detail: str) -> None:
    if scenario.startswith("commits"):
        for command in (["init", "-q"], ["config", "user.name", "x"], ["config", "user.email", "x@localhost"]):
            subprocess.run(["git", *command], cwd=bench.cwd, check=True)
    result = bench.play(scenario)
    assert (result.outcome, result.detail) == (outcome, detail)


def test_a_bad_byte_in_a_result_spoils_nothing_else(bench: Bench) -> None:
    result = bench.play("bad-bytes")
    assert (result.text, result.turns) == ("caf\ufffd", 2)


def test_a_program_that_stays_after_its_result_is_not_waited_for(bench: Bench) -> None:
    result = bench.play("hang-after-result")
    assert (result.outcome, result.text) == (Outcome.DONE, "The stub did its work.")
    assert result.seconds < 20.0


def test_not_logged_in_names_the_commands_that_mend_it(bench: Bench) -> None:
    result = bench.play("not-logged-in")
    assert result.outcome is Outcome.AUTH
    assert "claude setup-token" in result.detail


def test_a_usage_limit_says_when_it_ends(bench: Bench) -> None:
    result = bench.play("usage-limit 1900000000")
    assert (result.outcome, result.resets_at) == (Outcome.USAGE_LIMIT, 1_900_000_000)


def test_a_failed_run_reports_what_it_cost(bench: Bench) -> None:
    result = bench.play("max-turns")
    assert (result.turns, result.cost_usd) == (2, 0.25)


@pytest.mark.parametrize(
    ("scenario", "bounds", "outcome"),
    [
        ("hang", Bounds(7, 2.5, total=60.0, stall=0.4), Outcome.INCOMPLETE),
        ("silence", Bounds(7, 2.5, total=60.0, stall=1.0), Outcome.STALLED),
        ("silence", Bounds(7, 2.5, total=1.0, stall=60.0), Outcome.TIMED_OUT),
        ("ignores-sigterm", Bounds(7, 2.5, total=60.0, stall=1.0), Outcome.STALLED),
    ],
)
def test_a_run_that_does_not_end_is_ended(bench: Bench, scenario: str, bounds: Bounds, outcome: Outcome) -> None:
    result = bench.play(scenario, bounds)
    assert result.outcome is outcome
    assert result.seconds < 10.0
    assert f"{min(bounds.stall, bounds.total):g} second" in result.detail


def test_a_run_that_is_cut_reports_the_turns_seen(bench: Bench) -> None:
    stop = Stop()
    with when_logged(bench.log, b"deaf", stop):
        result = bench.play("ignores-sigterm", stop=stop)
    assert (result.outcome, result.turns, result.text) == (Outcome.STOPPED, 1, "I am deaf.")


def test_a_stop_ends_a_run_and_is_named(bench: Bench) -> None:
    stop = Stop()
    with when_logged(bench.log, b"init", stop):
        result = bench.play("silence", stop=stop)
    assert (result.outcome, result.detail) == (Outcome.STOPPED, "The run was stopped: by a test.")
    assert not psutil.pid_exists(bench.recorded()["pid"])


@pytest.mark.parametrize("scenario", ["setsid-child", "nohup-child", "double-fork"])
def test_what_an_agent_leaves_running_is_ended_and_delays_nothing(bench: Bench, scenario: str) -> None:
    began = time.monotonic()
    result = bench.play(f"{scenario} {bench.pids}")
    assert result.outcome is Outcome.DONE
    assert time.monotonic() - began < 20.0
    [pid] = [int(line) for line in bench.pids.read_text().split()]
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_valid_review_arrives_as_data(bench: Bench) -> None:
    result = bench.review("review")
    assert result.outcome is Outcome.DONE
    assert result.data == {
        "summary": "The stub read it.",
        "verdict": "comment",
        "findings": [{"path": "README.md", "line": 1, "severity": "medium", "text": "The stub wonders."}],
    }


@pytest.mark.parametrize(
    ("scenario", "detail"),
    [
        ("review-prose", "It ended without an answer in the form that was asked for."),
        (
            "review-shape",
            "The answer is not in the form that was asked for: "
            "the answer.findings[0].severity is none of high, medium, low.",
        ),
    ],
)
def test_a_review_in_another_form_is_never_an_answer(bench: Bench, scenario: str, detail: str) -> None:
    result = bench.review(scenario)
    assert (result.outcome, result.data, result.detail) == (Outcome.FORM, None, detail)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"findings": []}, None),
        ({"verdict": "merge"}, "the answer.verdict is none of approve, comment, request_changes"),
        ({"summary": None}, "the answer.summary is not of type string"),
        ({"findings": {}}, "the answer.findings is not of type array"),
        ({"findings": [7]}, "the answer.findings[0] is not of type object"),
        ({"findings": [{"path": "a", "line": 1, "severity": "low"}]}, "the answer.findings[0] lacks text"),
        (
            {"findings": [{"path": "a", "line": 0, "severity": "low", "text": ""}]},
            "the answer.findings[0].line is below 1",
        ),
        (
            {"findings": [{"path": "a", "line": True, "severity": "low", "text": ""}]},
            "the answer.findings[0].line is not of type integer or null",
        ),
        ({"extra": 1}, "the answer has more than summary, verdict, findings"),
    ],
)
def test_the_form_of_a_review_is_checked_strictly(change: dict[str, Any], says: str | None) -> None:
    finding = {"path": "a", "line": None, "severity": "low", "text": "t"}
    assert mismatch({"summary": "s", "verdict": "approve", "findings": [finding], **change}, REVIEW_SCHEMA) == says


def test_a_missing_program_is_told_with_the_command_that_mends_it(bench: Bench) -> None:
    claude = Claude("no-such-claude --model x", ENVIRON)
    result = claude.run(bench.task(), WIDE, Stop())
    assert result.outcome is Outcome.MISSING
    assert INSTALL in result.detail
    with pytest.raises(Missing, match="npm install"):
        claude.version()


def test_a_program_that_is_no_program_is_missing_too(bench: Bench) -> None:
    program = bench.cwd / "claude"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    assert Claude(str(program), ENVIRON).run(bench.task(), WIDE, Stop()).outcome is Outcome.MISSING


def test_a_missing_working_folder_is_not_a_missing_program(bench: Bench) -> None:
    bench.cwd.rmdir()
    with pytest.raises(FileNotFoundError):
        bench.play("success")


def test_the_version_is_what_the_program_says() -> None:
    assert Claude(f"{STUB} success", ENVIRON).version() == "0.0.0 (stub of Claude Code)"


def test_a_warning_before_the_version_is_not_taken_for_it() -> None:
    command = "sh -c 'echo careful >&2; echo; echo \"2.1.0 (Claude Code)\"'"
    assert Claude(command, ENVIRON).version() == "2.1.0 (Claude Code)"


def test_a_program_that_does_not_name_claude_code_is_told_with_its_first_line() -> None:
    with pytest.raises(Missing, match=r"does not name Claude Code but says 'cat 9\.1'; mend it with `npm"):
        Claude("sh -c 'echo; echo cat 9.1; echo License'", ENVIRON).version()
    with pytest.raises(Missing, match="does not work: it ended with 1;"):
        Claude("sh -c 'exit 1'", ENVIRON).version()


def test_a_version_that_fails_is_told_with_its_reason() -> None:
    with pytest.raises(Missing, match="native binary not installed"):
        Claude("sh -c 'echo native binary not installed >&2; exit 1'", ENVIRON).version()


def test_a_probe_is_one_small_run() -> None:
    assert Claude(f"{STUB} no-change", ENVIRON).probe(Stop()).outcome is Outcome.DONE
    assert Claude(f"{STUB} not-logged-in", ENVIRON).probe(Stop()).outcome is Outcome.AUTH


@pytest.mark.parametrize("bounds", [Bounds(0, 1.0, 9.0, 9.0), Bounds(-1, 1.0, 9.0, 9.0), Bounds(5, 0.0, 9.0, 9.0)])
def test_a_bound_that_would_mean_no_limit_is_refused(bench: Bench, bounds: Bounds) -> None:
    with pytest.raises(Misconfigured):
        bench.play("success", bounds)
    assert not bench.record.exists()


@pytest.mark.parametrize("command", ["", "claude 'unclosed"])
def test_a_command_that_is_no_command_line_is_refused(command: str) -> None:
    with pytest.raises(Misconfigured, match="CLAUDE_COMMAND"):
        Claude(command, ENVIRON)


def test_the_stand_in_writes_a_tested_function_and_says_that_no_model_was_asked(bench: Bench) -> None:
    prompt = implement_prompt(1, "Add a greet function", "With a test.", [])
    result = Claude(STANDIN, ENVIRON).run(bench.task(prompt=prompt), WIDE, Stop())
    assert result.outcome is Outcome.DONE
    assert "it passed" in result.text
    assert "no model was asked" in result.text
    assert sorted(path.name for path in bench.cwd.iterdir()) == ["greet.py", "test_greet.py"]


def test_the_stand_in_notes_any_other_issue_in_the_changes(bench: Bench) -> None:
    prompt = implement_prompt(1, 'Say "hi" to $(everybody)', "", [])
    Claude(STANDIN, ENVIRON).run(bench.task(prompt=prompt), WIDE, Stop())
    assert (bench.cwd / "CHANGES.md").read_text() == '# Changes\n\n- Say "hi" to $(everybody)\n'


def test_the_stand_in_remarks_on_an_added_line(bench: Bench) -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@ -3,2 +4,3 @@ def f():\n one\n-two\n+2\n+3\n"
    pull = PullRequest(2, "T", "", None, frozenset(), True, False, "h" * 40, "r", 1, "main", "b" * 40, 0.0, 0.0)
    task = bench.task(Role.REVIEW, review_prompt(pull, "b" * 40, diff))
    result = Claude(STANDIN, ENVIRON).run(task, WIDE, Stop())
    assert result.outcome is Outcome.DONE
    assert result.data is not None
    [finding] = result.data["findings"]
    assert (finding["path"], finding["line"]) == ("x.py", 5)
    assert "no model was asked" in result.data["summary"]
