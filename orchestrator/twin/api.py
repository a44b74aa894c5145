"""One API request from token to reply: who asks, how much is left, which endpoint, conditional answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from orchestrator.twin import graphql, queue, routes_code, routes_issues, routes_merge, routes_pulls
from orchestrator.twin.journal import Journal
from orchestrator.twin.protocol import Call, Moved, Refusal, Reply, find, not_found
from orchestrator.twin.shapes_pulls import PullShapes
from orchestrator.twin.world import Repository, Token, World

TABLES = (routes_code.routes, routes_pulls.routes, routes_merge.routes, routes_issues.routes)
HOUR = 3600
_REPO_PATH = re.compile(r"/repos/([^/]+)/([^/]+)(/.*)?")
# An item or a list of them; what is told of one comment is told whatever it stands on.
_ITEM = re.compile(r"/(?P<list>issues|pulls)(?:/(?P<number>\d+)(?:/.*)?|/comments)?$")
_ID_PATH = re.compile(r"/repositories/(\d+)(/.*)?")


@dataclass(frozen=True)
class Request:
    """An HTTP request as it came in; `path` is still percent-encoded, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    url: str  # scheme, host and port it was sent to


@dataclass(frozen=True)
class Answered:
    """A whole response: `data` is what the body holds; None for an empty one."""

    status: int
    headers: dict[str, str]
    data: Any
    body: bytes
    login: str = ""


@dataclass
class Api:
    """The endpoints over one world."""

    world: World
    journal: Journal
    page_cap: int
    _serial: int = field(default=0)

    def answer(self, request: Request) -> Answered:
        """Do what is asked. Takes the world's lock."""
        with self.world.lock:
            queue.settle(self.world)
            token = self._token(request.headers)
            headers: dict[str, str] = {}
            try:
                if token is None:
                    given = "authorization" in request.headers
                    raise Refusal(401, "Bad credentials" if given else "Requires authentication")
                reply = self._charged(request, token, headers)
            except Refusal as refusal:
                reply = Reply(refusal.status, refusal.body, refusal.headers)
            return self._finish(request, token, reply, headers)

    def login(self, headers: Mapping[str, str]) -> str:
        """Whose token this is; "" for nobody's."""
        with self.world.lock:
            token = self._token(headers)
        return token.user.login if token else ""

    def _token(self, headers: Mapping[str, str]) -> Token | None:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        return self.world.tokens.get(text.strip()) if scheme.lower() in ("bearer", "token") else None

    def _charged(self, request: Request, token: Token, headers: dict[str, str]) -> Reply:
        self._start_hour(token)
        if request.path == "/rate_limit" and request.method == "GET":
            return Reply(200, self._rates(token))
        if request.path == "/graphql" and request.method == "POST":
            token.graphql_used += 1
            return self._graphql(request, token)
        if token.used >= token.limit:
            raise Refusal(403, f"API rate limit exceeded for user ID {token.user.id}.")
        token.used += 1
        return self._routed(request, token)

    def _graphql(self, request: Request, token: Token) -> Reply:
        body = request.body if isinstance(request.body, dict) else {}
        try:
            found = graphql.answer(self.world, token.user, str(body.get("query")), body.get("variables") or {})
        except graphql.Unknown as unknown:
            raise self._unknown(f"GraphQL: {unknown}") from unknown
        return Reply(200, found)

    def _routed(self, request: Request, token: Token) -> Reply:
        path, repo = self._resolve(request)
        found = find(TABLES, request.method, path)
        if found is None:
            raise self._unknown(f"{request.method} {request.path}")
        if repo is not None:
            if not self.world.may(repo, token.user, "read"):
                raise not_found()
            _refuse_closed(repo, request.method, path)
        if repo is not None and request.method == "POST" and token.user.id in repo.blocked:
            raise Refusal(403, "User is blocked")
        endpoint, args = found
        shape = PullShapes(self.world, request.url)
        return endpoint(
            Call(self.world, token.user, path, args, request.query, request.body, shape, self.page_cap, repo)
        )

    def _resolve(self, request: Request) -> tuple[str, Repository | None]:
        """The path in its named form and its repository. A Refusal with 301 or 307 where it was renamed."""
        by_id = _ID_PATH.fullmatch(request.path)
        if by_id:
            repo = self.world.repos.get(int(by_id[1]))
            if repo is None:
                raise not_found()
            return f"/repos/{repo.full_name}{by_id[2] or ''}", repo
        by_name = _REPO_PATH.fullmatch(request.path)
        if not by_name:
            return request.path, None
        owner, name = unquote(by_name[1]), unquote(by_name[2])
        repo = self.world.find_repo(owner, name)
        moved = self.world.renamed.get(f"{owner}/{name}".lower())
        if repo is None and moved is not None:
            query = "&".join(f"{name}={value}" for name, value in request.query.items())
            address = f"{request.url}/repositories/{moved}{by_name[3] or ''}" + (f"?{query}" if query else "")
            raise Moved(301 if request.method == "GET" else 307, address)
        return request.path, repo

    def _unknown(self, what: str) -> Refusal:
        self.journal.record_unknown(what)
        return Refusal(501, f"The twin does not know {what}")

    def _start_hour(self, token: Token) -> None:
        now = self.world.now()
        if now - token.window >= HOUR:
            token.window, token.used, token.graphql_used = now, 0, 0

    def _rates(self, token: Token) -> Any:
        def rate(limit: int, used: int) -> dict[str, int]:
            return {"limit": limit, "used": used, "remaining": limit - used, "reset": token.window + HOUR}

        core = rate(token.limit, token.used)
        return {
            "resources": {"core": core, "search": rate(30, 0), "graphql": rate(5000, token.graphql_used)},
            "rate": core,
        }

    def _finish(self, request: Request, token: Token | None, reply: Reply, headers: dict[str, str]) -> Answered:
        body = b"" if reply.data is None else encode(reply.data)
        headers.update(self._common_headers())
        headers.update(reply.headers)
        status, data = reply.status, reply.data
        if token is not None:
            headers["X-OAuth-Scopes"] = token.scopes
        if status == 200 and request.method == "GET" and token is not None:
            tag = _etag(body, token, request)
            headers["ETag"] = tag
            headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
            if tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
                if request.path != "/rate_limit":
                    token.used -= 1  # GitHub does not count a 304 with a valid token
                status, data, body = 304, None, b""
                headers.pop("Link", None)
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        if token is not None:
            headers.update(_rate_headers(token, request))
        if isinstance(data, dict) and status in (301, 307):
            headers["Location"] = data["url"]
        return Answered(status, headers, data, body, token.user.login if token else "")

    def _common_headers(self) -> dict[str, str]:
        self._serial += 1
        return {
            "Server": "twin",
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Api-Version-Selected": "2022-11-28",
            "X-GitHub-Request-Id": f"{self._serial:04X}:TWIN",
        }


