"""Claude Code, run headless: how it is called. What its answer means is `claude_stream`.

The command line is that of Claude Code 2.1. The checked-out repository's own agent configuration is never loaded
(`--setting-sources ""`): its hooks would run before the first model call, and its settings could send the credential
to another host. The prompt goes in by stdin, in a message marked `client_composed` and behind a line of our own, so
that no version of the program takes it for an option, a slash command or an `@file` reference.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.agents.base import Bounds, Outcome, Role, RunResult, Task
from orchestrator.agents.claude_stream import Stream, Tally, judge
from orchestrator.clock import Stop
from orchestrator.egress import Egress, Gate
from orchestrator.errors import Misconfigured, Missing
from orchestrator.git.disk import discard
from orchestrator.process import Cause, Ended, Limits, clean_env, run
from orchestrator.sandbox import OPEN, Sandbox, Walls, prove

INSTALL = "npm install -g @anthropic-ai/claude-code"
MODEL = "https://api.anthropic.com"
PRODUCT = "Claude Code"  # `2.1.0 (Claude Code)` is how it answers

# Without Agent, Monitor, Cron*, SendMessage and the like, which work on after the result or talk to other runs.
_TOOLS = {Role.IMPLEMENT: "Bash,Read,Edit,Write,Glob,Grep", Role.REVIEW: "Read,Glob,Grep"}

# Those of the command line below that `--help` lists (it keeps --max-turns and --append-system-prompt-file to itself).
_LISTED = (
    *("--input-format", "--output-format", "--verbose", "--setting-sources", "--strict-mcp-config", "--tools"),
    *("--permission-mode", "--allowedTools", "--max-budget-usd", "--session-id", "--resume", "--json-schema"),
)

_CREDENTIALS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL"),
    *("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"),
)


_LOGINS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_STORED_LOGIN = ".credentials.json"


class Claude:
    """The `claude` program. `command` may hold arguments; of `environ` the child gets an allow-listed part.

    It runs in `sandbox`, sees its folder, a scratch folder and what its task names, may write to the first only in
    order to implement, and reaches its model's host and `hosts` (each `host` or `host:port`), nothing else.
    """

    name = "claude"
    first_event = 120.0  # seconds for the program to say that it is ready
    result_grace = 10.0  # seconds from its result to its exit; a background task may hold it open for minutes
    stop_grace = 3.0  # seconds from SIGTERM to SIGKILL

    def __init__(
        self, command: str, environ: Mapping[str, str], sandbox: Sandbox = OPEN, hosts: Sequence[str] = ()
    ) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise Misconfigured(f"CLAUDE_COMMAND is not a command line: {error}") from None
        if not self._command:
            raise Misconfigured("CLAUDE_COMMAND is empty; give the command that starts Claude Code, such as `claude`")
        self._environ = environ
        self._sandbox = sandbox
        self._hosts = (environ.get("ANTHROPIC_BASE_URL") or MODEL, *(f"https://{host}" for host in hosts))
        self._checked = ((0, 0, 0), "")  # which file was checked, and its version line

    def run(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        """Do the task; raises Misconfigured for bounds that Claude Code would take for "no limit" or refuse."""
        if bounds.max_turns <= 0 or bounds.budget_usd <= 0:  # `--max-turns 0` means: no limit
            raise Misconfigured("MAX_TURNS and RUN_BUDGET_USD must be above 0")
        errors = task.log.with_name(f"{task.log.name}.stderr")
        sent = task.log.with_name(f"{task.log.name}.prompt")
        sent.parent.mkdir(parents=True, exist_ok=True)
        sent.touch(mode=0o600)
        sent.write_text(task.prompt, "utf-8")  # people see exactly what the agent was told
        stream = Stream()
        with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as scratch:
            try:
                ended = self._bounded(task, bounds, stop, stream, errors, scratch)
            except OSError as error:
                if error.filename != self._command[0]:
                    raise
                return _result(task, stream, Outcome.MISSING, self._missing())
        verdict = judge(stream, ended, bounds, task.schema, stop.reason, _tail(errors))
        return _result(task, stream, verdict.outcome, verdict.detail, ended.seconds, verdict.resets_at)

    def read_back(self, task: Task, bounds: Bounds) -> RunResult | None:
        """What a run whose end nobody saw came to, by its log: INCOMPLETE without a result, None without a log."""
        stream = Stream()
        try:
            with task.log.open("rb") as lines:
                for line in lines:
                    stream.take(line)
        except FileNotFoundError:
            return None
        if stream.result is None:
            return _result(task, stream, Outcome.INCOMPLETE, "It was cut off.")
        verdict = judge(stream, Ended(0, Cause.EXITED, stream.seconds, 0), bounds, task.schema, "", "")
        return _result(task, stream, verdict.outcome, verdict.detail, stream.seconds, verdict.resets_at)

    def version(self) -> str:
        """The line of `claude --version` that names Claude Code, asked for at most 10 seconds; raises Missing."""
        lines = self._answer("--version")
        # A warning may precede it, and a licence may follow.
        said = next((line for line in lines if PRODUCT in line), lines[0] if lines else "")[:400]
        if PRODUCT not in said:
            raise Missing(
                f"`{self._command[0]} --version` does not name {PRODUCT} but says {said!r}; mend it with `{INSTALL}`"
            )
        return said

    def check(self) -> str:
        """As `version`, and that `--help` lists what this adapter calls it with; free while the file is the same.

        Also that the sandbox still holds, which an update of the system may end (F76).
        """
        prove(self._sandbox)
        program = self._program()
        if self._checked[0] != program or not any(program):
            version = self.version()
            listed = " ".join(self._answer("--help")).replace(",", " ").split()
            if lacking := [flag for flag in _LISTED if flag not in listed]:
                raise Missing(f"{version} does not take {', '.join(lacking)} any more; mend it with `{INSTALL}`")
            self._checked = (program, version)
        return self._checked[1]

    def _program(self) -> tuple[int, int, int]:
        """Which file the command is now: it is replaced by an upgrade, also while the daemon runs."""
        found = shutil.which(self._command[0], path=self._environ.get("PATH"))
        if found is None:
            raise Missing(self._missing())
        about = Path(found).stat()
        return about.st_dev, about.st_ino, about.st_mtime_ns

    def _answer(self, flag: str) -> list[str]:
        """The lines that the program answers to a flag, asked for at most 10 seconds; raises Missing."""
        with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as scratch:
            output = Path(scratch, "answer")
            try:
                ended = run(
                    [*self._command, flag],
                    cwd=Path(scratch),
                    env=clean_env(self._environ, *_CREDENTIALS, DISABLE_AUTOUPDATER="1"),
                    run_id=str(uuid.uuid4()),
                    output=output,
                    errors=None,
                    limits=Limits(total=10.0, grace=self.stop_grace),
                    stop=Stop(),
                    sandbox=self._sandbox,
                    walls=Walls(write=(Path(scratch),)),
                )
            except OSError as error:
                if error.filename != self._command[0]:
                    raise
                raise Missing(self._missing()) from None
            lines = _lines(output)
        if ended.cause is not Cause.EXITED or ended.code != 0:
            late = ended.cause is Cause.TOTAL
            said = next(iter(lines), "it did not answer in 10 seconds" if late else f"it ended with {ended.code}")
            raise Missing(f"`{self._command[0]} {flag}` does not work: {said[:400]}; mend it with `{INSTALL}`")
        return lines

    def probe(self, stop: Stop) -> RunResult:
        """One turn in an empty folder, at most 90 seconds and a quarter of a dollar."""
        with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as scratch:
            instructions, empty = Path(scratch, "probe.md"), Path(scratch, "empty")
            instructions.write_text("This is a test of the connection. Answer with one word and use no tool.\n")
            empty.mkdir()
            task = Task(
                keep=Path(scratch, "session"),
                role=Role.REVIEW,
                cwd=empty,
                instructions=instructions,
                prompt="Say: ready",
                session_id=str(uuid.uuid4()),
                run_id=str(uuid.uuid4()),
                log=Path(scratch, "probe.log"),
            )
            return self.run(task, Bounds(max_turns=2, budget_usd=0.25, total=90.0, stall=90.0), stop)

    def _bounded(self, task: Task, bounds: Bounds, stop: Stop, stream: Stream, errors: Path, scratch: str) -> Ended:
        """The run under its limits; `stream` fills while it goes. The first result starts a countdown of its own."""
        enough = Stop()
        forget = stop.listen(lambda: enough.set(stop.reason))
        countdown = threading.Timer(self.result_grace, enough.set, ("the result is there",))
        countdown.daemon = True

        def on_line(line: bytes) -> None:
            had_result = stream.result is not None
            stream.take(line)
            if stream.result is not None and not had_result:
                countdown.start()

        instructions = task.instructions.resolve()
        own = (task.cwd,) if task.role is Role.IMPLEMENT else ()
        seen = (instructions, *task.see, *(() if own else (task.cwd,)))
        with self._way_out() as gate, self._session(task) as session:
            try:
                return run(
                    self._argv(task, bounds),
                    cwd=task.cwd,
                    env=self._env(task, bounds, scratch, session),
                    run_id=task.run_id,
                    output=task.log,
                    errors=errors,
                    limits=Limits(
                        total=bounds.total,
                        stall=bounds.stall,
                        first=min(bounds.stall, self.first_event),
                        grace=self.stop_grace,
                    ),
                    stop=enough,
                    stdin=_message(task.prompt),
                    on_line=on_line,
                    sandbox=self._sandbox,
                    walls=Walls(write=(*own, *task.write, Path(scratch), *session), read=seen, gate=gate),
                )
            finally:
                forget()
                countdown.cancel()

    @contextmanager
    def _way_out(self) -> Iterator[Gate | None]:
        """The gate to the allowed hosts while a run lasts; none is needed where nothing holds the program."""
        if self._sandbox.name == "off":
            yield None
            return
        own = urlsplit(self._hosts[0]).hostname  # a gateway of the company's may have a private address
        with Egress(self._hosts, self._environ, inside=(own,) if own else ()) as gate:
            yield gate

    @contextmanager
    def _session(self, task: Task) -> Iterator[tuple[Path, ...]]:
        """Where the program keeps its sessions and finds its login: without a sandbox, where it always does."""
        if self._sandbox.name == "off" or task.keep is None:
            yield ()
            return
        if not task.resume:
            discard(task.keep)
        task.keep.mkdir(parents=True, exist_ok=True, mode=0o700)
        login = task.keep / _STORED_LOGIN
        try:
            if not any(self._environ.get(name) for name in _LOGINS):
                home = self._environ.get("CLAUDE_CONFIG_DIR") or Path(self._environ.get("HOME", "/"), ".claude")
                stored = Path(home, _STORED_LOGIN)
                if stored.is_file():
                    discard(login)
                    shutil.copyfile(stored, login)
            yield (task.keep,)
        finally:
            discard(login)

    def _argv(self, task: Task, bounds: Bounds) -> list[str]:
        tools = _TOOLS[task.role]
        return [
            *self._command,
            *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
            *("--setting-sources", "", "--strict-mcp-config"),
            *("--permission-mode", "dontAsk", "--tools", tools, "--allowedTools", tools),
            *("--max-turns", str(bounds.max_turns), "--max-budget-usd", f"{bounds.budget_usd:g}"),
            *("--resume" if task.resume else "--session-id", task.session_id),
            *("--append-system-prompt-file", str(task.instructions.resolve())),
            *(("--json-schema", json.dumps(task.schema)) if task.schema else ()),
        ]

    def _env(self, task: Task, bounds: Bounds, scratch: str, session: tuple[Path, ...]) -> dict[str, str]:
        # A silent tool or model reply must come to its own end, which is an event, before the silence limit strikes.
        longest = int(bounds.stall * 800)
        own = {
            **({"CLAUDE_CONFIG_DIR": str(session[0])} if session else {}),
            "TMPDIR": scratch,
            "CLAUDE_CODE_TMPDIR": scratch,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            # Otherwise a foreground command that takes long becomes a background task, and each one that ends starts a
            # new cycle of turns with a fresh limit.
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",  # what one issue says must not reach the run for another
            "CLAUDE_CODE_MAX_RETRIES": "4",
            "API_TIMEOUT_MS": str(min(longest, 600_000)),
            "BASH_DEFAULT_TIMEOUT_MS": str(min(longest, 300_000)),
            "BASH_MAX_TIMEOUT_MS": str(min(longest, 1_200_000)),
        }
        return clean_env(self._environ, *_CREDENTIALS, **{**task.env, **own})

    def _missing(self) -> str:
        return f"`{self._command[0]}` cannot be started; install Claude Code with `{INSTALL}` or set CLAUDE_COMMAND"


def _message(prompt: str) -> bytes:
    content = f"Task:\n{prompt}"
    event = {"type": "user", "client_composed": True, "message": {"role": "user", "content": content}}
    return json.dumps(event).encode() + b"\n"


def _lines(path: Path) -> list[str]:
    """The lines of a short text that say something, each with single blanks."""
    with path.open("rb") as file:
        lines = [" ".join(line.split()) for line in file.read(100_000).decode("utf-8", "replace").splitlines()]
    return [line for line in lines if line]


def _tail(path: Path, limit: int = 400) -> str:
    """The end of a file as one line of text; empty when there is no such file."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return " ".join(file.read().decode("utf-8", "replace").split())


def _tally(log: Path) -> Tally:
    """What the messages used, by the log."""
    tally = Tally()
    if log.exists():
        with log.open("rb") as lines:
            for line in lines:
                tally.take(line)
    return tally


def _result(
    task: Task, stream: Stream, outcome: Outcome, detail: str, seconds: float = 0.0, resets_at: float | None = None
) -> RunResult:
    tally = Tally() if stream.billed and stream.turns is not None else _tally(task.log)
    return RunResult(
        outcome=outcome,
        text=stream.text,
        data=stream.answer if outcome is Outcome.DONE else None,
        session_id=stream.session_id or task.session_id,
        turns=tally.turns if stream.turns is None else stream.turns,
        cost_usd=stream.cost_usd,
        seconds=seconds,
        detail=detail,
        resets_at=resets_at,
        tokens=tally.tokens,
        billed=stream.billed,
    )
