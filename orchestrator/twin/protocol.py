"""What every endpoint shares: the call, the reply, refusals in GitHub's words, pages, the route table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode

from orchestrator.twin.shapes_pulls import PullShapes
from orchestrator.twin.world import Issue, Pull, Repository, User, World

DOCS = "https://docs.github.com/rest"

T = TypeVar("T")


class Refusal(Exception):
    """GitHub says no: status, `message`, and `errors` where it names them."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {"message": message, "documentation_url": DOCS, "status": str(status)}
        if errors is not None:
            self.body["errors"] = list(errors)


class Moved(Refusal):
    """301 or 307 with the numeric address."""

    def __init__(self, status: int, address: str) -> None:
        super().__init__(status, "Moved Permanently" if status == 301 else "Temporary Redirect")
        self.body = {"message": self.body["message"], "url": address, "documentation_url": DOCS}


def not_found() -> Refusal:
    """Also GitHub's answer for what the token may not see."""
    return Refusal(404, "Not Found")


def forbidden() -> Refusal:
    return Refusal(403, "Resource not accessible by personal access token")


def invalid(resource: str, field_name: str, code: str, message: str | None = None) -> Refusal:
    """422 with one entry in `errors`."""
    error = {"resource": resource, "field": field_name, "code": code}
    return Refusal(422, "Validation Failed", [error if message is None else {**error, "message": message}])


@dataclass(frozen=True)
class Reply:
    """A good answer; `data` None means no body."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One authenticated request to a known endpoint."""

    world: World
    viewer: User
    path: str
    args: Mapping[str, str]  # from the path, percent-decoded
    query: Mapping[str, str]
    body: Any
    shape: PullShapes
    page_cap: int
    found_repo: Repository | None

    @property
    def repo(self) -> Repository:
        """The repository of the path."""
        if self.found_repo is None:
            raise not_found()
        return self.found_repo

    @property
    def issue(self) -> Issue:
        """The issue or PR of the path."""
        found = self.repo.issues.get(int(self.args["number"]))
        if found is None:
            raise self._gone(int(self.args["number"]))
        return found

    def _gone(self, number: int) -> Refusal:
        """A deleted issue says so; a transferred one only itself tells where it is, what lies below it is 404."""
        if number not in self.repo.gone or not self.path.endswith(f"/issues/{number}"):
            return not_found()
        moved = self.repo.gone[number]
        if moved is None:
            return Refusal(410, "This issue was deleted")
        if not self.world.may(moved.repo, self.viewer, "read"):
            return not_found()
        return Moved(301, f"{self.shape.url}/repositories/{moved.repo.id}/issues/{moved.number}")

    @property
    def pull(self) -> Pull:
        """The PR of the path; an issue's number is 404 here."""
        if self.issue.pull is None:
            raise not_found()
        return self.issue.pull

    def need(self, permission: str) -> None:
        """403 unless the viewer has this permission."""
        if not self.world.may(self.repo, self.viewer, permission):
            raise forbidden()

    def given(self, name: str, default: Any = None) -> Any:
        """A field of the request's body."""
        return self.body.get(name, default) if isinstance(self.body, dict) else default

    def text(self, resource: str, name: str) -> str:
        """A field of the body that must be a filled string."""
        value = self.given(name)
        if not isinstance(value, str) or not value:
            raise invalid(resource, name, "missing_field")
        return value

    def size(self) -> int:
        """Items per page: what was asked, at most 100, at most what this twin gives."""
        asked = self.query.get("per_page", "30")
        return max(1, min(int(asked) if asked.isdigit() else 30, 100, self.page_cap))

    def pages(self, items: Sequence[T], render: Callable[[T], Any], wrap: Callable[[list[Any]], Any] = list) -> Reply:
        """One page of a list, with GitHub's Link header in the form of the numeric repository id."""
        size = self.size()
        asked = self.query.get("page", "1")
        page = max(1, int(asked) if asked.isdigit() else 1)
        last = max(1, -(-len(items) // size))
        links = {}
        if page > 1:
            links["prev"] = min(page - 1, last)
        if page < last:
            links["next"], links["last"] = page + 1, last
        if page > 1:
            links["first"] = 1
        shown = [render(item) for item in items[(page - 1) * size : page * size]]
        header = ", ".join(f'<{self.address(page=str(to))}>; rel="{name}"' for name, to in links.items())
        return Reply(200, wrap(shown), {"Link": header} if header else {})

    def address(self, leaving: str = "", **changed: str) -> str:
        """This request's address with other query values, and without one of them."""
        path = re.sub(r"^/repos/[^/]+/[^/]+", f"/repositories/{self.repo.id}", self.path)
        query = {name: value for name, value in {**self.query, **changed}.items() if name != leaving}
        return f"{self.shape.url}{path}?{urlencode(query)}"

    def since(self) -> int | None:
        """The `since` parameter, in seconds."""
        text = self.query.get("since")
        if text is None:
            return None
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


Endpoint = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    endpoint: Endpoint


class Routes:
    """A table of endpoints; `{name}` is one path segment, `{name:n}` a number, `{name:path}` the rest."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(self, method: str, template: str) -> Callable[[Endpoint], Endpoint]:
        """Register the decorated function."""
        pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        pattern = re.sub(r"\{(\w+):n\}", r"(?P<\1>\\d+)", pattern)
        pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", pattern)

        def register(endpoint: Endpoint) -> Endpoint:
            self.routes.append(Route(method, re.compile(pattern), endpoint))
            return endpoint

        return register


def find(tables: Sequence[Routes], method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """The endpoint of a path (still percent-encoded) and its decoded arguments."""
    for table in tables:
        for route in table.routes:
            match = route.pattern.fullmatch(path)
            if match and route.method == method:
                return route.endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
    return None
