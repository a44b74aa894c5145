"""HTTP to GitHub: PyGithub's requester with our own limits, retries and error classes.

Guaranteed: one `Github` object per thread (a shared one swaps answers between threads under load); no
write is ever repeated here; a read is tried three times; a redirect is an error (PyGithub follows a 301
without its query string and returns an empty success for a 307); an answer that is not whole JSON is
trouble, never an empty list. While GitHub limits us every thread waits in front of the gate: a limited
request was refused before it did anything, so it is sent again afterwards, whatever its method.

Every text that leaves in a write is redacted here (`outgoing`).

What a caller meets: `Answer` for 2xx and 304, `ApiError` for a definite no, `Unknown` when a write may or
may not have happened, `Retry` when a read failed for reasons that pass; `Shut`, which is one, when the no is about the
whole repository.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import github
import requests
import tenacity
from github import Auth, Github

from orchestrator import __version__
from orchestrator.clock import Clock, Stop
from orchestrator.errors import Retry, Stopped
from orchestrator.github.outgoing import redacted
from orchestrator.github.shut import Shut, refusal
from orchestrator.github.trouble import SECONDARY_PAUSE, limited, quota, what_happened
from orchestrator.log import get
from orchestrator.record import Quota
from orchestrator.redactor import OURS

READ_TRIES = 3
REFUSALS = 2  # answers 401 in a row that mean it
TIMEOUT = 15  # seconds for the connection and between two bytes
IMPATIENCE = 5.0  # seconds that a write which must not wait may stand behind others


class ApiError(Exception):
    """GitHub said no, definitely: `status`, its `message`, and the decoded `errors`."""

    def __init__(self, status: int, message: str, errors: Any = None) -> None:
        detail = f"{message} {json.dumps(errors)}" if errors else message
        super().__init__(f"GitHub answered {status}: {detail}"[:1000])
        self.status = status
        self.message = message
        self.errors = errors

    def says(self, words: str) -> bool:
        """Whether GitHub's sentence or its error list holds `words`, in any case."""
        return words.lower() in f"{self.message} {json.dumps(self.errors)}".lower()


class Unknown(Exception):
    """A write whose outcome is unknown (5xx, time-out, reset): read before it is repeated."""


class Moved(Exception):
    """The repository answers from another place."""


class TokenRefused(Retry):
    """GitHub answers 401, and did so when asked once more; nothing happened."""


class _Passing(Exception):
    """A read that failed for reasons that pass."""


class _Limited(Exception):
    """Refused before anything was done; `Transport` waits in front of its gate."""


class NoJson(_Passing):
    """An answer that is not whole JSON; the cause of a Retry then, and perhaps it is not GitHub who answers."""


class _Unauthorized(_Passing):
    """A 401, which a token that is fine can meet once."""


@dataclass(frozen=True)
class Answer:
    """A good answer; `data` is None for 204 and 304."""

    status: int
    headers: Mapping[str, str]
    data: Any

    @property
    def date(self) -> float:
        """GitHub's clock, seconds since 1970."""
        return parsedate_to_datetime(self.headers["date"]).timestamp() if "date" in self.headers else 0.0

    @property
    def next(self) -> str | None:
        """The address of the next page as GitHub names it."""
        found = re.search(r'<([^>]+)>;\s*rel="next"', self.headers.get("link", ""))
        return found.group(1) if found else None


