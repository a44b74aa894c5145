"""What git says when a remote does not do what was asked, sorted into who has to know.

Refused: it lasts for everybody who tries the same, so it is said at once. Missing: the operator of this machine can
mend it. Retry: it may pass by itself. What the host's programs say is told apart from what git says: a full disk over
there is none here.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from orchestrator.errors import Missing, Refused, Retry
from orchestrator.git import malformed
from orchestrator.git.access import Access
from orchestrator.git.run import GitError, Result
from orchestrator.quoting import inert

LONGEST = 2000

_ABSENT = re.compile(r"couldn't find remote ref (\S+)")
_CODE = re.compile(r"requested URL returned error: (\d{3})")
_PASSING_CODES = (408, 425, 429)  # of those from 400 to 499
_HOST_ERROR = "fatal: remote error:"
_BLANK = " \t\0"  # one of git's own messages ends with a NUL
_CHECK = re.compile(r"^error: object ([0-9a-f]{40,64}): (\w+): ", re.MULTILINE)
_OTHER_NAMES = re.compile(r"mismatched algorithms|unknown object format")
_TOO_LARGE = re.compile(r"pack exceeds maximum allowed size")
_QUOTA = re.compile(r"quota.*\bexceed|exceed.*\bquota|over.*\bquota", re.IGNORECASE)
_CLOSED = re.compile(
    r"(?=.*\brepository\b).*\b(?:disabled|archived|locked|blocked|suspended|unavailable)\b", re.IGNORECASE
)
_LATER = re.compile(r"rate limit|too many requests|try again|temporar|maintenance", re.IGNORECASE)
_REDIRECTED = re.compile(
    r"requested URL returned error: 30\d|redirects? followed|unable to update url base from redirection"
)
_PROXY = re.compile(r"CONNECT tunnel failed, response 4\d\d|Received HTTP code 4\d\d from proxy")
_TOKEN = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|Invalid username or"
    r"|requested URL returned error: 40[13]"
)
_NOT_FOUND = re.compile(
    r"repository '.*' not found|Repository not found|requested URL returned error: (?:404|410)"
    r"|does not appear to be a git repository"
)
_NOT_SERVED = re.compile(r"not our ref|Server does not allow request for unadvertised object")
_NO_GIT_HOST = re.compile(r"is this a git repository|not valid: |dumb http transport|http-push")
_NO_HTTPS = re.compile(r"remote-https?' is not a git command|Unable to find remote helper", re.IGNORECASE)
_CERTIFICATE = re.compile(r"certificate", re.IGNORECASE)
_HOST_FAILED = re.compile(r"corruption on the remote side|not our ref|did not send all necessary objects")
_PASSING = re.compile(
    r"Could not resolve|Failed to connect|Couldn't connect|Connection (?:refused|reset|timed out|was reset)|timed out"
    r"|Recv failure|Send failure|Empty reply|early EOF|hung up|unexpected disconnect|RPC failed|Operation too slow"
    r"|transfer closed|requested URL returned error: (?:408|425|429|5\d\d)|unable to access|bad line length|flush"
    r"|invalid index-pack output|index-pack failed|remote failure|HTTP/2 stream|TLS|SSL",
    re.IGNORECASE,
)
_MOVED = re.compile(r"but expected|reference already exists|incorrect old value")
_UNKNOWN = re.compile(
    r"remote failure|Internal Server Error|unpacker error|failed to update ref|cannot lock ref|timeout", re.IGNORECASE
)

_LACKS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_CLOSED_HERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EFBIG)
_NOT_WRITTEN = re.compile(
    rf"^(?:error|fatal|mkdir|mv): (?!unable to access).*: (?:{'|'.join(map(os.strerror, _CLOSED_HERE))})$", re.MULTILINE
)


class MalformedObject(Refused):
    """What was to be fetched holds an object that a check of git's refuses."""


class Unreachable(Missing):
    """A remote that does not serve us until somebody acts. `why`: the same in few words, without what is to be done."""

    def __init__(self, sentence: str, why: str, redirects: bool = False) -> None:
        super().__init__(sentence)
        self.why = why
        self.redirects = redirects


