"""The machine whose rules are what people and GitHub do; the same for both stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.histories import acts
from tests.histories.stage import Stage

CHECKS = ("green", "green", "green", "none", "pending", "red")
BEGINNINGS = st.sampled_from([(one, two, base) for base in ("main", "release") for one in CHECKS for two in CHECKS])
ASKS, PEOPLE = st.sampled_from(acts.ASKS), st.sampled_from(acts.PEOPLE)
MOMENTS, INTRUSIONS = st.sampled_from(acts.MOMENTS), st.sampled_from(acts.INTRUSIONS)
FAILURES = st.sampled_from(acts.FAILURES)
WAITS = st.sampled_from((0, 0, 0, 1, 5, 40, 62, 62))
SECONDS = st.sampled_from((62, 5, 20, 62, 130, -62, -300, -3600))


class History(RuleBasedStateMachine):
    """One history. Subclasses say where; `tally` counts what all of them were made of."""

    place: Callable[[], Stage]
    tally: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.stage = type(self).place()

    @initialize(beginning=BEGINNINGS, asked=ASKS)
    def two_pull_requests(self, beginning: tuple[str, str, str], asked: acts.Act) -> None:
        first, second, base = beginning
        self.stage.opens("main", first)
        self.stage.opens(base, second)
        self.stage.passes(7)
        self.stage.act(asked)

    @rule(act=PEOPLE, wait=WAITS)
    def somebody_acts(self, act: acts.Act, wait: float) -> None:
        self.stage.act(act)
        self.stage.passes(wait)

    @rule(act=PEOPLE, wait=WAITS)
    def somebody_else_acts(self, act: acts.Act, wait: float) -> None:
        """Once more, so that people do the most."""
        self.somebody_acts(act, wait)

    @rule(moment=MOMENTS, act=INTRUSIONS)
    def something_happens_in_the_midst(self, moment: acts.Moment, act: acts.Act) -> None:
        acts.Midst(moment, act).strike(self.stage)

    @rule(failure=FAILURES)
    def something_fails(self, failure: acts.Failure) -> None:
        """GitHub errs, or the daemon ends and is started again."""
        failure.strike(self.stage)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        """Step by step, or, where it is negative, at once: the machine slept."""
        (self.stage.passes if seconds > 0 else self.stage.jumps)(abs(seconds))

    def teardown(self) -> None:
        stage = self.stage
        try:
            stage.quiet()
            wrong = [*stage.trouble(), *stage.oracle.check(stage.writes, stage.restarts)]
            counts = stage.oracle.counts()
        finally:
            stage.close()
        self.tally["histories"] += 1
        self.tally["with a merge"] += counts.merges > 0
        self.tally["with a refusal"] += counts.refusals > 0
        self.tally["with a restart"] += stage.restarts > 0
        assert not wrong, wrong