class Transport:
    """All requests of one token. Thread-safe."""

    def __init__(self, url: str, token: str, clock: Clock, stop: Stop, write_gap: float | None = None) -> None:
        """`write_gap`: seconds between two writes; None: what GitHub asks for, nothing for a server of one's own."""
        self.url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._stop = stop
        host = urllib.parse.urlsplit(self.url).hostname or ""
        self.public = host == "api.github.com" or host.endswith(".ghe.com")
        self._gap = (1.0 if self.public else 0.0) if write_gap is None else write_gap
        self._local = threading.local()
        self._waited = threading.local()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._opened: list[Github] = []
        self._paused_until = 0.0
        self._pauses = 0
        self._last_write = 0.0
        self.date = 0.0  # GitHub's clock in its first answer
        self._refused = 0
        self._taken = False  # answers 401 in a row
        self.quota: Quota | None = None

    def get(self, path: str, parameters: Mapping[str, str | int] | None = None, etag: str | None = None) -> Answer:
        """Read one page. ApiError for a definite no; Retry after three passing failures."""
        headers = {"If-None-Match": etag} if etag else {}
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            stop=_tried_enough,
            wait=tenacity.wait_exponential(multiplier=0.5, max=4) + tenacity.wait_random(0, 0.5),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return attempts(self._once, "GET", path, parameters or {}, headers, None)
        except _Unauthorized as trouble:
            raise TokenRefused(str(trouble)) from trouble
        except _Passing as trouble:
            raise Retry(f"GET {path} failed {READ_TRIES} times: {trouble}") from trouble

    def pages(self, path: str, **parameters: str | int) -> Iterator[Any]:
        """Every item of a list, through every page that GitHub links. Retry when GitHub counts more than it shows."""
        answer = self.get(path, {"per_page": 100, **parameters})
        total = answer.data.get("total_count", 0) if isinstance(answer.data, dict) else 0
        seen = 0
        while True:
            items = items_of(answer.data)
            seen += len(items)
            yield from items
            if answer.next is None:
                break
            answer = self.get(answer.next)
        if seen < total:
            raise Retry(f"GET {path}: GitHub counts {total} items and showed {seen}")

    def write(self, method: str, path: str, body: Mapping[str, Any] | None = None, patient: bool = True) -> Answer:
        """Change something, once. ApiError, Retry: nothing happened; Unknown: it may have happened.

        `patient` False: Retry instead of a wait, for a write whose reasons would be stale after it.
        """
        asked = self._clock.now()
        outgoing = None if body is None else redacted(body)
        while True:
            # Before the lock, which must not be held through a limit: others would wait behind it, unasked.
            self._gate(patient)
            with self._writing:
                self.sleep(self._last_write + self._gap - self._clock.now())
                if not patient and self._clock.now() - asked > IMPATIENCE:
                    raise Retry("Other changes took their time.", 0.0)
                try:
                    return self._ask(method, path, {}, {}, outgoing)
                except _Limited:
                    continue
                except _Unauthorized as trouble:
                    raise TokenRefused(str(trouble)) from trouble
                except _Passing as trouble:
                    raise Unknown(f"{method} {path}: {trouble}") from trouble
                finally:
                    self._last_write = self._clock.now()

    def graphql(self, name: str, query: str, variables: Mapping[str, Any]) -> Any:
        """Ask a read-only GraphQL query; its `data`. Retry when GitHub reports errors or cannot be reached."""
        body = {"query": query, "operationName": name, "variables": dict(variables)}
        try:
            answer = self._once("POST", self._client().requester.graphql_url, {}, {}, body)
        except _Passing as trouble:
            raise Retry(f"GraphQL {name}: {trouble}") from trouble
        if answer.data.get("errors"):
            raise Retry(f"GraphQL {name}: {answer.data['errors'][0].get('message', 'unknown error')}")
        return answer.data["data"]

    def mutate(self, name: str, query: str, variables: Mapping[str, Any], patient: bool = True) -> None:
        """A GraphQL mutation, once; waits and raises as `write`."""
        body = {"query": query, "operationName": name, "variables": dict(variables)}
        errors = self.write("POST", self._client().requester.graphql_url, body, patient).data.get("errors")
        if errors:
            raise ApiError(200, str(errors[0].get("message", "")), errors)

    @property
    def waits(self) -> int:
        """How often this thread waited for GitHub."""
        return int(getattr(self._waited, "times", 0))

    def sleep(self, seconds: float) -> None:
        """Wait for GitHub, if at all; Stopped when the daemon ends."""
        if seconds <= 0:
            return
        self._waited.times = self.waits + 1
        if self._clock.wait(seconds, self._stop):
            raise Stopped(self._stop.reason)

    @property
    def fingerprint(self) -> str:
        """Tells this token from others, and nothing of it."""
        return hashlib.sha256(f"{self.url} {self._token}".encode()).hexdigest()[:16]

    @property
    def refused(self) -> bool:
        """Whether GitHub does not take the token any more."""
        return self._refused >= REFUSALS

    def renew(self, token: str) -> bool:
        """Use this token from now on; whether it is another one."""
        with self._lock:
            if token == self._token:
                return False
            OURS.learn(token)
            self._token, self._local = token, threading.local()
        get().info("token_replaced")
        return True

    def forget(self) -> None:
        """This thread asks nothing any more: close its connection."""
        client: Github | None = getattr(self._local, "client", None)
        if client is not None:
            del self._local.client
            client.close()
            with self._lock:
                self._opened = [one for one in self._opened if one is not client]

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for client in self._opened:
                client.close()
            self._opened.clear()

    def _client(self) -> Github:
        client: Github | None = getattr(self._local, "client", None)
        if client is None:
            client = Github(
                base_url=self.url,
                auth=Auth.Token(self._token),
                retry=None,
                timeout=TIMEOUT,
                per_page=100,
                lazy=True,
                seconds_between_requests=None,
                seconds_between_writes=None,
                user_agent=f"orchestrator/{__version__}",
                api_version="2022-11-28",
            )
            # Private, and the only place where a redirect can be seen before PyGithub follows it.
            connection = client.requester._Requester__createConnection()  # type: ignore[attr-defined]
            connection.session.hooks["response"].append(_refuse_redirects)
            _take_surroundings(connection, self.url)
            self._local.client = client
            with self._lock:
                self._opened.append(client)
        return client

    def _once(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int],
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Answer:
        """Ask until GitHub does not limit us."""
        while True:
            self._gate()
            try:
                return self._ask(method, path, parameters, headers, body)
            except _Limited:
                continue

    def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int],
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Answer:
        try:
            status, seen, text = self._client().requester.requestJson(
                method, path, parameters=dict(parameters), headers=dict(headers), input=body
            )
        except (requests.RequestException, github.GithubException, AssertionError, ValueError, OSError) as error:
            raise _Passing(what_happened(error)) from error
        self._note(seen)
        pause = limited(status, seen, text)
        if pause is not None:
            self._pause(pause)
            raise _Limited
        self._pauses = 0
        self._note_token(status)
        return _judge(method, path, status, seen, text)

    def _gate(self, patient: bool = True) -> None:
        while (left := self._paused_until - self._clock.now()) > 0:
            if not patient:
                raise Retry(f"GitHub limits requests for another {left:.0f} s", left)
            self.sleep(left)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._pauses += 1
            if seconds == SECONDARY_PAUSE:
                seconds *= 2 ** min(self._pauses - 1, 4)
            self._paused_until = max(self._paused_until, self._clock.now() + seconds)
        get().warning("github_limits", seconds=round(seconds))

    def _note_token(self, status: int) -> None:
        with self._lock:
            before, self._refused = self._refused, self._refused + 1 if status == 401 else 0
            self._taken = self._taken or status != 401
        # A token that was never taken ends the start, with a sentence of its own.
        if before < REFUSALS <= before + 1 and status == 401 and self._taken:
            get().error("token_refused", next="no job goes on until it is taken again; see `orchestrator doctor`")
        elif before >= REFUSALS and status != 401:
            get().info("token_taken_again")

    def _note(self, headers: Mapping[str, str]) -> None:
        if not self.date and "date" in headers:
            self.date = parsedate_to_datetime(headers["date"]).timestamp()
        self.quota = quota(headers) or self.quota