@dataclass(frozen=True)
class Said:
    """Git's own words, without warnings and advice, and those of the host's programs, without git's prefix."""

    own: str
    host: str

    @classmethod
    def read(cls, stderr: str) -> Said:
        own: list[str] = []
        host: list[str] = []
        answers = False  # the host's last words, as git repeats them
        for line in re.split(r"[\r\n]+", stderr):
            if line.startswith("remote:"):
                host.append(line.removeprefix("remote:").strip(_BLANK))
            elif not line.startswith(("warning:", "hint:")):
                answers = answers or line.startswith(_HOST_ERROR)
                if answers:
                    host.append(line.removeprefix(_HOST_ERROR).strip(_BLANK))
                own.append(line.strip(_BLANK))
        return cls("\n".join(filter(None, own)), "\n".join(filter(None, host)))

    @property
    def code(self) -> int:
        """Of the HTTP answer that git gave up at; 0 where it names none."""
        found = _CODE.search(self.own)
        return int(found[1]) if found else 0

    @property
    def last(self) -> str:
        """The last words: the host's, who knows the reason, where it said something."""
        return (self.host or self.own or "nothing").rpartition("\n")[2][:LONGEST]

    @property
    def told(self) -> str:
        """The last words as a sentence."""
        return f"{'The host' if self.host else 'Git'} said: {self.last}"


def lacks_room(trouble: OSError | GitError) -> bool:
    """Disk, inodes, open files or memory of this machine are used up."""
    if isinstance(trouble, OSError):
        return trouble.errno in _LACKS
    own = Said.read(trouble.stderr).own.lower()
    return any(os.strerror(number).lower() in own for number in _LACKS)


def explain(error: GitError, access: Access) -> Exception:
    """Refused for what lasts, Missing when the operator must act, Retry when it may pass, else `error` as it is."""
    if absent_ref(error):
        return error
    if error.timed_out:
        return Retry(f"The git host of {access.url} did not finish in time.")
    said = Said.read(error.stderr.replace(access.url.rstrip("/"), "the remote"))  # it may be called `tls-certificates`
    lasting = _lasting(said, f"the repository at {access.url}") or _of_the_operator(said, access)
    if lasting or lacks_room(error):
        return lasting or error
    if _HOST_FAILED.search(f"{said.own}\n{said.host}") or (said.code and said.host):
        return Retry(f"The git host of {access.url} did not do what was asked: {said.last}")
    if _PASSING.search(said.own):
        return Retry(f"The git host of {access.url} could not be reached: {said.last}")
    return error


def _lasting(said: Said, where: str) -> Refused | None:
    """What no waiting changes: of the history, of the repository's standing, of its host's limits."""
    if found := _CHECK.search(said.own):
        return MalformedObject(
            f"The history of {where} holds object {found[1]}, which git's check `{found[2]}` refuses: "
            f"{malformed.why(found[2])}. Nothing was fetched, and every try will end so until the branches that have "
            "it are rewritten without it, for instance with `git filter-repo`."
        )
    if found := _CHECK.search(said.host):
        return Refused(
            f"The git host refuses object {found[1]} for {where} (its check `{found[2]}`). Nothing was pushed, and "
            "every try will end so until the change does without it or whoever runs the host lets it in."
        )
    if _OTHER_NAMES.search(said.own):
        return Refused(
            f"The objects of {where} are named by SHA-256, and the daemon works with SHA-1 only, so nothing was "
            "fetched. Convert the repository, or take it out of GITHUB_REPO."
        )
    if said.code == 413 or _TOO_LARGE.search(said.host):
        return Refused(
            f"What was sent to {where} is more than its host takes at once, so nothing was pushed. Make the change "
            "smaller, or ask whoever runs the host to raise that limit."
        )
    if _QUOTA.search(said.host):
        return Refused(
            f"The git host has no room left for {where}, so nothing was pushed. Make room there, or have its quota "
            f"raised. {inert(said.told)}"
        )
    closed = _CLOSED.search(said.host) and not _LATER.search(said.host)
    if said.code == 451 or (closed and (said.code == 403 or _HOST_ERROR in said.own)):
        return Refused(
            f"The git host has closed {where}, and every try will end so until its owner, or whoever runs the host, "
            f"has opened it. {inert(said.told)}"
        )
    return None


