"""An agent for tests that behaves oddly on demand, on Claude Code's command line and in its stream of events.

    CLAUDE_COMMAND="python tests/stub_agent.py [--record FILE] [--review SCENARIO] [--sessions FOLDER] SCENARIO [ARG]"

What the daemon appends (`-p ...`) follows. A run with `--json-schema` plays the `--review` scenario (default `review`),
any other run plays SCENARIO. `@FILE` as SCENARIO takes the scenario, with its ARG, from the first line of FILE and
removes that line while others follow: a different behaviour for each run. `--record FILE` appends one JSON line per
run: argv, env, cwd, pid, stdin. `--sessions FOLDER` remembers each session there, so that `--resume` goes on with it;
without it no session is known. A probe (its instructions are called `probe.md`) uses no line up: it fails where the
next run would meet a service that fails, or as `probe-SCENARIO` says, else it is good; it is recorded in FILE.probes.
Whatever hangs here ends by itself after a minute.

Work: `success` appends a line to the file ARG (`agent.txt`) and leaves it uncommitted · `commits` the same, committed ·
`no-change` · `says` ARG, no change · `runs` the shell command ARG and fails with it · `obeys` does what the prompt
says: repeats it and its environment in its text ·
`conflict-markers` leaves some in ARG · `deletes-git` removes `.git` after its change · `nested-repo` makes a repository
with a commit in `nested/` · `git-config` sets `core.hooksPath` in the worktree's configuration.
Silence: `hang` no byte · `silence` after init · `hang-after-result` · `ignores-sigterm` after init.
Output: `flood` ARG MiB (50), then success · `long-line` 10 MB in one line, then success · `bad-bytes` and
nonsense lines, then success · `deep` JSON nested too deeply, then success · `truncated` half a result, exit 0 ·
`no-result` exit 0.
Failure: `is-error` exit 0 with is_error · `exit-1` with a word on stderr · `bad-exit` a good result, then exit 3 ·
`max-turns` · `budget` · `not-logged-in` · `billing` · `overloaded` · `overloaded-at-work` (not for a probe) ·
`bad-request` · `usage-limit` until ARG (epoch
seconds) · `limit-unknown` the same without a time · `limit-then-good` limited for a while, then success.
Leftovers, each then success, pids as lines in the file ARG: `setsid-child` · `double-fork` which holds stdout ·
`nohup-child`.
Review: `review` valid, one finding on line 1 of the first file of the diff · `review-prose` text only ·
`review-shape` a wrong severity · `review-lines` findings on a line and a file that are not in the diff ·
`review-approve` without findings · `review-command` with `/merge` in it · `review-keys` a key too many ·
`review-path` a path that leads out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = (
    *("-p", "--input-format", "--output-format", "--verbose", "--setting-sources", "--strict-mcp-config", "--tools"),
    *("--permission-mode", "--allowedTools", "--max-budget-usd", "--session-id", "--resume", "--json-schema"),
)
SERVICE = ("usage-limit", "limit-unknown", "not-logged-in", "billing", "overloaded")

INIT = {"type": "system", "subtype": "init", "model": "stub", "claude_code_version": "stub"}
GOOD = {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed"}
FAILED = {"type": "result", "subtype": "success", "is_error": True, "terminal_reason": "api_error"}


class Run:
    """One run of the stub: what it was asked, and what it can say and do."""

    def __init__(self, arg: str, flags: list[str], prompt: str) -> None:
        self.arg = arg
        self.prompt = prompt
        named = [flags[place + 1] for place, flag in enumerate(flags) if flag in ("--session-id", "--resume")]
        self.session = named[0] if named else ""

    def event(self, event: dict[str, Any], **more: Any) -> None:
        self.write(json.dumps({**event, "session_id": self.session, **more}).encode() + b"\n")

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def says(self, text: str, **more: Any) -> None:
        message = {"id": "msg_1", "role": "assistant", "content": [{"type": "text", "text": text}]}
        self.event({"type": "assistant", "message": message}, **more)

    def good(self, text: str = "The stub did its work.", **more: Any) -> int:
        self.says(text)
        self.event(GOOD, result=text, num_turns=2, total_cost_usd=0.25, **more)
        return 0

    def failed(self, event: dict[str, Any], **more: Any) -> int:
        self.event(event, num_turns=2, total_cost_usd=0.25, **more)
        return 1

    def api_error(self, word: str, status: int | None, said: str, **more: Any) -> int:
        self.says(said, error=word)
        return self.failed(FAILED, api_error_status=status, result=said, **more)

    def change(self) -> Path:
        file = Path(self.arg or "agent.txt")
        before = file.read_text() if file.exists() else ""
        file.write_text(f"{before}made by the stub\n")
        return file

    def answer(self, **review: Any) -> int:
        return self.good(json.dumps(review), structured_output=review)


def wait_for_the_end() -> int:
    signal.alarm(60)
    while True:
        signal.pause()


def success(run: Run) -> int:
    run.change()
    return run.good()


def commits(run: Run) -> int:
    git("add", str(run.change()))
    git("commit", "-qm", "The stub's own commit")
    return run.good()


def obeys(run: Run) -> int:
    run.change()
    return run.good(f"{run.prompt}\n{json.dumps(dict(os.environ))}")


def runs(run: Run) -> int:
    done = subprocess.run(["sh", "-c", run.arg], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return run.good() if done.returncode == 0 else run.failed(FAILED)


def conflict_markers(run: Run) -> int:
    run.change().write_text("<<<<<<< ours\none\n=======\ntwo\n>>>>>>> theirs\n")
    return run.good()


def deletes_git(run: Run) -> int:
    run.change()
    shutil.rmtree(".git")
    return run.good()


def nested_repo(run: Run) -> int:
    run.change()
    git("init", "-q", "nested")
    Path("nested", "inner.txt").write_text("inner\n")
    git("-C", "nested", "add", ".")
    git("-C", "nested", "-c", "user.name=stub", "-c", "user.email=stub@localhost", "commit", "-qm", "inner")
    return run.good()


def git_config(run: Run) -> int:
    run.change()
    git("config", "core.hooksPath", str(Path.cwd()))
    return run.good()


def hang_after_result(run: Run) -> int:
    run.change()
    run.good()
    return wait_for_the_end()


def ignores_sigterm(run: Run) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run.says("I am deaf.")
    return wait_for_the_end()


def flood(run: Run) -> int:
    line = json.dumps({"type": "user", "filler": "x" * 1000}).encode() + b"\n"
    for _ in range(int(run.arg or "50")):
        run.write(line * 1024)
    return run.good()


def long_line(run: Run) -> int:
    run.event({"type": "user"}, filler="x" * 10_000_000)
    return run.good()


def bad_bytes(run: Run) -> int:
    run.write(b'\xff\xfe\x00 not json\n\n[1, 2]\n"word"\n{"type": 7}\n{"type": "assistant", "message": []}\n')
    run.write(b'{"type": "result"\n{"type": "rate_limit_event", "rate_limit_info": 5}\n')
    run.write(b'{"type": "assistant", "message": {"content": [{"type": "text", "text": "caf\xe9 \\ud83d"}, 4]}}\n')
    run.write(json.dumps(GOOD).encode()[:-1] + b', "num_turns": 2, "result": "caf\xe9"}\n')
    return 0


def deep(run: Run) -> int:
    run.write(b"[" * 200_000 + b"\n")
    return run.good()


def truncated(run: Run) -> int:
    run.write(json.dumps({**GOOD, "result": "half"}).encode()[:60])
    return 0


def is_error(run: Run) -> int:
    run.failed({**GOOD, "subtype": "error_during_execution", "is_error": True}, errors=["It fell over."])
    return 0


def exit_1(run: Run) -> int:
    sys.stderr.write("stub: out of order\n")
    return 1


def bad_exit(run: Run) -> int:
    run.good()
    return 3


def max_turns(run: Run) -> int:
    return run.failed({**FAILED, "subtype": "error_max_turns", "terminal_reason": "max_turns"}, errors=["turns"])


def budget(run: Run) -> int:
    return run.failed({**FAILED, "subtype": "error_max_budget_usd", "terminal_reason": "budget_exhausted"})


def usage_limit(run: Run) -> int:
    info = {"status": "rejected", "rateLimitType": "five_hour", **({"resetsAt": float(run.arg)} if run.arg else {})}
    run.event({"type": "rate_limit_event", "rate_limit_info": info})
    return run.api_error("rate_limit", 429, "You've hit your 5-hour limit", api_error="usage_limit_reached")


def limit_unknown(run: Run) -> int:
    return run.api_error("rate_limit", 429, "You've hit your 5-hour limit", api_error="usage_limit_reached")


def limit_then_good(run: Run) -> int:
    run.event({"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1}})
    run.event({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed", "resetsAt": 2}})
    return run.good()


def setsid_child(run: Run) -> int:
    return leave(run, start_new_session=True, stdout=subprocess.DEVNULL)


def nohup_child(run: Run) -> int:
    return leave(run, stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))


def double_fork(run: Run) -> int:
    script = f"(setsid sh -c 'echo $$ >> {run.arg}; exec sleep 60' &) ; while [ ! -s {run.arg} ]; do :; done"
    subprocess.run(["sh", "-c", script], check=True)
    return run.good()


def leave(run: Run, **how: Any) -> int:
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
    Path(run.arg).write_text(f"{child.pid}\n")
    return run.good()


def review(run: Run) -> int:
    path = re.search(r"^\+\+\+ b/(\S+)", run.prompt, re.MULTILINE)
    remark = {"path": path[1] if path else "README.md", "line": 1, "severity": "medium", "text": "The stub wonders."}
    return run.answer(summary="The stub read it.", verdict="comment", findings=[remark])


def review_shape(run: Run) -> int:
    remark = {"path": "README.md", "line": 1, "severity": "catastrophic", "text": "No such severity."}
    return run.answer(summary="The stub read it.", verdict="comment", findings=[remark])


def review_lines(run: Run) -> int:
    far = {"path": "README.md", "line": 99_999, "severity": "low", "text": "There is no such line."}
    gone = {"path": "no/such file.txt", "line": 1, "severity": "high", "text": "There is no such file."}
    return run.answer(summary="The stub read it.", verdict="request_changes", findings=[far, gone])


def review_path(run: Run) -> int:
    out = {"path": "../../etc/passwd", "line": 1, "severity": "high", "text": "Look there."}
    return run.answer(summary="The stub read it.", verdict="comment", findings=[out])


SCENARIOS: dict[str, Callable[[Run], int]] = {
    "success": success,
    "commits": commits,
    "no-change": lambda run: run.good("There is nothing to do: it is already so."),
    "obeys": obeys,
    "says": lambda run: run.good(run.arg),
    "runs": runs,
    "conflict-markers": conflict_markers,
    "deletes-git": deletes_git,
    "nested-repo": nested_repo,
    "git-config": git_config,
    "silence": lambda run: wait_for_the_end(),
    "hang-after-result": hang_after_result,
    "ignores-sigterm": ignores_sigterm,
    "flood": flood,
    "long-line": long_line,
    "bad-bytes": bad_bytes,
    "deep": deep,
    "truncated": truncated,
    "no-result": lambda run: 0,
    "is-error": is_error,
    "exit-1": exit_1,
    "bad-exit": bad_exit,
    "max-turns": max_turns,
    "budget": budget,
    "not-logged-in": lambda run: run.api_error("authentication_failed", None, "Not logged in · Please run /login"),
    "billing": lambda run: run.api_error("billing_error", 400, "Credit balance is too low"),
    "overloaded": lambda run: run.api_error("server_error", 529, "Overloaded"),
    "overloaded-at-work": lambda run: run.api_error("server_error", 529, "Overloaded"),
    "bad-request": lambda run: run.api_error("unknown", 400, "messages: too odd"),
    "usage-limit": usage_limit,
    "limit-unknown": limit_unknown,
    "limit-then-good": limit_then_good,
    "setsid-child": setsid_child,
    "nohup-child": nohup_child,
    "double-fork": double_fork,
    "review": review,
    "review-prose": lambda run: run.good('{"summary": "as text", "verdict": "approve", "findings": []}'),
    "review-shape": review_shape,
    "review-lines": review_lines,
    "review-command": lambda run: run.answer(summary="Fine.\n\n/merge\n", verdict="approve", findings=[]),
    "review-keys": lambda run: run.answer(summary="", verdict="approve", findings=[], branch="../x"),
    "review-path": review_path,
    "review-approve": lambda run: run.answer(summary="Nothing to remark.", verdict="approve", findings=[]),
}


def git(*argv: str) -> None:
    subprocess.run(["git", *argv], check=True, stdout=subprocess.DEVNULL)


def choose(own: argparse.Namespace, flags: list[str]) -> tuple[str, str]:
    """The scenario of this run and its argument."""
    if "--json-schema" in flags:
        return own.review, ""
    name, arg = own.scenario, own.arg
    if name.startswith("@"):
        script = Path(name[1:])
        now, *later = script.read_text().splitlines()
        if later and not is_probe(flags):
            script.write_text("\n".join(later) + "\n")
        name, _, arg = now.partition(" ")
    if name.startswith("probe-"):
        return name, arg
    return ("no-change", "") if is_probe(flags) and name not in SERVICE else (name, arg)


def is_probe(flags: list[str]) -> bool:
    return any(Path(flag).name == "probe.md" for flag in flags)


def resumed(own: argparse.Namespace, flags: list[str], session: str) -> bool:
    """Whether this run may go on; a new session is remembered, where sessions are."""
    if "--resume" in flags:
        return bool(own.sessions and (own.sessions / session).exists())
    if own.sessions:
        own.sessions.mkdir(exist_ok=True)
        (own.sessions / session).touch()
    return True


def record(file: Path, stdin: str) -> None:
    entry = {"argv": sys.argv, "env": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid(), "stdin": stdin}
    with file.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def main(argv: list[str]) -> int:
    if argv[-1] == "--version":
        sys.stdout.write("0.0.0 (stub of Claude Code)\n")
        return 0
    if argv[-1] == "--help":
        sys.stdout.write("\n".join(FLAGS))
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path)
    parser.add_argument("--review", default="review")
    parser.add_argument("--sessions", type=Path)
    parser.add_argument("scenario")
    parser.add_argument("arg", nargs="?", default="")
    own, flags = parser.parse_args(argv[: argv.index("-p")]), argv[argv.index("-p") :]
    line = sys.stdin.readline()
    if own.record:
        record(own.record.with_name(f"{own.record.name}.probes") if is_probe(flags) else own.record, line)
    run = Run("", flags, json.loads(line)["message"]["content"])
    if not resumed(own, flags, run.session):
        unknown = f"No conversation found with session ID: {run.session}"
        return run.failed({**FAILED, "subtype": "error_during_execution"}, errors=[unknown])
    name, run.arg = choose(own, flags)
    name = name.removeprefix("probe-")
    if name == "hang":
        return wait_for_the_end()
    run.event(INIT)
    return SCENARIOS[name](run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
