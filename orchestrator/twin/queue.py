"""The merge queue, and merges that run in the background (`merge-async`).

Nothing runs by itself: `settle` brings both up to date before each API request and each look of a person.
"""

from __future__ import annotations

from orchestrator.twin import acts, merging, protection
from orchestrator.twin.world import MergeRequest, Pull, QueueEntry, Repository, User, World

BOT = "github-merge-queue[bot]"
RETENTION = 24 * 3600  # how long the result of a request can be read
NO_QUEUE = "Merge queue is not enabled for this branch."


class NotQueued(Exception):
    """GitHub's sentence for a PR that cannot enter the queue."""


def entry(pull: Pull) -> QueueEntry | None:
    """The PR's place in the queue, if it waits there."""
    return next((one for one in pull.repo.queue if one.pull is pull), None)


def waiting(repo: Repository, branch: str) -> list[QueueEntry]:
    """The queue of a branch, first come first."""
    return [one for one in repo.queue if one.pull.base_ref == branch]


def enter(world: World, pull: Pull, by: User, request: MergeRequest | None = None) -> QueueEntry:
    """Put a PR at the end of the queue of its base. NotQueued as GitHub refuses."""
    if protection.of(pull).queue is None:
        raise NotQueued(NO_QUEUE)
    if pull.draft:
        raise NotQueued("Pull Request is still a draft")
    if pull.issue.state != "open" or not merging.clean(pull):
        raise NotQueued("Pull Request is not mergeable")
    owed = protection.debts(world, pull)
    if owed:
        raise NotQueued(protection.refusal(pull, owed))
    made = QueueEntry(world.new_id(), pull, by, pull.head_sha, world.now(), request)
    pull.repo.queue.append(made)
    acts.add_event(world, pull.issue, "added_to_merge_queue", by)
    return made


def leave(world: World, waiter: QueueEntry, actor: User, why: str) -> None:
    """Out of the queue without a merge; the request that it came by has failed."""
    waiter.pull.repo.queue.remove(waiter)
    acts.add_event(world, waiter.pull.issue, "removed_from_merge_queue", actor)
    if waiter.request is not None:
        _tell(world, waiter.request, "failed", why)


def land(world: World, waiter: QueueEntry) -> str:
    """The queue merges a PR into the live base, with the queue's own method. NotMerged where that conflicts."""
    method = protection.of(waiter.pull).queue or "squash"
    bot = world.user(BOT, "Bot")
    sha = merging.land(world, waiter.pull, bot, merging.Order(method), kind="merge_queue_merge")
    settle(world)
    return sha


def ask(world: World, pull: Pull, actor: User, order: merging.Order, method: str, action: str) -> MergeRequest:
    """A new request to merge in the background; `method` and `action` in the words of the request."""
    number = world.new_id()
    made = MergeRequest(
        uuid=f"{number:08x}-0000-4000-8000-{number:012x}",
        pull=pull,
        actor=actor,
        method=method,
        action=action,
        sha=order.sha or pull.head_sha,
        title=order.title,
        text=order.text,
        due=world.now() + world.background_seconds,
        updated_at=world.now(),
    )
    pull.repo.merge_requests.append(made)
    return made


def pending(pull: Pull) -> MergeRequest | None:
    """The request of a PR that has not run yet."""
    found = (one for one in pull.repo.merge_requests if one.pull is pull and one.status == "pending")
    return next(found, None)


def settle(world: World) -> None:
    """Bring queues and requests up to date with what happened to their PRs, and run the requests that are due."""
    for repo in world.repos.values():
        for waiter in list(repo.queue):
            _settle_entry(world, waiter)
        for request in repo.merge_requests:
            if request.status == "pending":
                _settle_request(world, request)


def _settle_entry(world: World, waiter: QueueEntry) -> None:
    pull = waiter.pull
    if pull.merged_at is not None:
        pull.repo.queue.remove(waiter)
        if waiter.request is not None:
            _tell(world, waiter.request, "merged")
        return
    why = _obstacle(pull, waiter.sha)
    if why is not None:
        leave(world, waiter, world.user(BOT, "Bot"), why)


def _settle_request(world: World, request: MergeRequest) -> None:
    pull = request.pull
    why = _obstacle(pull, request.sha)
    if pull.merged_at is not None:
        _tell(world, request, "merged")
    elif why is not None:
        _tell(world, request, "failed", why)
    elif request.due <= world.now():
        _run(world, request)


def _obstacle(pull: Pull, sha: str) -> str | None:
    """What ends a waiting merge whatever the branch demands."""
    if pull.issue.state != "open":
        return "Pull Request is closed"
    if pull.draft:
        return "Pull Request is still a draft"
    return merging.HEAD_MOVED if pull.head_sha != sha else None


def _run(world: World, request: MergeRequest) -> None:
    pull = request.pull
    queued = protection.of(pull).queue is not None
    try:
        if request.action == "merge_queue" or (request.action == "default" and queued):
            enter(world, pull, request.actor, request)
            _tell(world, request, "enqueued")
        else:
            method = "merge" if request.method == "default" else request.method
            order = merging.Order(method, request.sha, request.title, request.text)
            merging.merge(world, pull, request.actor, order)
            _tell(world, request, "merged")
    except (NotQueued, merging.NotMerged) as refused:
        _tell(world, request, "failed", str(refused))


def _tell(world: World, request: MergeRequest, status: str, message: str = "") -> None:
    request.status, request.message, request.updated_at = status, message, world.now()
