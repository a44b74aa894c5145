"""Smart HTTP by `git http-backend`, with the token as the password, over the same world."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.twin import pushes
from orchestrator.twin.journal import Journal
from orchestrator.twin.repository import environment
from orchestrator.twin.world import Repository, User, World

PATH = re.compile(r"/([^/]+)/([^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")


@dataclass(frozen=True)
class GitAnswer:
    status: int
    headers: dict[str, str]
    body: bytes
    login: str = ""


def user_of(world: World, headers: Mapping[str, str]) -> User | None:
    """Whose token the request carries, as git and its companions send it: as a password."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        decoded = base64.b64decode(text).decode("utf-8", "replace")
        text = decoded.partition(":")[2]
    token = world.tokens.get(text)
    return token.user if token else None


@dataclass
class GitHttp:
    """Serves fetches and pushes. A push is answered after the world has taken it in."""

    world: World
    journal: Journal
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, url: str
    ) -> GitAnswer:
        """One request of a git client; `path` matches PATH."""
        found = PATH.fullmatch(path)
        if found is None:
            raise ValueError(path)
        service = found[3]
        with self.world.lock:
            user = user_of(self.world, headers)
            if user is None:
                return GitAnswer(401, {"WWW-Authenticate": 'Basic realm="GitHub"'}, b"Authentication failed.")
            writes = "git-receive-pack" in (service, query.removeprefix("service="))
            repo = self._opened(found, query, user, writes, url)
            if isinstance(repo, GitAnswer):
                return repo
            if service == "info/refs" and not writes:
                pushes.fetched(repo)
        environ = {
            "GIT_PROJECT_ROOT": str(repo.bare.path.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{repo.bare.path.name}/{service}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "REMOTE_USER": user.login,
            "REMOTE_ADDR": "127.0.0.1",
        }
        return self._served(repo, user, service, environ, body)

    def _opened(self, found: re.Match[str], query: str, user: User, writes: bool, url: str) -> Repository | GitAnswer:
        """The repository of a path, or why this user does not get it."""
        owner, name, service = found.groups()
        repo = self.world.find_repo(owner, name)
        if repo is None and f"{owner}/{name}".lower() in self.world.renamed:
            moved = self.world.repos[self.world.renamed[f"{owner}/{name}".lower()]]
            address = f"{url}/{moved.full_name}.git/{service}?{query}".rstrip("?")
            return GitAnswer(301, {"Location": address}, b"", user.login)
        if repo is None or not self.world.may(repo, user, "read"):
            return GitAnswer(404, {}, b"Repository not found.", user.login)
        if repo.shut is not None or repo.git_status:
            status = repo.git_status or (repo.shut or (0,))[0]
            return GitAnswer(status, {"Content-Type": "text/plain"}, b"The repository is closed.", user.login)
        if writes and repo.archived:
            said = "This repository was archived so it is read-only."
            return GitAnswer(403, {"Content-Type": "text/plain"}, said.encode(), user.login)
        if writes and not self.world.may(repo, user, "write"):
            said = f"Permission to {repo.full_name}.git denied to {user.login}."
            return GitAnswer(403, {"Content-Type": "text/plain"}, said.encode(), user.login)
        return repo

    def _served(self, repo: Repository, user: User, service: str, environ: Mapping[str, str], body: bytes) -> GitAnswer:
        status, answered, data = self._backend(environ, body)
        if service == "git-receive-pack":
            with self.world.lock:
                changed = pushes.sync(self.world, repo, user)
            for ref, before, after in changed:
                self.journal.record(
                    method="PUSH",
                    path=ref,
                    query={},
                    body={"repository": repo.full_name, "before": before, "after": after},
                    status=200,
                    headers={},
                    answer=None,
                    login=user.login,
                    git=True,
                )
        return GitAnswer(status, answered, data, user.login)

    def _backend(self, environ: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        backend = subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment(), **environ},
        )
        with self.world.lock:
            self._running.add(backend)
        try:
            out, _ = backend.communicate(body)
        finally:
            with self.world.lock:
                self._running.discard(backend)
        head, _, data = out.partition(b"\r\n\r\n")
        answered = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
        status = int(answered.pop("Status", "200" if head else "500").split(" ")[0])
        return status, answered, data

    def close(self) -> None:
        """End what still runs."""
        with self.world.lock:
            running = list(self._running)
        for backend in running:
            backend.kill()
