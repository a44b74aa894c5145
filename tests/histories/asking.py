"""Histories of labels, texts, comments and permissions: what people do to issues, and the daemon that answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import SecretStr

from orchestrator.agents.base import Bounds, Outcome, RunResult, Task
from orchestrator.clock import Stop
from orchestrator.settings import Settings
from orchestrator.twin import pushes
from orchestrator.twin.handles import IssueHandle
from tests.histories.acts import Death, Error, Moment, Restart
from tests.histories.direct import URL
from tests.histories.fast import FastStage
from tests.histories.objects import MemoryRepository
from tests.histories.stage import SETTINGS, Stage
from tests.histories.turns import Turns
from tests.histories.wishes import Wishes
from tests.simulation.git import SimMirror, SimWorktree

RUN_SECONDS = 150.0  # longer than two polls


@cache
def _settings(folder: Path, bot: int) -> Settings:
    return Settings(
        **SETTINGS,
        github_api_url=URL,
        github_token=SecretStr("ghp_unused"),
        worktree_base=folder / "worktrees",
        state_file=folder / "state.json",
        disk_floor_gb=0,
        trusted_bots=(str(bot),),
        max_runs_per_actor_day=1000,
        daily_budget_usd=1000,
    )


@dataclass
class Writer:
    """An agent that takes a while and leaves one file; `begins` hears of each run."""

    clock: Turns
    mirror: SimMirror
    begins: Callable[[int, str, bool], None]
    name: str = "writer"
    _sessions: set[str] = field(default_factory=set)

    def run(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        if task.resume and task.session_id not in self._sessions:
            return self._end(task, Outcome.NO_SESSION)
        self._sessions.add(task.session_id)
        self.begins(int(task.cwd.name.removeprefix("issue-")), task.prompt, task.resume)
        if self.clock.wait(RUN_SECONDS, stop):
            return self._end(task, Outcome.STOPPED)
        SimWorktree(self.mirror, task.cwd).write(f"{task.run_id}.txt", b"made", False)
        return self._end(task, Outcome.DONE)

    def _end(self, task: Task, outcome: Outcome) -> RunResult:
        return RunResult(outcome, "Done.", None, task.session_id, 2, 0.25, 60.0, outcome.value)

    def read_back(self, task: Task, bounds: Bounds) -> RunResult | None:
        return None

    def version(self) -> str:
        return "0.0.0 (writer)"

    def check(self) -> str:
        return self.version()

    def probe(self, stop: Stop) -> RunResult:
        return RunResult(Outcome.DONE, "yes", None, "", 1, 0.0, 1.0, "")


class AskStage(FastStage):
    """The fast stage with agents: two issues, one of them a stranger's."""

    worktree = SimWorktree

    def furnish(self) -> None:
        super().furnish()
        for login, permission, kind in (("tess", "triage", "User"), ("helper[bot]", "write", "Bot")):
            self.people[login] = self.github.user(login, self.repo, permission=permission, kind=kind)
        self.helper = self.people["helper[bot]"].id
        world, repo, robot = self.github.world, self.repo.thing, self.oracle.robot
        self.wishes = Wishes(world, repo, robot, frozenset({self.helper}), self.since, self.happened)
        self.wishes.watch()

    def settings_in(self, folder: Path) -> Settings:
        return _settings(folder, self.helper)

    def mirror_of(self, bare: MemoryRepository) -> SimMirror:
        def pushed() -> None:
            for ref, sha in bare.refs().items():
                if self.repo.thing.refs.get(ref) != sha:
                    self.wishes.publishes(ref, "pushed")
            pushes.sync(self.twin.world, self.repo.thing, self.oracle.robot)
            self.clock.happened += 1

        mirror = SimMirror(bare, lambda method, what: None, pushed, lambda edge: self.clock.alive())
        self.agent = Writer(self.clock, mirror, self.wishes.begins)
        return mirror

    def act(self, call: Callable[[Stage], None]) -> None:
        with self.github.world.lock:
            if self._within or self.midst():
                self.wishes.remember()
            call(self)
            self.count()

    def new(self, what: str) -> str:
        """Words that are nowhere else."""
        self.files += 1
        return f"{what}-{self.files}"

    def close(self) -> None:
        super().close()
        self.wishes.unwatch()


@dataclass(frozen=True)
class Act:
    """`who` does `verb` to issue `issue`; `word` says how."""

    verb: str
    issue: int = 0
    who: str = "alice"
    word: str = ""

    def __call__(self, stage: Stage) -> None:
        assert isinstance(stage, AskStage)
        VERBS[self.verb](stage, stage.issues[self.issue], self)


def _label(stage: AskStage, issue: IssueHandle, act: Act) -> None:
    person, (how, name) = stage.people[act.who], act.word.split()
    if how != "on":
        person.unlabels(issue, name)
    if how != "off":
        person.labels(issue, name)


def _text(stage: AskStage, issue: IssueHandle, act: Act) -> None:
    if act.word == "title":
        stage.people[act.who].renames(issue, stage.new("naming"))
    else:
        stage.people[act.who].edits(issue, stage.new("saying"))


