"""A repository as the remote side has it, made with real git, and what a person or an agent does in a worktree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from orchestrator.git.access import Access
from orchestrator.git.environment import Identity
from orchestrator.git.mirror import Mirror

BOT = Identity("The Bot", "bot@example.test")
LINK = "120000"
FILE = "100644"


def run_git(*args: str, cwd: Path, stdin: bytes = b"", index: Path | None = None) -> str:
    """Git as anybody else runs it: found by the folder, with the repository's own config."""
    env = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Alice", f"GIT_{role}_EMAIL": "alice@example.test"}
    if index is not None:
        env["GIT_INDEX_FILE"] = str(index)
    done = subprocess.run(["git", *args], cwd=cwd, env=env, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


class Remote:
    """A bare repository that commits are put into without a work tree."""

    def __init__(self, path: Path) -> None:
        """Made when there is none."""
        self.path = path
        if path.exists():
            return
        path.mkdir(parents=True)
        run_git("init", "--quiet", "--bare", "--initial-branch=main", cwd=path)

    def commit(
        self,
        files: Mapping[str, bytes | None],
        ref: str = "refs/heads/main",
        parent: str | None = None,
        modes: Mapping[str, str] | None = None,
    ) -> str:
        """Change these files (None: delete) on top of `parent`, or of what `ref` is at, and move `ref` there."""
        index = self.path / "scratch-index"
        index.unlink(missing_ok=True)
        parent = parent or self.sha(ref)
        if parent:
            run_git("read-tree", parent, cwd=self.path, index=index)
        lines = []
        for path, content in files.items():
            mode = (modes or {}).get(path, FILE) if content is not None else "0"
            blob = run_git("hash-object", "-w", "--stdin", cwd=self.path, stdin=content or b"")
            lines.append(f"{mode} {blob}\t{path}\0")
        info = "".join(lines).encode("utf-8", "surrogateescape")
        run_git("update-index", "-z", "--index-info", cwd=self.path, stdin=info, index=index)
        tree = run_git("write-tree", cwd=self.path, index=index)
        above = ["-p", parent] if parent else []
        subject = f"Change {', '.join(files)}".encode("utf-8", "surrogateescape")
        sha = run_git("commit-tree", *above, "-F", "-", tree, cwd=self.path, stdin=subject)
        run_git("update-ref", ref, sha, cwd=self.path)
        return sha

    def sha(self, ref: str) -> str | None:
        return run_git("for-each-ref", "--format=%(objectname)", ref, cwd=self.path) or None

    def hook(self, name: str, script: str) -> None:
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def mirror_of(remote: Remote, folder: Path) -> Mirror:
    """A mirror in `folder` that has the remote's main branch."""
    mirror = Mirror(folder / "mirror.git", Access(str(remote.path)), BOT)
    mirror.ensure()
    mirror.fetch("refs/heads/main")
    return mirror
