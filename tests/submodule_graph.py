"""Repositories with submodules as remotes have them, and what an ordinary clone with all of them looks like."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.gitremote import Remote, run_git


@dataclass(frozen=True)
class Link:
    """A gitlink at `path`; `name` and `url` as `.gitmodules` has them."""

    path: str
    url: str
    sha: str
    name: str = ""


def gitmodules(links: list[Link]) -> bytes:
    """The file for these links."""
    pieces = [f'[submodule "{one.name or one.path}"]\n\tpath = {one.path}\n\turl = {one.url}\n' for one in links]
    return "".join(pieces).encode()


def commit(
    remote: Remote,
    links: list[Link],
    files: Mapping[str, bytes | None] | None = None,
    ref: str = "refs/heads/main",
    told: bytes | None = None,
) -> str:
    """A commit with these gitlinks and `.gitmodules` (or `told` in its place) beside other changes; moves `ref`."""
    before = remote.sha(ref)
    sha = remote.commit({**(files or {}), ".gitmodules": gitmodules(links) if told is None else told}, ref)
    index = remote.path / "scratch-index"
    run_git("read-tree", sha, cwd=remote.path, index=index)
    for one in links:
        run_git("update-index", "--add", "--cacheinfo", f"160000,{one.sha},{one.path}", cwd=remote.path, index=index)
    tree = run_git("write-tree", cwd=remote.path, index=index)
    parents = ["-p", before] if before else []
    made = run_git("commit-tree", *parents, "-m", "With submodules", tree, cwd=remote.path)
    run_git("update-ref", ref, made, cwd=remote.path)
    return made


def snapshot(top: Path) -> dict[str, str]:
    """Every file by its path, with its content and whether it may be run; what git itself keeps apart."""
    found = {}
    for folder, inner, names in os.walk(top):
        inner[:] = [name for name in inner if name != ".git"]
        for name in names:
            path = Path(folder, name)
            if name == ".git":
                continue
            content = f"link {path.readlink()}" if path.is_symlink() else path.read_bytes().hex()
            found[str(path.relative_to(top))] = f"{os.access(path, os.X_OK)} {content}"
    return found


def cloned(remote: Remote, folder: Path, sha: str) -> dict[str, str]:
    """What `git clone --recurse-submodules` has of the commit; a submodule that cannot be had is empty."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/dev/null",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.file.allow",
        "GIT_CONFIG_VALUE_0": "always",
    }
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(remote.path), str(folder)], check=True, **quiet)  # type: ignore[call-overload]
    subprocess.run(["git", "-C", str(folder), "checkout", "-q", sha], check=True, **quiet)  # type: ignore[call-overload]
    _update(folder, quiet)
    return snapshot(folder)


def _update(folder: Path, quiet: Mapping[str, object]) -> None:
    """One submodule after the other, so that one that fails does not keep the others."""
    listed = run_git("-c", "core.quotePath=false", "ls-files", "-s", cwd=folder).splitlines()
    for line in listed:
        about, _, path = line.partition("\t")
        if about.startswith("160000"):
            words = ["git", "-C", str(folder), "submodule", "update", "-q", "--init", "--", path]
            done = subprocess.run(words, check=False, **quiet)  # type: ignore[call-overload]
            if done.returncode == 0:
                _update(folder / path, quiet)
