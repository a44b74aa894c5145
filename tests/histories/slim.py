"""What makes the local GitHub quick enough for thousands of histories: short descriptions of accounts and repositories.

Nothing that is decided depends on what is left out: addresses that nobody follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from orchestrator.twin import api, shapes, shapes_code, shapes_pulls
from orchestrator.twin.protocol import Endpoint, find
from orchestrator.twin.shapes import stamp
from orchestrator.twin.shapes_pulls import PullShapes
from orchestrator.twin.world import Repository, User, node_id

_found: dict[tuple[str, str], tuple[Endpoint, dict[str, str]] | None] = {}
MOST = 20_000


class SlimShapes(PullShapes):
    """The same bodies with short accounts and repositories."""

    def user(self, user: User) -> dict[str, Any]:
        return {"login": user.login, "id": user.id, "node_id": node_id("U", user.id), "type": user.type}

    def repository(self, repo: Repository, viewer: User | None = None) -> dict[str, Any]:
        if viewer is not None:
            return super().repository(repo, viewer)
        return {
            "id": repo.id,
            "name": repo.name,
            "full_name": repo.full_name,
            "owner": {"login": repo.owner.login},
            "clone_url": f"{self.page(repo)}.git",
            "default_branch": repo.default_branch,
            "pushed_at": stamp(repo.pushed_at),
        }


def find_again(tables: Any, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """`protocol.find`, which looks at each route, once for each path."""
    key = (method, path)
    if key not in _found:
        if len(_found) > MOST:
            _found.clear()
        _found[key] = find(tables, method, path)
    return _found[key]


@contextmanager
def quick() -> Iterator[None]:
    """All of it in place."""
    quick_stamp, quick_id = lru_cache(MOST)(shapes.stamp), lru_cache(MOST)(node_id)
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(api, PullShapes=SlimShapes, find=find_again))
        for module in (shapes, shapes_pulls, shapes_code):
            stack.enter_context(patch.object(module, "stamp", quick_stamp))
        for other in (shapes, shapes_pulls):
            stack.enter_context(patch.object(other, "node_id", quick_id))
        yield
