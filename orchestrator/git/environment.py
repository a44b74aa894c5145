"""What a git child gets to know: where it works, who commits, which remote it may use, and fixed settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.git.access import Access
from orchestrator.git.malformed import HARMLESS

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_REMOTE_ENVIRONMENT = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")

_FIXED = {
    "HOME": "/dev/null",  # nothing can lie below it: no .netrc, no .config/git
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a planted refs/replace/* would show the daemon another history
    "GIT_DEFAULT_HASH": "sha1",
    "GIT_DEFAULT_REF_FORMAT": "files",
    "GIT_EDITOR": "false",
}

_SETTINGS = (
    ("core.fsync", "committed"),  # saved work and commits survive a loss of power
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.quotePath", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("http.followRedirects", "false"),
    ("http.sslVerify", "true"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("diff.ignoreSubmodules", "all"),
    ("commit.gpgSign", "false"),
    ("push.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("safe.directory", "*"),
    ("transfer.fsckObjects", "true"),
    *((f"fetch.fsck.{check}", "warn") for check in HARMLESS),
)


@dataclass(frozen=True)
class Identity:
    """Who commits."""

    name: str
    email: str


@dataclass(frozen=True)
class Place:
    """The repository a call works on: `git_dir`, and for a linked worktree the three paths that pin it.

    `incoming`: where new objects go, and the hooks that let them in, during a fetch; see there.
    """

    git_dir: Path
    common_dir: Path | None = None
    work_tree: Path | None = None
    incoming: Path | None = None

    @property
    def variables(self) -> dict[str, str]:
        pinned = {"GIT_DIR": str(self.git_dir), "GIT_COMMON_DIR": str(self.common_dir or self.git_dir)}
        if self.incoming is not None:
            pinned |= {
                "GIT_OBJECT_DIRECTORY": str(self.incoming / "objects"),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.git_dir / "objects"),
            }
        if self.work_tree is not None:
            return pinned | {"GIT_WORK_TREE": str(self.work_tree)}
        # Newer git reads .gitattributes of a bare repository's HEAD; a PR's attributes must not steer us (A36, A56).
        return pinned | {"GIT_ATTR_SOURCE": EMPTY_TREE}


@dataclass(frozen=True)
class Scratch:
    """For a command whose index and new objects lie in a `folder` of their own; `wrap` builds walls around it.

    Without walls it must not read files that others wrote: the config of a repository nested among them runs programs,
    whatever our settings say (A55).
    """

    folder: Path
    objects: tuple[Path, ...]  # those that are there already, to be read
    wrap: Callable[[Sequence[str], Path, Mapping[str, str]], tuple[list[str], dict[str, str]]] | None = None
    index: str = "index"  # its name in the folder

    @property
    def variables(self) -> dict[str, str]:
        return {
            "GIT_INDEX_FILE": str(self.folder / self.index),
            "GIT_OBJECT_DIRECTORY": str(self.folder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(map(str, self.objects)),
        }


def environment(
    at: Place | None, access: Access | None, identity: Identity | None, scratch: Scratch | None
) -> dict[str, str]:
    """The whole environment of a git child: nothing else reaches it."""
    settings = list(_SETTINGS)
    variables = {"PATH": os.environ.get("PATH", os.defpath), **_FIXED}
    # Stronger than any protocol.*.allow that stands in a config file.
    variables["GIT_ALLOW_PROTOCOL"] = access.protocol if access else ""
    variables |= at.variables if at else {"GIT_DIR": "/dev/null"}
    if at is not None and at.incoming is not None:
        settings.append(("core.hooksPath", str(at.incoming / "hooks")))
        settings.append(("core.alternateRefsCommand", "true"))  # they are the repository's own, which git knows
    if access is not None:
        settings += [(f"protocol.{access.protocol}.allow", "always"), *access.settings]
        variables |= {name: os.environ[name] for name in _REMOTE_ENVIRONMENT if name in os.environ}
    if identity is not None:
        for role in ("AUTHOR", "COMMITTER"):
            variables |= {f"GIT_{role}_NAME": identity.name, f"GIT_{role}_EMAIL": identity.email}
    if scratch is not None:
        variables |= scratch.variables
        settings.append(("core.fsync", "none"))  # what counts is written again when it is let in
    variables["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
