"""The verbs of a merge queue: what GitHub's queue does with the PRs that wait, as tests and the demo say it."""

from __future__ import annotations

from orchestrator.twin import queue
from orchestrator.twin.handles import Handle, PullHandle
from orchestrator.twin.world import QueueEntry, Repository, World


class QueueHandle(Handle):
    """The merge queue of one branch. It does nothing by itself."""

    def __init__(self, world: World, url: str, repo: Repository, branch: str) -> None:
        super().__init__(world, url)
        self._repo = repo
        self._branch = branch

    def waits(self) -> list[PullHandle]:
        """The PRs that wait, first come first."""
        with self.looking() as world:
            queue.settle(world)
            found = queue.waiting(self._repo, self._branch)
            return [PullHandle(world, self._url, waiter.pull) for waiter in found]

    def merges(self, pr: PullHandle) -> str:
        """Put a PR that waits on the live base; the base's new tip. NotMerged where it conflicts."""
        with self.looking() as world:
            return queue.land(world, self._entry(pr))

    def drops(self, pr: PullHandle, reason: str = "A required status check failed.") -> None:
        """Send a PR away unmerged, as after a failed check; `reason` is what its `merge-async` request then tells."""
        with self.looking() as world:
            queue.leave(world, self._entry(pr), world.user(queue.BOT, "Bot"), reason)

    def _entry(self, pr: PullHandle) -> QueueEntry:
        queue.settle(self.world)
        waiter = queue.entry(pr.pull)
        if waiter is None:
            raise LookupError(f"{pr!r} does not wait in the queue of {self._branch}")
        return waiter
