"""What Claude Code says about a run: its events, and what they and the exit mean together.

Success is a conjunction, for each part alone lies: exit 0 comes with `is_error`, API failures come with `subtype`
"success", and a run that should answer in a form may end well without one. Failures are told apart by the fields that
the program fills in, never by words in a text: the text quotes the model, and the model quotes whatever it read.
Lines that are no JSON, unknown events and fields of an unknown type are passed over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from orchestrator.agents.base import Bounds, Outcome
from orchestrator.agents.schema import mismatch
from orchestrator.process import Cause, Ended

_WORDS = {
    "authentication_failed": Outcome.AUTH,
    "billing_error": Outcome.BILLING,
    "rate_limit": Outcome.TRANSIENT,
    "server_error": Outcome.TRANSIENT,
    "model_not_found": Outcome.BAD_REQUEST,
    "invalid_request": Outcome.BAD_REQUEST,
    "max_output_tokens": Outcome.BAD_REQUEST,
}
_STATUSES = {401: Outcome.AUTH, 402: Outcome.BILLING, 403: Outcome.AUTH, 408: Outcome.TRANSIENT, 429: Outcome.TRANSIENT}

# How much dearer than one of input a token is, in the price lists of all its models.
_WEIGHTS = (1.0, 5.0, 1.25, 0.1)
_USAGE = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_MODEL_USAGE = ("inputTokens", "outputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")

# Almost all of a stream are results of tools and messages, in pieces or whole. The program writes their type first.
_PIECES = tuple(b'{"type":%s"%s"' % (blank, kind) for kind in (b"user", b"stream_event") for blank in (b"", b" "))
_MESSAGES = tuple(b'{"type":%s"assistant"' % blank for blank in (b"", b" "))
_KEPT = 64 * 1024  # bytes of messages that nobody has looked at
_RECENT = 256  # messages; the events of one come in a row, or nearly

_LOG_IN = "run `claude` and log in, or set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN from `claude setup-token`"


class Stream:
    """The events of one run as they come; holds what is known so far.

    Messages are looked at only when somebody asks, and then only the last; what all of them used is for `Tally`.
    """

    def __init__(self) -> None:
        self.result: dict[str, Any] | None = None  # the last one; a process can give several
        self.session_id = ""
        self.limited = False  # the account's usage limit was reached
        self.resets_at: float | None = None
        self._error = self._said = ""
        self._kept: list[bytes] = []  # messages that came after those that these two are of
        self._size = 0
        self._any = False

    def take(self, line: bytes) -> None:
        """Read one line; whatever cannot be understood changes nothing."""
        if line.startswith(_PIECES):
            return
        if line.startswith(_MESSAGES):
            self._keep(line)
            return
        event = _event(line)
        match event.get("type"):
            case "system" | "result" as kind:
                self.session_id = _text(event, "session_id") or self.session_id
                self.result = event if kind == "result" else self.result
            case "assistant":
                self._keep(line)
            case "rate_limit_event":
                info = _object(event, "rate_limit_info")
                self.limited = info.get("status") == "rejected"
                self.resets_at = _number(info, "resetsAt")

    def _keep(self, line: bytes) -> None:
        self._any = True
        self._kept.append(line)
        self._size += len(line)
        if self._size > _KEPT:
            self._look()

    def _look(self) -> None:
        """From the newest message back to one that says something, which mostly is the first."""
        error, said = None, ""
        while self._kept and not said:
            event = _event(self._kept.pop())
            if event.get("type") == "assistant":
                error = _text(event, "error") if error is None else error
                said = _last_text(_object(event, "message"))
        self._error = self._error if error is None else error
        self._said = said or self._said
        self._kept.clear()
        self._size = 0

    @property
    def error(self) -> str:
        """The word on the last message, where the program itself put it in the model's place."""
        self._look()
        return self._error

    @property
    def text(self) -> str:
        """The final text, or the last one said."""
        self._look()
        return _text(self.result or {}, "result") or self._said

    @property
    def answer(self) -> dict[str, Any] | None:
        """The answer in the form asked for, unchecked."""
        answer = (self.result or {}).get("structured_output")
        return answer if isinstance(answer, dict) else None

    @property
    def unknown_session(self) -> bool:
        """Whether it could not resume: no turn was taken, and the program's own error list says why."""
        errors = (self.result or {}).get("errors")
        first = errors[0] if isinstance(errors, list) and errors else ""
        return not self._any and isinstance(first, str) and first.startswith("No conversation found")

    @property
    def seconds(self) -> float:
        """How long it took, as the program says; 0 before the result."""
        return (_number(self.result or {}, "duration_ms") or 0.0) / 1000

    @property
    def turns(self) -> int | None:
        """The turns counted by the program; None before the result."""
        counted = _number(self.result or {}, "num_turns")
        return None if counted is None else int(counted)

    @property
    def billed(self) -> float:
        """What `cost_usd` is for, in tokens of the price of input; 0 before the result."""
        models = _object(self.result or {}, "modelUsage")
        return sum(_weighed(_object(models, model), _MODEL_USAGE) for model in models)

    @property
    def cost_usd(self) -> float:
        """Dollars as the result says; 0 before it. On a resumed session it may hold earlier processes too."""
        return _number(self.result or {}, "total_cost_usd") or 0.0


