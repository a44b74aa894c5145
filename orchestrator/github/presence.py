"""Which repository stands behind a name, and whether it can be served.

A repository that was renamed is found again by its id, also where another one has its name now, and the rest of the
house follows `api`. One that was never seen is not followed: nothing shows that the new place is what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from orchestrator.errors import Missing, Retry
from orchestrator.github import shape
from orchestrator.github.api import Api
from orchestrator.github.shut import Shut, lack, same
from orchestrator.github.transport import Answer, ApiError, Moved
from orchestrator.log import get
from orchestrator.model import Repo, RepoFacts
from orchestrator.state import RepoMemory

T = TypeVar("T")


class Presence:
    """`etag` stands for what was read of the repository itself."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.etag = ""
        self._repo: Repo | None = None

    def forget(self) -> None:
        """Ask the next time."""
        self._repo = None

    def repo(self, memory: RepoMemory | None, others: Mapping[int, str]) -> Repo:
        """As it was read, or now. Moved when it is not the one that is remembered, Shut when it cannot be served.

        `others`: the repositories that are watched by other names, by id.
        """
        if self._repo is None:
            self._take(self.api.transport.get(self.api.at), memory, others)
        assert self._repo is not None
        self._compare(self._repo, memory)
        return self._repo

    def recall(self, repo: Repo, etag: str, memory: RepoMemory, others: Mapping[int, str]) -> Answer:
        """It was `repo` when it was written down; what GitHub answers. Raises as `repo`."""
        answer = self.api.transport.get(self.api.at, etag=etag or None)
        if answer.status == 304:
            self._repo, self.etag = repo, etag
        else:
            self._take(answer, memory, others)
        return answer

    def facts(self, memory: RepoMemory | None, others: Mapping[int, str]) -> RepoFacts:
        """What it allows, asked now. Raises as `repo`."""
        return self._take(self.api.transport.get(self.api.at), memory, others)

    def followed(self, memory: RepoMemory | None, ask: Callable[[], T], moved: Callable[[], object]) -> T:
        """What `ask` gives, if need be under the repository's present name; `moved` is called before that.

        Missing when the repository is gone, whatever is called so now.
        """
        try:
            return ask()
        except Moved:
            if memory is None:
                raise
            self._follow(memory.id)
            get().warning("repository_renamed", repo=self.api.name, now=self.api.called)
            moved()
            return ask()

    def _follow(self, repo_id: int) -> None:
        try:
            self.api.follow(repo_id)
        except ApiError as error:
            if error.status != 404:
                raise
            raise Missing(
                f"{self.api.name} is not the repository that was watched (its id was {repo_id}), and that one is gone. "
                "Nothing is done in its successor; to begin anew with it, move the state file away."
            ) from error

    def _take(self, answer: Answer, memory: RepoMemory | None, others: Mapping[int, str]) -> RepoFacts:
        try:
            about = shape.repo_facts(answer.data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Retry(f"what GitHub says of {self.api.name} cannot be understood: {error!r}") from error
        self._compare(about.repo, memory)
        if other := others.get(about.repo.id):
            raise Shut(same(other))
        if why_not := lack(self.api.name, about):
            raise Shut(why_not)
        # By the name as it is set, which jobs and folders go by: GitHub does not care for its case.
        self._repo, self.etag = replace(about.repo, name=self.api.name), answer.headers.get("etag", "")
        return about

    def _compare(self, repo: Repo, memory: RepoMemory | None) -> None:
        if memory is not None and memory.id != repo.id:
            raise Moved(f"{self.api.called} is another repository now")  # whose people were never meant
