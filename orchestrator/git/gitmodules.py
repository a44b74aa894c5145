"""The submodules that a commit declares: where each one lies, what it is called, and where its repository is.

`.gitmodules` is read from the commit, by git's own parser, and is a stranger's text where the commit is. A name or path
that git could be led astray with is not taken, and of addresses only those that the daemon may fetch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.errors import Misconfigured
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror

FILE = ".gitmodules"
GITLINK = "160000"
_KEY = re.compile(r"submodule\.(.+)\.(path|url|update)", re.DOTALL)
_SCP = re.compile(r"(?:[^@/:]*@)?([^@/:]+):(?!:)(.+)")  # git@host:owner/name
_LONGEST = 200  # characters of a name; it becomes a path
_LARGEST = 4 * 1024 * 1024  # bytes of what the file holds


class Unusable(Exception):
    """A submodule that is not brought; the words complete "it is empty, because ..."."""


@dataclass(frozen=True)
class Declared:
    """One submodule: its folder and name, the address as it is written, and the commit that its gitlink shows."""

    path: str
    name: str
    url: str
    sha: str


def gitlinks(mirror: Mirror, sha: str) -> dict[str, str]:
    """The commits that the gitlinks of a commit or tree show, by path."""
    return {path: link for mode, link, path in _listed(mirror, sha) if mode == GITLINK}


def declared(mirror: Mirror, sha: str) -> list[Declared]:
    """The gitlinks that `.gitmodules` names, in the order of their paths; those with `update = none` apart.

    The last word counts, as for git, where a name or a path stands there twice.
    """
    links, there = {}, False
    for mode, found, path in _listed(mirror, sha):
        if mode == GITLINK:
            links[path] = found
        there |= path == FILE and mode.startswith("10")
    if not links or not there:
        return []
    words = ("config", f"--blob={sha}:{FILE}", "-z", "--no-includes", "--list")
    said = mirror.call(*words, cut=_LARGEST, accept=(0, 128))
    told: dict[str, dict[str, str]] = {}
    for entry in said.paths:
        key, _, value = entry.partition("\n")
        about = _KEY.fullmatch(key)
        if about is not None:
            told.setdefault(about[1], {})[about[2]] = value
    named = {one.get("path", "").rstrip("/"): name for name, one in told.items() if one.get("update") != "none"}
    return [
        Declared(path, named[path], told[named[path]].get("url", ""), links[path]) for path in links if path in named
    ]


def check_names(found: list[Declared]) -> dict[str, str]:
    """Why some of them cannot be put where git puts them, by path."""
    wrong: dict[str, str] = {}
    taken: list[str] = []
    for one in found:
        parts = one.name.split("/")
        if not _printable(one.name + one.path) or len(one.name) > _LONGEST or {"", ".", ".."}.intersection(parts):
            wrong[one.path] = "its name is not one that git takes; give it a plain name in `.gitmodules`"
            continue
        folder = f"{one.name.casefold()}/"
        if any(folder.startswith(other) or other.startswith(folder) for other in taken):
            wrong[one.path] = "its name lies inside of another submodule's, or is the same; rename it in `.gitmodules`"
            continue
        taken.append(folder)
    return wrong


def address(url: str, parent: str, root: Access) -> str:
    """The address to fetch from, without user and password. Raises Unusable for one that is not fetched.

    `parent`: the address of the repository that declares it, for relative ones. `root`: the watched repository; on its
    host every way of writing an address means the way that the daemon has.
    """
    if not url or not _printable(url):
        raise Unusable("it has no address; write one into `.gitmodules`")
    if url.startswith(("./", "../")):
        return _relative(url, parent)
    home = urlsplit(root.url)
    try:
        parts, port = urlsplit(url), _port(url)
    except ValueError:
        raise Unusable("its address cannot be read; correct it in `.gitmodules`") from None
    scp = _SCP.fullmatch(url) if "://" not in url else None
    host, path = (scp[1], scp[2]) if scp else (parts.hostname or "", parts.path)
    if home.hostname and host.lower() == home.hostname and (scp or _is_git_service(parts.scheme, port, root.url)):
        return f"{home.scheme}://{home.netloc}/{path.lstrip('/')}".rstrip("/")
    if scp or parts.scheme in ("ssh", "git", "git+ssh", "ssh+git"):
        raise Unusable("it is reached by another way than https, which is not used here; write an https address")
    found = f"https://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme == "https" else url
    try:
        local = Access(found).protocol != "https" or not host
    except (Misconfigured, ValueError):
        local = True
    if local and not (root.protocol == "file" and (url.startswith("/") or parts.scheme == "file")):
        raise Unusable("its address is not one that is fetched; write an https address into `.gitmodules`")
    return found.rstrip("/")


def shown(url: str) -> str:
    """An address for people, without what may be a password."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0].partition("#")[0])


def _port(url: str) -> int | None:
    return urlsplit(url).port if "://" in url else None


def _is_git_service(scheme: str, port: int | None, home: str) -> bool:
    """Whether an address on the host of `home` means the repositories there, and no service on a port of its own."""
    here = urlsplit(home)
    usual = {"http": 80, "https": 443}
    if scheme not in usual:
        return scheme != "file"
    known = here.port or usual[here.scheme]
    return port == known if port else scheme != here.scheme or known == usual[scheme]


def _relative(url: str, parent: str) -> str:
    """As git resolves it: each `../` takes away one more of the parent's own parts."""
    parts = urlsplit(parent)
    front = f"{parts.scheme}://{parts.netloc}" if parts.scheme else ""
    folders = [one for one in parts.path.split("/") if one]
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            if not folders:
                raise Unusable("its address leads above the host; correct it in `.gitmodules`")
            folders.pop()
        url = url.partition("/")[2]
    return f"{front}/{'/'.join([*folders, url])}".rstrip("/")


def _listed(mirror: Mirror, sha: str) -> list[tuple[str, str, str]]:
    """Mode, object and path of each entry."""
    found = []
    for entry in mirror.call("ls-tree", "-r", "-z", "--full-tree", sha).paths:
        about, _, path = entry.partition("\t")
        mode, _, name = about.split(" ")
        found.append((mode, name, path))
    return found


def _printable(text: str) -> bool:
    """No control characters, which config files and terminals read in ways of their own; other bytes are names."""
    return not any(ord(char) < 32 or ord(char) == 127 for char in text)
