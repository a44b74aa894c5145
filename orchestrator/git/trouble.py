"""What git says when a remote does not do what was asked, sorted into who has to know."""

from __future__ import annotations

import re

from orchestrator.errors import Missing, Refused, Retry
from orchestrator.git.access import Access
from orchestrator.git.run import GitError, Result

LONGEST = 2000

_ABSENT = re.compile(r"couldn't find remote ref (\S+)")
_REDIRECTED = re.compile(
    r"requested URL returned error: 30\d|redirects? followed|unable to update url base from redirection"
)
_TOKEN = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|Invalid username or"
    r"|requested URL returned error: 40[13]"
)
_NOT_FOUND = re.compile(
    r"repository '.*' not found|Repository not found|requested URL returned error: 404"
    r"|does not appear to be a git repository"
)
_NO_GIT_HOST = re.compile(r"is this a git repository|not valid: |dumb http transport|http-push")
_CERTIFICATE = re.compile(r"certificate", re.IGNORECASE)
_PASSING = re.compile(
    r"Could not resolve|Failed to connect|Couldn't connect|Connection (?:refused|reset|timed out|was reset)|timed out"
    r"|Recv failure|Send failure|Empty reply|early EOF|hung up|unexpected disconnect|RPC failed|Operation too slow"
    r"|transfer closed|requested URL returned error: (?:408|429|5\d\d)|unable to access|bad line length|flush"
    r"|invalid index-pack output|index-pack failed|remote failure|HTTP/2 stream|TLS|SSL",
    re.IGNORECASE,
)
_MOVED = re.compile(r"but expected|reference already exists|incorrect old value")
_UNKNOWN = re.compile(
    r"remote failure|Internal Server Error|unpacker error|failed to update ref|cannot lock ref|timeout", re.IGNORECASE
)


def explain(error: GitError, access: Access) -> Exception:
    """Missing when the operator must act, Retry when it may pass by itself, otherwise `error` as it is."""
    said = error.stderr.replace(access.url.rstrip("/"), "the remote")  # it may be called `tls-certificates`
    if absent_ref(error):
        return error
    if error.timed_out:
        return Retry(f"The git host of {access.url} did not finish in time.")
    if _REDIRECTED.search(said):
        return Missing(
            f"{access.url} redirects elsewhere, where the token is not sent. Was it renamed? Check GITHUB_REPO."
        )
    if _TOKEN.search(said):
        return Missing(
            f"{access.url} refuses the token. Check that GITHUB_TOKEN is valid and may read and write the contents of "
            f"this repository. Git said: {_last_line(said)}"
        )
    if _NOT_FOUND.search(said):
        return Missing(f"There is no repository at {access.url}, or the token may not see it. Check GITHUB_REPO.")
    if _NO_GIT_HOST.search(said):
        return no_git_host(access)
    if _CERTIFICATE.search(said):
        return Missing(f"The certificate of {access.url} is not trusted. Git said: {_last_line(said)}")
    if _PASSING.search(said):
        return Retry(f"The git host of {access.url} could not be reached: {_last_line(said)}")
    return error


def no_git_host(access: Access) -> Missing:
    """The answer was no git at all."""
    return Missing(f"{access.url} is not a git repository or its host is not a git host. Check GITHUB_API_URL.")


def absent_ref(error: GitError) -> str | None:
    """The ref that a fetch asked for and the remote does not have."""
    found = _ABSENT.search(error.stderr)
    return found.group(1) if found else None


def _remote_lines(err: bytes) -> str:
    """What the remote's own programs said to a push, without git's prefix, shortened."""
    said = err.decode("utf-8", "replace").splitlines()
    lines = [line.removeprefix("remote:").strip() for line in said if line.startswith("remote:")]
    return "\n".join(line for line in lines if line)[:LONGEST]


def _last_line(said: str) -> str:
    """The last thing git said that is not advice."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("hint:")]
    return lines[-1][:LONGEST] if lines else "nothing"


def rejected(answer: str, branch: str, pushed: Result) -> bool:
    """True when the branch is not where it was expected. Raises Retry or Refused for every other no."""
    summary = answer.rpartition("\t")[2]
    said = _remote_lines(pushed.err)
    if summary.startswith("[rejected]") or _MOVED.search(f"{summary}\n{said}"):
        return True
    if _UNKNOWN.search(summary) and "exists; cannot create" not in said:
        raise Retry(f"The push to {branch} did not go through: {summary} {_last_line(said)}")
    reason = summary.removeprefix("[remote rejected]").strip().removeprefix("(").removesuffix(")")
    raise Refused(f"The push to `{branch}` was refused: {reason}." + (f"\n{said}" if said else ""))
