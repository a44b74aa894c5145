"""What people and GitHub do, as data, so that a history can be read and repeated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.twin.faults import Fault, Kind, apply_then, apply_then_reset, cut, reset, status
from orchestrator.twin.handles import CommentHandle, PullHandle, ReviewHandle
from orchestrator.twin.merging import NotMerged
from tests.histories.oracle import Asked
from tests.histories.stage import BASES, Stage


@dataclass(frozen=True)
class Act:
    """`who` does `verb` to pull request `pull`; `word` says how."""

    verb: str
    pull: int = 0
    who: str = "alice"
    word: str = ""

    def __call__(self, stage: Stage) -> None:
        pull = stage.pulls[self.pull % len(stage.pulls)]
        VERBS[self.verb](stage, pull, self)
        stage.oracle.note()


@dataclass(frozen=True)
class Error:
    """GitHub errs: at the `nth` request that matches from now on, `times` times."""

    match: str
    kind: str  # of KINDS
    nth: int = 1
    times: int = 1

    def strike(self, stage: Stage) -> None:
        stage.oracle.erred = True
        stage.github.faults.add(Fault(self.match, KINDS[self.kind], self.nth, self.times))


T = TypeVar("T")
Verb = Callable[[Stage, PullHandle, Act], None]


def _asks(stage: Stage, pull: PullHandle, act: Act) -> None:
    """`word`: nothing, or which commit is named."""
    named = {"": "", "head": pull.head_sha, "short": pull.head_sha[:8], "old": stage.oracle.first_head(pull.pull)}
    sha = named[act.word]
    comment = stage.people[act.who].comments(pull, f"/merge {sha}".strip())
    stage.oracle.asked[comment.id] = Asked(comment.thing, sha, pull.head_sha, pull.base_ref)


def _says(stage: Stage, pull: PullHandle, act: Act) -> None:
    comment = stage.people[act.who].comments(pull, act.word)
    if act.word == "/merge cancel":
        stage.oracle.cancels.append(comment.thing)


def _newest(stage: Stage, pull: PullHandle) -> CommentHandle | None:
    found = [comment for comment in pull.comments if comment.id in stage.oracle.asked]
    return found[-1] if found else None


def _edits(stage: Stage, pull: PullHandle, act: Act) -> None:
    comment = _newest(stage, pull)
    # Within the second in which it was written nobody edits a comment, and GitHub's times do not show it.
    if comment and stage.now() >= comment.thing.created_at + 1:
        stage.people[act.who].edits(comment, act.word)
        asked = stage.oracle.asked[comment.id]
        asked.edited = stage.happened() if asked.edited is None else asked.edited


def _deletes(stage: Stage, pull: PullHandle, act: Act) -> None:
    if comment := _newest(stage, pull):
        stage.people[act.who].deletes(comment)


def _content(stage: Stage, word: str) -> dict[str, str | None]:
    stage.files += 1
    contents: dict[str, dict[str, str | None]] = {
        "good": {f"file-{stage.files}.txt": "new"},
        "bad": {"bad": "no"},
        "mend": {"bad": None},
        "clash": {"shared.txt": f"version {stage.files}"},
    }
    return contents[word]


def _pushes(stage: Stage, pull: PullHandle, act: Act) -> None:
    if stage.repo.sha(pull.head_ref):
        stage.people[act.who].pushes(stage.repo, pull.head_ref, _content(stage, act.word), f"More {stage.files}")


def _forces(stage: Stage, pull: PullHandle, act: Act) -> None:
    if stage.repo.sha(pull.head_ref):
        if act.word == "back":
            stage.people[act.who].force_pushes(stage.repo, pull.head_ref, sha=stage.oracle.first_head(pull.pull))
        else:
            stage.people[act.who].force_pushes(stage.repo, pull.head_ref, _content(stage, act.word))


def _base(stage: Stage, pull: PullHandle, act: Act) -> None:
    stage.people[act.who].pushes(stage.repo, pull.base_ref, _content(stage, act.word), f"Base {stage.files}")


def _label(stage: Stage, pull: PullHandle, act: Act) -> None:
    person = stage.people[act.who]
    (person.labels if act.word == "on" else person.unlabels)(pull, "hold")


def _draft(stage: Stage, pull: PullHandle, act: Act) -> None:
    person = stage.people[act.who]
    (person.drafts if act.word == "on" else person.readies)(pull)


def _state(stage: Stage, pull: PullHandle, act: Act) -> None:
    if act.word == "close":
        stage.people[act.who].closes(pull)
    elif stage.repo.sha(pull.head_ref) == pull.head_sha:
        stage.people[act.who].reopens(pull)


def _retargets(stage: Stage, pull: PullHandle, act: Act) -> None:
    if pull.open:
        stage.people[act.who].retargets(pull, BASES[pull.base_ref == BASES[0]])


def _reviews(stage: Stage, pull: PullHandle, act: Act) -> None:
    person = stage.people[act.who]
    if act.word == "approve":
        person.approves(pull)
    elif act.word == "reject":
        person.requests_changes(pull)
    elif pull.pull.reviews:
        person.dismisses(ReviewHandle(stage.github.world, "", pull.pull, pull.pull.reviews[-1]))


def _checks(stage: Stage, pull: PullHandle, act: Act) -> None:
    verb, _, name = act.word.partition(" ")
    if verb == "runs":
        stage.ci.runs(pull, name)
    elif verb in ("pending", "error") or name == "lint":
        stage.ci.status(pull, name, verb)
    else:
        stage.ci.concludes(pull, name, verb)


def _permits(stage: Stage, pull: PullHandle, act: Act) -> None:
    stage.github.permission(stage.people[act.who], stage.repo, act.word)


def _presses(stage: Stage, pull: PullHandle, act: Act) -> None:
    try:
        stage.people[act.who].merges(pull)
    except NotMerged:
        return


VERBS: dict[str, Verb] = {
    "asks": _asks,
    "says": _says,
    "edits": _edits,
    "deletes": _deletes,
    "pushes": _pushes,
    "forces": _forces,
    "base": _base,
    "label": _label,
    "draft": _draft,
    "state": _state,
    "retargets": _retargets,
    "reviews": _reviews,
    "checks": _checks,
    "permits": _permits,
    "presses": _presses,
}

PULLS = (0, 1)
WRITERS = ("alice", "bob", "carol")


def _each(verb: str, *words: str, who: tuple[str, ...] = ("alice",)) -> list[Act]:
    return [Act(verb, pull, one, word) for word in words for one in who for pull in PULLS]


ASKS = [*_each("asks", "", who=WRITERS), *_each("asks", "head"), *_each("asks", "", who=("mallory", "bot"))]
ASKS += [*_each("asks", "short", "old", who=("bob",))]
SAYS = _each("says", "/merge cancel", who=("alice", "bob", "carol", "mallory"))
SAYS += [*_each("says", "/merge now"), *_each("says", "please /merge")]
SAYS += [*_each("edits", "/merge", "never mind", who=("alice", "bob")), *_each("deletes", "", who=("alice",))]
PUSHES = [*_each("pushes", "good", "bad", "mend", "clash"), *_each("forces", "back", "good", "bad")]
BASE = _each("base", "good", "bad", "clash", "mend", who=("bob",))
SWITCHES = [*_each("label", "on", "off", who=("bob",)), *_each("draft", "on", "off")]
SWITCHES += [*_each("state", "close", "open"), *_each("retargets", "")]
REVIEWS = _each("reviews", "reject", "approve", "dismiss", who=("bob", "carol", "mallory"))
CHECKS = _each("checks", "success build", "failure build", "runs build", "success lint", "pending lint", "error lint")
PERMITS = [Act("permits", 0, who, word) for word in ("read", "none", "write") for who in WRITERS]
PRESSES = _each("presses", "", who=("bob",))


def _mixed(*shares: tuple[int, list[T]]) -> list[T]:
    """One list in which each group has its share, whatever its size; in no order, since first ones are drawn more."""
    longest = max(len(group) for _, group in shares)
    mixed = [group[n % len(group)] for share, group in shares for n in range(share * longest)]
    random.Random(len(mixed)).shuffle(mixed)
    return mixed


SHARES = [(3, CHECKS), (3, PUSHES), (3, BASE), (3, SWITCHES), (2, REVIEWS), (3, SAYS), (4, PERMITS), (1, PRESSES)]
PEOPLE = _mixed((6, ASKS), *SHARES)

LIMIT = {"message": "You have exceeded a secondary rate limit."}
KINDS: dict[str, Kind] = {
    "404": status(404),
    "500": status(500),
    "502": status(502),
    "reset": reset(),
    "cut": cut(),
    "done, 502": apply_then(502),
    "done, reset": apply_then_reset(),
    "limited": status(403, LIMIT, {"Retry-After": "30"}),
}
CALL, SAID = "PUT */merge", "POST issues/*/comments"
ERRORS = [
    *[Error(CALL, kind) for kind in ("done, 502", "done, reset", "500", "reset", "cut", "limited")],
    *[Error(SAID, kind) for kind in ("done, 502", "done, reset", "502", "reset", "limited")],
    *[Error("*", kind, nth) for kind in ("502", "reset", "limited", "done, 502") for nth in (1, 7, 25)],
    *[Error("GET *", "404", nth) for nth in (3, 12)],
    *[Error("PATCH *", kind) for kind in ("done, 502", "500", "404")],
    Error("GET *", "502", 2, 30),
    Error("GET */info/refs", "502"),
    Error("DELETE *", "done, 502"),
    Error("POST */reactions", "done, 502"),
    Error("QUERY *", "502", 1, 4),
]


@dataclass(frozen=True)
class Moment:
    """Around the `nth` request that matches from now on: `after` it was applied, or before."""

    match: str
    nth: int
    after: bool


@dataclass(frozen=True)
class Midst:
    """The act happens at such a moment."""

    moment: Moment
    act: Act

    def strike(self, stage: Stage) -> None:
        stage.meanwhile(self.moment.match, self.moment.nth, self.act, self.moment.after)


@dataclass(frozen=True)
class Restart:
    """The daemon is stopped in order, and started again; `lost`: without its memory."""

    lost: bool

    def strike(self, stage: Stage) -> None:
        stage.restarts_daemon(self.lost)


@dataclass(frozen=True)
class Death:
    """The daemon is killed at such a moment; `lost`: with its memory."""

    moment: Moment
    lost: bool

    def strike(self, stage: Stage) -> None:
        stage.kills(self.moment.match, self.moment.nth, self.moment.after, self.lost)


_PLACES = [(CALL, 1), (SAID, 1), ("GET */check-runs", 1), ("GET */check-runs", 2), ("GET pulls/*", 2)]
_PLACES += [("GET */info/refs", 1), ("POST */reactions", 1), *[("*", nth) for nth in (4, 9, 15, 22, 30, 40)]]
MOMENTS = [Moment(*place, after) for after in (False, True) for place in _PLACES]
INTRUSIONS = _mixed(*SHARES)
DEATHS = [Death(moment, lost) for lost in (False, False, True) for moment in MOMENTS]
RESTARTS = [Restart(False), Restart(False), Restart(True)]
Failure = Error | Restart | Death
FAILURES: list[Failure] = _mixed((3, [*ERRORS]), (2, [*RESTARTS]), (2, [*DEATHS]))