def _of_the_operator(said: Said, access: Access) -> Missing | None:
    """What somebody at this machine can mend, or nobody else."""
    url, told = access.url, said.told
    if _REDIRECTED.search(said.own):
        sentence = f"{url} redirects elsewhere, where the token is not sent. Was it renamed? Check GITHUB_REPO."
        return Unreachable(sentence, "it redirects elsewhere, where the token is not sent", redirects=True)
    if _PROXY.search(said.own):
        sentence = f"The proxy on the way to {url} lets nothing through. Check HTTPS_PROXY and NO_PROXY. {told}"
        return Unreachable(sentence, "the proxy on the way lets nothing through")
    if _TOKEN.search(said.own) and not _LATER.search(said.host):
        return Unreachable(
            f"{url} refuses the token. Check that GITHUB_TOKEN is valid and may read and write the contents of this "
            f"repository. {told}",
            "it refuses the daemon's token" if access.token else "it asks for a login",
        )
    if _NOT_FOUND.search(said.own):
        sentence = f"There is no repository at {url}, or the token may not see it. Check GITHUB_REPO."
        hidden = "there is no repository, or the daemon's token may not see it"
        return Unreachable(sentence, hidden if access.token else "there is no repository that anybody may see")
    if _NO_GIT_HOST.search(said.own):
        return no_git_host(access)
    if _NO_HTTPS.search(said.own):
        return Missing("The installed git cannot use HTTPS: it has no `git-remote-https`. Install git whole.")
    if _CERTIFICATE.search(said.own):
        return Unreachable(f"The certificate of {url} is not trusted. {told}", "its certificate is not trusted")
    if found := _NOT_WRITTEN.search(said.own):
        return Missing(
            f"What comes from {url} cannot be written on this machine. Check the disk, and whose the daemon's folder "
            f"is. Git said: {found[0]}"
        )
    if 400 <= said.code < 500 and said.code not in (403, *_PASSING_CODES):
        sentence = f"The git host of {url} does not take the daemon's request. Check GITHUB_API_URL. {told}"
        return Unreachable(sentence, f"its host answers {said.code}")
    return None


def no_git_host(access: Access) -> Unreachable:
    """The answer was no git at all."""
    sentence = f"{access.url} is not a git repository or its host is not a git host. Check GITHUB_API_URL."
    return Unreachable(sentence, "it is no git repository")


def not_served(asked: Result) -> bool:
    """Whether the host does not give a commit that was asked for by its name, since it has none or not for this."""
    return asked.code != 0 and _NOT_SERVED.search(asked.err.decode("utf-8", "replace")) is not None


def absent_ref(error: GitError) -> str | None:
    """The ref that a fetch asked for and the remote does not have."""
    found = _ABSENT.search(error.stderr)
    return found.group(1) if found else None


def rejected(answer: str, branch: str, pushed: Result) -> bool:
    """True when the branch is not where it was expected. Raises Retry or Refused for every other no."""
    summary = answer.rpartition("\t")[2]
    said = Said.read(pushed.err.decode("utf-8", "replace"))
    host = said.host[:LONGEST]
    if summary.startswith("[rejected]") or _MOVED.search(f"{summary}\n{host}"):
        return True
    if lasting := _lasting(said, "this repository"):
        raise lasting
    if _UNKNOWN.search(summary) and "exists; cannot create" not in host:
        raise Retry(f"The push to {branch} did not go through: {summary} {said.last}")
    reason = summary.removeprefix("[remote rejected]").strip().removeprefix("(").removesuffix(")")
    raise Refused(f"The push to `{branch}` was refused: {reason}." + (f"\n{host}" if host else ""))