def _refuse_closed(repo: Repository, method: str, path: str) -> None:
    """What a whole repository refuses: everything, every change, its issues, its pull requests."""
    if repo.shut is not None:
        status, message, headers = repo.shut
        raise Refusal(status, message, headers=headers)
    if repo.archived and method != "GET":
        raise Refusal(403, "Repository was archived so is read-only.")
    below = _REPO_PATH.fullmatch(path)
    item = _ITEM.match((below[3] if below else None) or "")
    if item is None:
        return
    issue = repo.issues.get(int(item["number"] or 0))
    if item["list"] == "issues" and not repo.has_issues and (issue is None or issue.pull is None):
        raise Refusal(410, "Issues are disabled for this repo")
    if item["list"] == "pulls" and not repo.has_pulls:
        raise not_found()


def encode(data: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _etag(body: bytes, token: Token, request: Request) -> str:
    accept = request.headers.get("accept", "")
    address = f"{request.path}?{sorted(request.query.items())}"
    source = b"\0".join([body, token.text.encode(), accept.encode(), address.encode()])
    return f'W/"{hashlib.sha256(source).hexdigest()}"'


def _rate_headers(token: Token, request: Request) -> dict[str, str]:
    graph = request.path == "/graphql"
    limit, used = (5000, token.graphql_used) if graph else (token.limit, token.used)
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, limit - used)),
        "X-RateLimit-Reset": str(token.window + HOUR),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Resource": "graphql" if graph else "core",
    }
