"""Git LFS over the same world: the batch API, and the objects themselves with the `basic` transfer.

As `docs/api` of git-lfs describes it, and as GitHub answers: the batch request takes the token as a password, what an
action names is called with the headers that the action gives, and an object that is there already has no actions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.twin.git_http import GitAnswer, user_of
from orchestrator.twin.world import Repository, World

PATH = re.compile(r"/([^/]+)/([^/]+?)(?:\.git)?/info/lfs/(?:objects/(batch|verify|[0-9a-f]{64})|(locks/verify))")
_MEDIA = "application/vnd.git-lfs+json"


@dataclass
class Lfs:
    """The large files of every repository, each in a folder beside it."""

    world: World
    locks: dict[int, dict[str, str]] = field(default_factory=dict)  # by repository: who has locked which path

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes, url: str) -> GitAnswer:
        """One request of an LFS client; `path` matches PATH."""
        found = PATH.fullmatch(path)
        if found is None:
            raise ValueError(path)
        owner, name = found[1], found[2]
        what = found[3] or found[4]
        with self.world.lock:
            user = user_of(self.world, headers)
            if user is None:
                return _said(401, {"message": "Credentials needed"}, {"LFS-Authenticate": 'Basic realm="GitHub"'})
            repo = self.world.find_repo(owner, name)
            if repo is None or not self.world.may(repo, user, "read"):
                return _said(404, {"message": "Not Found"}, login=user.login)
            asked = json.loads(body) if method == "POST" else {}
            writes = method == "PUT" or what.endswith("verify") or asked.get("operation") == "upload"
            if writes and not self.world.may(repo, user, "write"):
                return _said(403, {"message": f"{user.login} may not write here"}, login=user.login)
            if what == "locks/verify":
                held = self.locks.get(repo.id, {}).items()
                theirs = [{"id": path, "path": path, "owner": {"name": who}} for path, who in held if who != user.login]
                return _said(200, {"ours": [], "theirs": theirs}, login=user.login)
            if what == "batch":
                base = f"{url}/{owner}/{name}.git/info/lfs/objects"
                told = [self._offered(repo, asked["operation"], one, base, headers) for one in asked["objects"]]
                return _said(200, {"transfer": "basic", "objects": told}, login=user.login)
            if what == "verify":
                there = self._is_there(repo, asked)
                return _said(200 if there else 404, {} if there else {"message": "Not found"}, login=user.login)
            return self._object(repo, method, what, body, user.login)

    def folder(self, repo: Repository) -> Path:
        """Where the objects of a repository lie, each by its name."""
        folder = self.world.root / f"{repo.id}.lfs"
        folder.mkdir(exist_ok=True)
        return folder

    def _offered(
        self, repo: Repository, operation: str, one: Mapping[str, Any], base: str, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        said = {"oid": one["oid"], "size": one["size"], "authenticated": True}
        there = self._is_there(repo, one)
        if operation == "download" and not there:
            return {**said, "error": {"code": 404, "message": "Object does not exist on the server"}}
        if operation == "upload" and there:
            return said
        way = {
            "href": f"{base}/{one['oid']}",
            "header": {"Authorization": headers["authorization"]},
            "expires_in": 3600,
        }
        actions = {operation: way}
        if operation == "upload":
            actions["verify"] = {**way, "href": f"{base}/verify"}
        return {**said, "actions": actions}

    def _is_there(self, repo: Repository, one: Mapping[str, Any]) -> bool:
        file = self.folder(repo) / str(one["oid"])
        return file.exists() and file.stat().st_size == one["size"]

    def _object(self, repo: Repository, method: str, oid: str, body: bytes, login: str) -> GitAnswer:
        file = self.folder(repo) / oid
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                return _said(422, {"message": "The content is not that of the object"}, login=login)
            file.write_bytes(body)
            return GitAnswer(200, {}, b"", login)
        if not file.exists():
            return _said(404, {"message": "Not Found"}, login=login)
        return GitAnswer(200, {"Content-Type": "application/octet-stream"}, file.read_bytes(), login)


def _said(status: int, data: Any, headers: Mapping[str, str] | None = None, login: str = "") -> GitAnswer:
    return GitAnswer(status, {"Content-Type": _MEDIA, **(headers or {})}, json.dumps(data).encode(), login)