class Tally:
    """What all messages of a run used, for one whose result does not tell: it takes many times the work of `Stream`."""

    def __init__(self) -> None:
        self._usages: dict[str, dict[str, Any]] = {}  # of the last messages, by id
        self._earlier = (0, 0.0)  # how many messages came before those, and their tokens

    def take(self, line: bytes) -> None:
        """Read one line; whatever cannot be understood changes nothing."""
        event = {} if line.startswith(_PIECES) else _event(line)
        if event.get("type") != "assistant":
            return
        message = _object(event, "message")
        # One event per content block: a message comes in several.
        self._usages[_text(message, "id")] = _object(message, "usage")
        if len(self._usages) > _RECENT:
            count, tokens = self._earlier
            oldest = self._usages.pop(next(iter(self._usages)))
            self._earlier = count + 1, tokens + _weighed(oldest, _USAGE)

    @property
    def turns(self) -> int:
        """How many messages there were."""
        return self._earlier[0] + len(self._usages)

    @property
    def tokens(self) -> float:
        """What they used at least, in tokens of the price of input.

        An event tells the output of its message as it was at the message's begin, so that part is too small.
        """
        return self._earlier[1] + sum(_weighed(usage, _USAGE) for usage in self._usages.values())


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    detail: str = ""
    resets_at: float | None = None


def judge(
    stream: Stream, ended: Ended, bounds: Bounds, schema: dict[str, Any] | None, stopped_by: str, stderr: str
) -> Verdict:
    """What the run came to. A result that says success stands even if the process then had to be ended by us."""
    result = stream.result
    if result is not None and _says_success(result) and (ended.cause is not Cause.EXITED or ended.code == 0):
        if schema and stream.answer is None:
            return Verdict(Outcome.FORM, "It ended without an answer in the form that was asked for.")
        if schema and (wrong := mismatch(stream.answer, schema)):
            return Verdict(Outcome.FORM, f"The answer is not in the form that was asked for: {wrong}.")
        return Verdict(Outcome.DONE)
    if stopped_by:
        return Verdict(Outcome.STOPPED, f"The run was stopped: {stopped_by}.")
    if stream.limited or (result is not None and result.get("api_error") == "usage_limit_reached"):
        return Verdict(Outcome.USAGE_LIMIT, "The usage limit of the Claude account is reached.", stream.resets_at)
    if result is not None:
        return _failure(result, stream, ended, bounds)
    if ended.cause is Cause.EXITED:
        return _without_result(stream, ended, stderr)
    return _cut(stream, ended, bounds)


def _says_success(result: dict[str, Any]) -> bool:
    return (
        result.get("is_error") is False
        and result.get("subtype") == "success"
        and result.get("terminal_reason") in (None, "completed")
    )


def _cut(stream: Stream, ended: Ended, bounds: Bounds) -> Verdict:
    match ended.cause:
        case Cause.TOTAL:
            return Verdict(
                Outcome.TIMED_OUT,
                f"It was not done after {_span(bounds.total)}, the most a run may take (RUN_TIMEOUT).",
            )
        case Cause.STALLED:
            return Verdict(
                Outcome.STALLED if stream.session_id else Outcome.INCOMPLETE,
                f"It said nothing for too long (STALL_TIMEOUT is {_span(bounds.stall)}) and was ended.",
            )
        case Cause.FLOODED:
            return Verdict(Outcome.CRASHED, "It wrote more output than a run may write and was ended.")
        case _:
            return Verdict(Outcome.STOPPED, "The run was stopped.")


