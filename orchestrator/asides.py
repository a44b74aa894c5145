"""What is told of repositories that are not served, or not wholly.

Guaranteed: one log line when it begins, one when its reason changes and one when it is over, also across restarts;
meanwhile it stands in `status`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from orchestrator.clock import Clock
from orchestrator.errors import Stopped
from orchestrator.log import get
from orchestrator.patience import LONGEST
from orchestrator.record import Aside
from orchestrator.state import State


class Asides:
    """For the loop's thread alone."""

    def __init__(self, state: State, clock: Clock, repos: Collection[str]) -> None:
        """`repos`: those that are watched; what is remembered of others is forgotten."""
        self._state = state
        self._clock = clock
        before = state.asides
        self._told = {aside.repo: aside for aside in before if aside.repo in repos}
        if len(self._told) < len(before):
            self._write()

    def begin(self, repo: str, reason: str, still: str = "", lasting: bool = True) -> None:
        """It is not served, for this reason; `still`: what is done in it nevertheless."""
        before = self._told.get(repo)
        if before is not None and (before.reason, before.still) == (reason, still):
            return
        since = before.since if before else self._clock.now()
        self._keep(Aside(repo, reason, since, still), lasting)

    def again(self, repo: str, reason: str) -> None:
        """As `begin`, told in any case: at a start."""
        before = self._told.get(repo)
        self._keep(Aside(repo, reason, before.since if before else self._clock.now()), lasting=True)

    def end(self, repo: str) -> None:
        """It is served."""
        if (before := self._told.pop(repo, None)) is not None:
            get().info("repository_back", repo=repo, after_seconds=round(self._clock.now() - before.since))
            self._write()

    def _keep(self, aside: Aside, lasting: bool) -> None:
        self._told[aside.repo] = aside
        about = {"repo": aside.repo, "reason": aside.reason, "again_in_seconds": round(LONGEST)}
        if aside.still:
            get().warning("repository_served_in_part", still=aside.still, **about)
        elif lasting:
            get().error("repository_set_aside", **about)
        else:
            get().warning("repository_set_aside", **about)
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(Stopped):  # the daemon ends
            self._state.note_asides(self._told.values())
