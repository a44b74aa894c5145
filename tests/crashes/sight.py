"""What is there to see of a stage: the world as people see it in the end, and all that a restart would find.

Two runs differ in times, costs, SHAs and random names. `seen` gives such words names that follow from what they stand
for, `traces` names by the order in which they come, so that equal texts mean equal worlds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from orchestrator.git.mirror import TRASH
from orchestrator.twin import IssueHandle, RepoHandle, Twin

_SPENT = re.compile(r"\d+ turns?, [\d.]+ min, \$[\d.]+")
_RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{10,64}\b|\b1\d{6}\b")
_TIME = re.compile(r"\b1[6-9]\d{8}(?:\.\d+)?\b")
_LOG = re.compile(r"-\d+(?:\.\d+)?\.log")
# Five crashes make a loop, and no plan has so many.
_OF_NO_WEIGHT = re.compile(r'"(?:cost_usd|session_cost|turns|seconds|generation)": [\d.e-]+|"crashes": \[[^]]*\]')
_REPEATABLE = re.compile(r"PATCH |.*(?:/labels|/reactions|/labels/\S+)$")  # these may be done again without harm
_SHORT = 10  # digits by which people are told a SHA


def seen(github: Twin) -> Counter[str]:
    """Everything that people see on GitHub, a line for each thing, and how often each unrepeatable change was made."""
    repo = github.repos["acme/app"]
    main = repo.git("rev-list", "main").split()
    names = {sha: f"main-{place}" for place, sha in enumerate(reversed(main))}
    for pull in repo.pulls:
        names[pull.head_sha] = f"head-of-{pull.number}"

    def plain(text: str) -> str:
        for sha, name in names.items():
            text = text.replace(sha, name).replace(sha[:_SHORT], name)
        text = re.sub(r"attempt \d+", "attempt N", _SPENT.sub("SPENT", text))
        return _RANDOM.sub("ID", text.replace(github.url, "URL"))

    lines = [plain(line) for line in _things(repo)]
    made = [e for e in github.journal.mutations if e.login == "robot" and 0 < e.status < 300]
    lines += [plain(f"made: {e.short}") for e in made if not _REPEATABLE.match(e.short)]
    return Counter(lines)


def _things(repo: RepoHandle) -> Iterator[str]:
    for branch in repo.branches:
        files = repo.git("ls-tree", "-r", "--format=%(path) %(objectsize)", branch).splitlines()
        yield f"branch {branch}: {repo.log(branch)} {files}"
    for issue in repo.issues:
        yield from _conversation("issue", issue)
    for pull in repo.pulls:
        yield from _conversation("pull", pull)
        yield f"pull {pull.number} of {pull.head_ref} {pull.head_sha}: {pull.merged} {pull.merge_sha} {pull.body}"
        for review in pull.reviews:
            yield f"review of {review.commit_id} by {review.author}: {review.event} {review.body} {review.comments}"


def _conversation(kind: str, thing: IssueHandle) -> Iterator[str]:
    name = f"{kind} {thing.number}"
    yield f"{name} {thing.title} open {thing.open} labels {sorted(thing.labels)} reactions {sorted(thing.reactions)}"
    for comment in thing.comments:
        yield f"comment on {name} by {comment.author} reactions {sorted(comment.reactions)}: {comment.body}"


def traces(github: Twin, folder: Path) -> str:
    """A digest of all that the next start can find: GitHub, state file, mirror, worktrees, sessions of the agent."""
    repo = github.repos["acme/app"]
    with repo.looking():
        bodies = [comment.body for thing in [*repo.issues, *repo.pulls] for comment in thing.comments]
        shown = [hashlib.sha256(body.partition("\n")[2].encode()).hexdigest()[:16] for body in bodies]
        facts: list[Any] = [dict(repo.thing.refs), list(_conversations(repo)), shown]
    state, place = folder / "state/state.json", folder / "worktrees/acme/app"
    body = json.loads(state.read_bytes())["body"] if state.exists() else {}
    facts += [body, _refs(place / "mirror.git")]
    facts += [any(".tmp" in p.name for p in state.parent.iterdir()), dict(_files(place))]
    text = json.dumps(facts, sort_keys=True, default=str).replace(str(folder), "@").replace(github.url, "URL")
    text = _OF_NO_WEIGHT.sub("", text)
    text = _LOG.sub(".log", _TIME.sub("TIME", _SPENT.sub("SPENT", text)))
    numbers: dict[str, int] = {}
    named = _RANDOM.sub(lambda m: f"ID{numbers.setdefault(m[0][:_SHORT], len(numbers))}", text)
    # By what else is called so, since their own order is random.
    sessions = sorted(numbers.get(p.name[:_SHORT], -1) for p in (folder / "home/sessions").glob("*"))
    return hashlib.sha256(f"{named} {sessions}".encode()).hexdigest()


def _conversations(repo: RepoHandle) -> Iterator[str]:
    for issue in repo.issues:
        yield from _conversation("issue", issue)
    for pull in repo.pulls:
        yield from _conversation("pull", pull)
        yield f"pull {pull.number} {pull.head_sha} {pull.merged} {pull.merge_sha} {pull.reviews}"


def _refs(mirror: Path) -> dict[str, str]:
    lines = _octets(mirror / "packed-refs").decode().splitlines()
    found = {ref: sha for sha, _, ref in (line.partition(" ") for line in lines)}
    return {**found, **{str(p.relative_to(mirror)): _octets(p).decode() for p in _below(mirror / "refs")}}


def _files(place: Path) -> Iterator[tuple[str, str]]:
    """The files of the worktrees, what is checked out in each, and what the mirror notes of it."""
    for path in sorted(place.glob("*")):
        if path.name.startswith(TRASH):
            yield path.name, ""  # whatever is left of it, nobody looks into it any more
        elif path.name not in ("mirror.git", "logs", "surroundings"):
            for file in _below(path):
                inner = file.relative_to(path).parts
                if inner[0] != ".git":
                    yield str(file.relative_to(place)), hashlib.sha256(_octets(file)).hexdigest()
                elif inner[1] in ("HEAD", "MERGE_HEAD", "packed-refs", "refs") or file.suffix == ".lock":
                    yield str(file.relative_to(place)), _octets(file).decode(errors="replace")
    for file in _below(place / "mirror.git/trees"):
        yield str(file.relative_to(place)), ""


def _below(folder: Path) -> list[Path]:
    """All files, in order. While the daemon stands still, a git that it started may go on and remove some."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def _octets(file: Path) -> bytes:
    """Nothing where there is no file any more."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def worktrees(folder: Path) -> list[str]:
    """What is left of worktrees, in the folder and in the mirror."""
    place = folder / "worktrees/acme/app"
    left = [p.name for p in place.glob("*") if p.is_dir() and p.name not in ("mirror.git", "logs", "surroundings")]
    return sorted(left + [p.name for p in place.glob("mirror.git/trees/*")])


def processes(folder: Path, url: str) -> list[str]:
    """Everything that lives and that the daemon, or what it started, has started."""
    found = []
    for process in psutil.process_iter():
        try:
            command, environ = " ".join(process.cmdline()), process.environ()
            by_git = environ.get("GIT_DIR", "").startswith(str(folder)) or url in command
            if (environ.get("HOME") == str(folder / "home") or by_git) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(command)
        except (psutil.Error, OSError):
            continue
    return found


def runs(folder: Path) -> Counter[str]:
    """How many agent runs have begun, by role."""
    record = folder / "home/runs"
    lines = record.read_text().splitlines() if record.exists() else []
    return Counter(line.split()[0] for line in lines)
