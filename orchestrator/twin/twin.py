"""The local GitHub as one object: start it, fill it, let it be used, look at what was done to it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from orchestrator.twin.api import Api
from orchestrator.twin.ci import Ci
from orchestrator.twin.faults import Faults
from orchestrator.twin.git_http import GitHttp
from orchestrator.twin.handles import CommentHandle, IssueHandle, PullHandle, RepoHandle, ReviewHandle
from orchestrator.twin.journal import Journal
from orchestrator.twin.lfs import Lfs
from orchestrator.twin.protection import Protection, RuleSet
from orchestrator.twin.queueing import QueueHandle
from orchestrator.twin.repository import BareRepository
from orchestrator.twin.say import Files, Person
from orchestrator.twin.server import Server
from orchestrator.twin.world import PERMISSIONS, Repository, Token, World


class Twin:
    """A GitHub on 127.0.0.1. Use it as a context manager; leaving it ends every thread, socket and process."""

    def __init__(
        self,
        root: Path,
        now: Callable[[], float] = time.time,
        page: int = 30,
        mergeable_after: int = 1,
        port: int = 0,
    ) -> None:
        """`root`: folder for the repositories; `now`: GitHub's clock; `page`: the most items a page holds;
        `mergeable_after`: reads of a PR after a push that still say `mergeable: null`."""
        root.mkdir(parents=True, exist_ok=True)
        self.world = World(root, now, mergeable_after)
        self.journal = Journal()
        self.faults = Faults()
        self._git = GitHttp(self.world, self.journal)
        self._lfs = Lfs(self.world)
        api = Api(self.world, self.journal, page)
        self._server = Server(api, self._git, self._lfs, self.faults, self.journal, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="twin")
        self._thread.start()

    @property
    def url(self) -> str:
        """The API's address; GITHUB_API_URL of a program under test."""
        return self._server.url

    def __enter__(self) -> Twin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many clients are connected; one that died is until what it asked for last is done."""
        return self._server.connections

    def close(self) -> None:
        """Hang up on everybody and end; hanging requests are released."""
        self._server.shutdown()
        self._server.hang_up()
        self._git.close()
        self._server.server_close()
        self._thread.join()

    def repo(
        self,
        name: str,
        files: Files | None = None,
        default_branch: str = "main",
        private: bool = True,
    ) -> RepoHandle:
        """Make `owner/name`; `files` become its first commit, None leaves it without any commit."""
        owner, _, short = name.partition("/")
        with self.world.lock:
            number = self.world.new_id()
            bare = BareRepository(self.world.root / f"{number}.git")
            bare.create(default_branch)
            now = self.world.now()
            repo = Repository(number, self.world.user(owner), short, bare, default_branch, now, now, private)
            self.world.repos[number] = repo
            handle = RepoHandle(self.world, self.url, repo)
            if files is not None:
                Person(self.world, self.url, repo.owner).pushes(handle, default_branch, files, "First commit")
            return handle

    @property
    def repos(self) -> dict[str, RepoHandle]:
        """Every repository by its name."""
        with self.world.lock:
            found = self.world.repos.values()
            return {repo.full_name: RepoHandle(self.world, self.url, repo) for repo in found}

    @property
    def users(self) -> dict[str, Person]:
        """Every account by its login."""
        with self.world.lock:
            return {user.login: Person(self.world, self.url, user) for user in self.world.users.values()}

    def user(
        self, login: str, repo: RepoHandle | None = None, permission: str | None = None, kind: str = "User"
    ) -> Person:
        """An account; with `repo`, its permission there. `kind` is User or Bot."""
        with self.world.lock:
            person = Person(self.world, self.url, self.world.user(login, kind))
            if repo is not None and permission is not None:
                self.permission(person, repo, permission)
            return person

    def permission(self, person: Person, repo: RepoHandle, permission: str) -> None:
        """Give or take: none, read, triage, write, maintain or admin."""
        if permission not in PERMISSIONS:
            raise ValueError(f"{permission!r} is none of {', '.join(PERMISSIONS)}")
        with self.world.lock:
            repo.thing.permissions[person.id] = permission

    def tells_permission(self, person: Person, repo: RepoHandle, permission: str, role: str) -> None:
        """What the permission endpoint says of somebody, whatever they may: a custom role, a word of tomorrow."""
        with self.world.lock:
            repo.thing.told_permissions[person.id] = (permission, role)

    def tells_association(self, person: Person, repo: RepoHandle, association: str) -> None:
        """The `author_association` of what somebody wrote: MEMBER, COLLABORATOR ...; writers show as CONTRIBUTOR."""
        with self.world.lock:
            repo.thing.told_associations[person.id] = association

    def renames_user(self, person: Person, login: str) -> None:
        """A new login for the same account; the old one is free, and whoever takes it (`user(old)`) has another id."""
        with self.world.lock:
            if login.lower() in self.world.users:
                raise ValueError(f"{login!r} is taken")
            del self.world.users[person.login.lower()]
            person.thing.login = login
            self.world.users[login.lower()] = person.thing

    def token(self, person: Person, scopes: str = "repo, workflow", limit: int = 5000) -> str:
        """A new token of this account; `limit`: requests per hour."""
        with self.world.lock:
            seed = f"{person.id}/{len(self.world.tokens)}".encode()
            text = "ghp_" + hashlib.sha256(seed).hexdigest()[:36]
            self.world.tokens[text] = Token(text, person.thing, scopes, window=self.world.now(), limit=limit)
            return text

    def revokes(self, token: str) -> None:
        """The token is worth nothing from now on."""
        with self.world.lock:
            del self.world.tokens[token]

    def ci(self, repo: RepoHandle) -> Ci:
        """What posts checks on this repository."""
        return Ci(self.world, self.url, repo.thing)

    def requires(
        self,
        repo: RepoHandle,
        branch: str,
        checks: list[str] | None = None,
        strict: bool = False,
        reviews: int = 0,
        by_rules: bool = False,
        conversations: bool = False,
        queue: str | None = None,
        exempt: Sequence[Person] = (),
    ) -> None:
        """Protect a branch, in place of how it was protected. `by_rules`: by a rule set, which another endpoint tells.

        `conversations`: review threads must be resolved; `queue`: merges only through a merge queue with this method
        (squash, merge, rebase); `exempt`: whose merge calls nothing of this holds, although the state says BLOCKED.
        """
        with self.world.lock:
            repo.thing.protections[branch] = Protection(
                checks or [],
                strict,
                reviews,
                conversations,
                queue,
                by_rules,
                frozenset(person.id for person in exempt),
            )
            repo.thing.bare.protect([f"refs/heads/{name}" for name in repo.thing.protections])

    def rules(
        self, repo: RepoHandle, *kinds: str, include: Sequence[str] = ("~ALL",), exclude: Sequence[str] = ()
    ) -> None:
        """One more rule set: rules of these kinds, as GitHub calls them, for the branches that it includes.

        Of all kinds only `deletion` is enforced.
        """
        with self.world.lock:
            made = RuleSet(self.world.new_id(), kinds, tuple(include), tuple(exclude))
            repo.thing.rule_sets.append(made)

    def publishes(self, repo: RepoHandle, branch: str) -> None:
        """A web site is made from this branch; "": by a workflow."""
        with self.world.lock:
            repo.thing.site_from = branch

    def queue(self, repo: RepoHandle, branch: str) -> QueueHandle:
        """The merge queue of a branch, as its operator."""
        return QueueHandle(self.world, self.url, repo.thing, branch)

    def merges_in_background(self, seconds: int) -> None:
        """How long `merge-async` takes from now on; 0: until the next request."""
        with self.world.lock:
            self.world.background_seconds = seconds

    def large_files(self, repo: RepoHandle) -> Path:
        """The folder with the objects of Git LFS of a repository, each by its name."""
        with self.world.lock:
            return self._lfs.folder(repo.thing)

    def lock_large_file(self, repo: RepoHandle, path: str, login: str) -> None:
        """Somebody runs `git lfs lock`."""
        with self.world.lock:
            self._lfs.locks.setdefault(repo.thing.id, {})[path] = login

    def ghost(self, thing: IssueHandle | CommentHandle | ReviewHandle) -> None:
        """Its author's account is deleted: `user` is null."""
        with self.world.lock:
            thing.thing.user = None

    def deletes_fork(self, pr: PullHandle) -> None:
        """The head's repository is gone: `head.repo` is null."""
        with self.world.lock:
            if pr.pull.head_repo is not None:
                del self.world.repos[pr.pull.head_repo.id]
            pr.pull.head_repo = None

    def hides(self, repo: RepoHandle, hidden: bool = True) -> None:
        """The repository answers 404 to everybody, by API and git; `hidden=False`: it is back."""
        with self.world.lock:
            repo.thing.hidden = hidden

    def shuts(self, repo: RepoHandle, status: int, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Everything that is asked of the repository gets this answer, by API and git; 0: no more."""
        with self.world.lock:
            repo.thing.shut = (status, message, dict(headers or {})) if status else None

    def renames(self, repo: RepoHandle, name: str) -> None:
        """Rename or transfer: the old name redirects."""
        with self.world.lock:
            self.world.renamed[repo.thing.full_name.lower()] = repo.id
            owner, _, repo.thing.name = name.partition("/")
            repo.thing.owner = self.world.user(owner)

    def shows_mergeable(self, pr: PullHandle, value: bool | None) -> None:
        """GitHub shows this stale `mergeable` until the next push; None: the truth again."""
        with self.world.lock:
            pr.pull.told_mergeable = value

    def forgets_mergeable(self, pr: PullHandle, reads: int) -> None:
        """GitHub computes again: this many reads of the PR say `mergeable: null` and UNKNOWN."""
        with self.world.lock:
            pr.pull.unknown_reads = reads

    def lag(self, kind: str, reads: int) -> None:
        """From now on new things of a kind show late: `comments`, `pulls` (lists), `merged` (reads of the PR), `refs`
        (git fetches that still get the old `refs/pull/N/head`)."""
        if kind not in ("comments", "pulls", "merged", "refs"):
            raise ValueError(f"nothing lags by the name of {kind!r}")
        with self.world.lock:
            self.world.lags[kind] = reads

    def before(self, match: str, call: Callable[[], object], nth: int = 1) -> None:
        """Call once before the `nth` matching request (`PUT */merge`) is looked at, in the server's thread."""
        self.faults.hook(match, call, nth, after=False)

    def after(self, match: str, call: Callable[[], object], nth: int = 1) -> None:
        """Call once after the `nth` matching request was applied, before it is answered."""
        self.faults.hook(match, call, nth, after=True)