def _tried_enough(call: tenacity.RetryCallState) -> bool:
    trouble = call.outcome.exception() if call.outcome else None
    return call.attempt_number >= (REFUSALS if isinstance(trouble, _Unauthorized) else READ_TRIES)


def items_of(data: Any) -> list[Any]:
    """The list in an answer: bare, or under the one key that holds it (check runs)."""
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), None)
    if not isinstance(data, list):
        raise Retry("GitHub answered something else than a list")
    return data


def _refuse_redirects(response: requests.Response, *_: Any, **__: Any) -> None:
    if response.status_code in (301, 302, 307, 308):
        response.close()  # else the connection stays open until it is collected
        raise Moved(f"{response.url} moved to {response.headers.get('location', 'an unnamed place')}")


def _take_surroundings(connection: Any, url: str) -> None:
    """Proxy and certificates as the environment names them; `requests` would read all of it with each request."""
    session = connection.session
    found = session.merge_environment_settings(url, {}, None, connection.verify, None)
    session.proxies, connection.verify, session.trust_env = found["proxies"], found["verify"], False


def _judge(method: str, path: str, status: int, headers: Mapping[str, str], text: str) -> Answer:
    if status in (204, 304):
        return Answer(status, headers, None)
    if status >= 500:
        raise _Passing(f"GitHub answered {status}")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise NoJson(f"the answer ({status}) is not whole JSON") from error
    if status < 400:
        return Answer(status, headers, data)
    if status == 401:
        why = data.get("message", "") if isinstance(data, dict) else ""
        raise _Unauthorized(f"GitHub refuses the token (401 {why})")
    said = data if isinstance(data, dict) else {}
    # The asynchronous merge explains itself under `details`.
    details = said.get("details") or {}
    message = str(said.get("message") or details.get("message", ""))
    if closed := refusal(method, path, status, headers, message):
        raise Shut(closed)
    needed = headers.get("x-accepted-github-permissions") if status == 403 else None
    if needed:
        message = f"{message.rstrip('.')}. The token needs the permission {needed}."
    raise ApiError(status, message, said.get("errors") or details or None)
