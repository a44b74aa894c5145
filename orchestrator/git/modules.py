"""The mirrors of the repositories that are submodules: `<base>/modules/<digest of the address>.git`.

All of one watched repository are known to its own mirror, the root, also those of submodules of submodules; what is
used in two places is fetched once. The token goes along where scheme, host and port are the root's.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.trouble import Unreachable, explain, not_served

_ONE_COMMIT = 600.0  # seconds


def folder(mirror: Mirror) -> Path:
    """Where they lie."""
    return mirror.root.base / "modules"


def module(mirror: Mirror, url: str) -> Mirror:
    """The mirror of the repository at `url`; it need not exist yet."""
    root = mirror.root
    found = root.modules.get(url)
    if found is None:
        path = folder(root) / f"{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:20]}.git"
        made = Mirror(path, root.access.elsewhere(url), root.identity, sandbox=root.sandbox, submodules=root.submodules)
        made.root = root
        found = root.modules.setdefault(url, made)
    return found


def use(module: Mirror) -> None:
    """Make it where there is none, and let the housekeeping see that somebody uses it."""
    module.base.mkdir(parents=True, exist_ok=True)
    with module.lock:
        module.make()
        os.utime(module.path)


def refresh(module: Mirror) -> None:
    """Bring every branch and tag to a mirror that is there. Raises as `Mirror.fetch`.

    Where a repository was renamed it is followed without the token, as whoever it leads to may be somebody else.
    """
    try:
        _bring(module)
    except Unreachable as no:
        if not no.redirects or module.access.token is None:
            raise
        module.access = module.access.anonymous
        _bring(module)


def _bring(module: Mirror) -> None:
    module.remote_sha("refs/heads/main")  # a web page would pass for a repository without branches
    module.fetch()


def fetch_commit(module: Mirror, sha: str) -> None:
    """Bring one commit that no branch or tag needs to hold, if the remote gives it. Raises as `Mirror.fetch`."""
    flags = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
    words = ("fetch", *flags, "--end-of-options", module.access.url, sha)
    with module.lock:
        asked = module.remote(*words, at=module.place, timeout=_ONE_COMMIT, accept=(0, 1, 128))
    if asked.code and not not_served(asked):
        raise explain(GitError(["fetch", sha], asked.code, asked.err), module.access)


def is_published(module: Mirror, sha: str) -> bool:
    """Whether a branch or tag of the remote, as last fetched, holds the commit."""
    if module.sha(sha) is None:
        return False
    return not module.call("rev-list", "--max-count=1", sha, "--not", "--remotes=origin", "--tags").text