def _failure(result: dict[str, Any], stream: Stream, ended: Ended, bounds: Bounds) -> Verdict:
    """A result that is no success, or a success that its exit code denies."""
    subtype, reason = result.get("subtype"), result.get("terminal_reason")
    if subtype == "error_max_turns":
        return Verdict(Outcome.TURNS, f"It was not done after {bounds.max_turns} turns (MAX_TURNS).")
    if subtype == "error_max_budget_usd":
        return Verdict(Outcome.BUDGET, f"It was not done when its ${bounds.budget_usd:g} were spent (RUN_BUDGET_USD).")
    if subtype == "error_max_structured_output_retries":
        return Verdict(Outcome.CRASHED, "It gave no answer in the form that was asked for, after several tries.")
    if stream.unknown_session:
        return Verdict(Outcome.NO_SESSION, "The run that was cut off is not known to Claude Code any more.")
    if subtype != "success":
        return Verdict(Outcome.CRASHED, f"Claude Code failed: {_errors(result)}")
    if result.get("is_error") is False and reason in (None, "completed"):
        return Verdict(Outcome.CRASHED, f"Claude Code reported success but ended with code {ended.code}.")
    return _service_failure(result, stream, reason)


def _service_failure(result: dict[str, Any], stream: Stream, reason: object) -> Verdict:
    said = _short(_text(result, "result")) or "no reason given"
    if reason in ("prompt_too_long", "image_error"):
        return Verdict(Outcome.BAD_REQUEST, f"The task is too large for the model: {said}")
    if result.get("stop_reason") == "refusal":
        return Verdict(Outcome.BAD_REQUEST, f"The model refused the task: {said}")
    if reason not in (None, "completed", "api_error", "model_error"):
        return Verdict(Outcome.CRASHED, f"Claude Code ended before its time ({_short(str(reason))}): {said}")
    match _service_outcome(stream.error, _number(result, "api_error_status")):
        case Outcome.AUTH:
            return Verdict(Outcome.AUTH, f"Claude Code is not logged in or was refused ({said}); {_LOG_IN}.")
        case Outcome.BILLING:
            return Verdict(Outcome.BILLING, f"The account behind Claude Code cannot pay for the run: {said}")
        case Outcome.BAD_REQUEST:
            return Verdict(Outcome.BAD_REQUEST, f"The model's service refused the request: {said}")
        case _:
            return Verdict(Outcome.TRANSIENT, f"The model's service failed: {said}")


def _service_outcome(word: str, status: float | None) -> Outcome:
    """The program's own word for the failure wins: a 400 may mean an empty account."""
    if word in _WORDS:
        return _WORDS[word]
    if status is None or status >= 500:
        return Outcome.TRANSIENT
    return _STATUSES.get(int(status), Outcome.BAD_REQUEST)


def _without_result(stream: Stream, ended: Ended, stderr: str) -> Verdict:
    how = f"code {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
    outcome = _WORDS.get(stream.error, Outcome.INCOMPLETE)
    return Verdict(outcome, f"Claude Code ended with {how} and gave no result: {stderr or 'it said nothing'}")


def _errors(result: dict[str, Any]) -> str:
    errors = result.get("errors")
    said = "; ".join(error for error in errors if isinstance(error, str)) if isinstance(errors, list) else ""
    return _short(said) or f"{result.get('subtype')}"


def _short(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"


def _event(line: bytes) -> dict[str, Any]:
    """The object on a line of JSON, empty where there is none."""
    try:
        event = from_json(line)
    except ValueError:  # also for what the program may well write: half of a surrogate pair, a cut character
        try:
            event = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, dict) else {}


def _last_text(message: dict[str, Any]) -> str:
    blocks = message.get("content")
    for block in reversed(blocks) if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("type") == "text" and (text := _text(block, "text")):
            return text
    return ""


def _weighed(usage: dict[str, Any], names: tuple[str, ...]) -> float:
    return sum(weight * (_number(usage, name) or 0.0) for weight, name in zip(_WEIGHTS, names, strict=True))


def _object(event: dict[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    return value if isinstance(value, dict) else {}


def _text(event: dict[str, Any], key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _number(event: dict[str, Any], key: str) -> float | None:
    """A number that can be reckoned with; JSON as read by Python also brings NaN, infinities and booleans."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 1e15 else None