def _remark(stage: AskStage, issue: IssueHandle, act: Act) -> None:
    person = stage.people[act.who]
    found = [c for c in issue.comments if re.match("remark-", c.body)]
    if act.word == "says":
        person.comments(issue, stage.new("remark"))
    elif found and act.word == "edits":
        person.edits(found[-1], stage.new("remark"))
    elif found and act.word == "minimizes":
        person.minimizes(found[-1])
    elif found:
        person.deletes(found[-1])


def _state(stage: AskStage, issue: IssueHandle, act: Act) -> None:
    (stage.people[act.who].closes if act.word == "close" else stage.people[act.who].reopens)(issue)


def _permits(stage: AskStage, issue: IssueHandle, act: Act) -> None:
    stage.github.permission(stage.people[act.who], stage.repo, act.word)


VERBS: dict[str, Callable[[AskStage, IssueHandle, Act], None]] = {
    "label": _label,
    "text": _text,
    "remark": _remark,
    "state": _state,
    "permits": _permits,
}


def _each(verb: str, *words: str, who: tuple[str, ...]) -> list[Act]:
    return [Act(verb, issue, one, word) for word in words for one in who for issue in (0, 1)]


WRITERS, ALL = ("alice", "bob", "carol"), ("alice", "carol", "mallory", "tess", "bot", "helper[bot]")
ASKS = [*_each("label", "on ready", who=(*WRITERS, *WRITERS, *ALL)), *_each("label", "again ready", who=WRITERS)]
TEXTS = [*_each("text", "title", "body", who=ALL), *_each("text", "body", "title", who=("mallory",))]
REMARKS = [*_each("remark", "says", "edits", who=ALL), *_each("remark", "minimizes", "deletes", who=("alice",))]
SWITCHES = [*_each("label", "off ready", "off in-progress", "on in-progress", who=("bob",))]
SWITCHES += _each("state", "close", "open", who=("bob",))
PERMITS = [Act("permits", 0, who, word) for who in (*WRITERS, "mallory") for word in ("read", "none", "write", "write")]
PEOPLE = st.sampled_from([*ASKS, *TEXTS, *REMARKS, *SWITCHES, *PERMITS * 2])
_PLACES = [
    "QUERY IssueFacts",
    "GET */permission",
    "POST */labels",
    "GET issues/*",
    "POST issues/*/comments",
    "POST *",
    "*",
]
MOMENTS = st.sampled_from(
    [Moment(place, nth, after) for place in _PLACES for nth in (1, 2, 4, 7) for after in (True, False)]
)
ERRORS = [
    *[Error("GET */permission", kind, nth) for kind in ("404", "500", "reset") for nth in (1, 2, 4)],
    *[Error("QUERY IssueFacts", kind, nth) for kind in ("502", "reset", "limited") for nth in (1, 2, 4)],
    *[Error("POST *", kind, nth) for kind in ("done, 502", "done, reset", "502", "limited") for nth in (1, 3)],
    *[Error("*", kind, nth) for kind in ("502", "reset", "limited", "done, 502") for nth in (1, 7, 25)],
    Error("GET *", "404", 3),
    Error("GET */permission", "500", 1, 12),
]
ENDS = [Restart(False), Restart(True), *(Death(Moment(place, 1, True), False) for place in _PLACES)]
WAITS = st.sampled_from((0, 0, 1, 1, 5, 40, 62, 62, 160))


class Asking(RuleBasedStateMachine):
    """One history. Subclasses say where; `tally` counts what all of them were made of."""

    place: Callable[[], AskStage]
    tally: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.stage = type(self).place()

    @initialize(asked=st.sampled_from(ASKS), remark=st.sampled_from(REMARKS))
    def two_issues(self, asked: Act, remark: Act) -> None:
        stage = self.stage
        for login in ("mallory", "alice"):
            issue = stage.people[login].opens_issue(stage.repo, stage.new("naming"), stage.new("saying"))
            stage.issues.append(issue)
        stage.act(Act("remark", 0, "alice", "says"))
        stage.act(remark)
        stage.passes(7)
        stage.act(asked)

    @rule(act=PEOPLE, wait=WAITS)
    def somebody_acts(self, act: Act, wait: float) -> None:
        self.stage.act(act)
        self.stage.passes(wait)

    @rule(act=PEOPLE, wait=WAITS)
    def somebody_else_acts(self, act: Act, wait: float) -> None:
        """Once more, so that people do the most."""
        self.somebody_acts(act, wait)

    @rule(moment=MOMENTS, act=PEOPLE)
    def something_happens_in_the_midst(self, moment: Moment, act: Act) -> None:
        self.stage.meanwhile(moment.match, moment.nth, act, moment.after)

    @rule(error=st.sampled_from(ERRORS))
    def github_errs(self, error: Error) -> None:
        error.strike(self.stage)
        self.tally["with an error"] += 1

    @rule(end=st.sampled_from(ENDS))
    def the_daemon_ends(self, end: Any) -> None:
        end.strike(self.stage)

    def teardown(self) -> None:
        stage = self.stage
        try:
            stage.quiet()
            wrong = [*stage.trouble(), *stage.wishes.check()]
        finally:
            stage.close()
        self.tally["histories"] += 1
        self.tally["with a run"] += stage.wishes.runs > 0
        self.tally["with something published"] += stage.wishes.published > 0
        self.tally["with a refusal"] += stage.wishes.refusals() > 0
        self.tally["with a restart"] += stage.restarts > 0
        assert not wrong, wrong
