"""A local GitHub with one repository, four people and a client, for the tests of the local GitHub itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from orchestrator.twin import Exchange, PullHandle, Twin
from tests.conformance import check

START = 1_790_000_000


class Place:
    """alice may write, bob is admin, mallory may read, robot calls the API with `token`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.time = float(START)
        self.folder = folder
        self.github = Twin(folder / "github", now=lambda: self.time, **{"page": 2, **options})
        self.repo = self.github.repo("acme/app", files={"README.md": "one\ntwo\nthree\n"})
        self.alice = self.github.user("alice", self.repo, permission="write")
        self.bob = self.github.user("bob", self.repo, permission="admin")
        self.mallory = self.github.user("mallory", self.repo, permission="read")
        self.robot = self.github.user("robot", self.repo, permission="write")
        self.ci = self.github.ci(self.repo)
        self.token = self.github.token(self.robot)
        self.session = requests.Session()
        self.session.trust_env = False

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> requests.Response:
        """One request; a path without a leading slash lies under the repository."""
        url = path if path.startswith("http") else self.github.url + (path if path[:1] == "/" else self.under(path))
        return self.session.request(
            method,
            url,
            json=body,
            headers={"Authorization": f"Bearer {token or self.token}", **headers},
            allow_redirects=False,
            timeout=10,
        )

    def under(self, path: str) -> str:
        return "/repos/acme/app" + (f"/{path}" if path else "")

    def get(self, path: str, **headers: str) -> Any:
        """The body of a good answer."""
        answer = self.call("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def all(self, path: str) -> list[Any]:
        """Every page."""
        items: list[Any] = []
        at: str | None = path
        while at:
            answer = self.call("GET", at)
            items += answer.json()
            at = answer.links.get("next", {}).get("url")
        return items

    def ask(self, operation: str, query: str, **variables: Any) -> Any:
        """A GraphQL question."""
        body = {"operationName": operation, "query": query, "variables": variables}
        return self.call("POST", "/graphql", body).json()

    def git(self, *words: str, where: Path | None = None, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run git as a user with a token would."""
        address = f"http://x-access-token:{token or self.token}@"
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "robot",
            "GIT_AUTHOR_EMAIL": "robot@example.org",
            "GIT_COMMITTER_NAME": "robot",
            "GIT_COMMITTER_EMAIL": "robot@example.org",
        }
        argv = ["git", *(word.replace("http://", address) for word in words)]
        return subprocess.run(argv, cwd=where, env=env, capture_output=True, text=True, check=False, timeout=30)

    def clone(self) -> Path:
        """A fresh clone."""
        at = self.folder / "clone"
        done = self.git("clone", "-q", self.repo.clone_url, str(at))
        assert done.returncode == 0, done.stderr
        return at

    def commit(self, clone: Path, name: str, content: str = "x\n") -> str:
        """Commit one file there; the SHA."""
        (clone / name).write_text(content)
        self.git("add", "-A", where=clone)
        self.git("commit", "-qm", f"Add {name}", where=clone)
        return self.git("rev-parse", "HEAD", where=clone).stdout.strip()

    def close(self) -> None:
        self.session.close()
        self.github.close()


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Place]:
    """A place whose every exchange looked like GitHub's and that met no unknown request."""
    place = Place(folder, **options)
    try:
        yield place
        journal = place.github.journal
        assert not journal.unknown, journal.unknown
        problems = [problem for one in journal.exchanges if not _unpublished(one) for problem in check(one)]
        assert not problems, problems
    finally:
        place.close()


def open_pr(
    place: Place, head: str = "fix", files: dict[str, str | bytes | None] | None = None, **more: Any
) -> PullHandle:
    place.alice.pushes(place.repo, head, files or {f"{head.replace('/', '-')}.txt": "1\n2\n3\n"}, message=f"Add {head}")
    return place.alice.opens_pr(place.repo, head, **more)


def merge(place: Place, pr: PullHandle, **body: Any) -> tuple[int, str]:
    answer = place.call("PUT", f"pulls/{pr.number}/merge", {"merge_method": "squash", "sha": pr.head_sha, **body})
    return answer.status_code, str(answer.json()["message"])


def _unpublished(exchange: Exchange) -> bool:
    """What GitHub answers without publishing it: a renamed repository, and the text of a refused deletion."""
    return exchange.status in (301, 307) or (exchange.method == "DELETE" and exchange.status == 422)
