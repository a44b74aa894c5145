"""Words for tests of `/merge`: a pull request to merge, commands that can be waited for, what was answered."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil

from orchestrator.twin import PullHandle, status
from orchestrator.twin.faults import Kind
from orchestrator.twin.say import Files, Person
from tests.house import House

SEEN = "POST issues/comments/*/reactions"
SAID = "POST issues/*/comments"
EDITED = "PATCH issues/comments/*"
CALLED = "PUT pulls/*/merge"
DELETED = "DELETE git/refs/heads/*"

REFUSED = (SEEN, SAID)  # before anything was begun
STOPPED = (SEEN, SAID, EDITED)  # after a status comment was made
LANDED = (SEEN, SAID, EDITED, CALLED, DELETED)

POLL = 60.0  # seconds, the default interval


def opens(
    house: House,
    branch: str = "topic",
    files: Files | None = None,
    base: str | None = None,
    body: str = "",
    by: Person | None = None,
) -> PullHandle:
    """A pull request that stands for a few seconds, so that a comment comes after the push."""
    person = by or house.alice
    person.pushes(house.repo, branch, files or {f"{branch.replace('/', '-')}.txt": "new\n"}, f"Work on {branch}")
    pull = person.opens_pr(house.repo, branch, base=base, title=f"Change {branch}", body=body)
    house.clock.advance(5)
    return pull


def green(house: House, branch: str = "topic", files: Files | None = None) -> PullHandle:
    """A pull request whose only check has passed."""
    pull = opens(house, branch, files)
    house.ci.passes(pull, "build")
    return pull


def runs(house: House, *commands: str) -> None:
    """The operator wants these commands to pass before a merge. Says nothing to a daemon that runs already."""
    house.options["pre_merge_commands"] = commands


def ask(house: House, pull: PullHandle) -> None:
    """Alice asks for the merge and gets her answer."""
    house.alice.comments(pull, "/merge")
    house.quiet()


def no(code: int, sentence: str) -> Kind:
    """GitHub refuses a request with this sentence."""
    return status(code, {"message": sentence, "documentation_url": "https://docs.github.com/rest", "status": str(code)})


def refusal(house: House, pull: PullHandle) -> str:
    """The one comment that says why nothing was merged."""
    found = [text for text in house.said(pull) if text.startswith("**Not merged**")]
    assert len(found) == 1, house.said(pull)
    assert not pull.merged
    assert "only a new comment" in found[0]
    return found[0]


def announced(house: House, pull: PullHandle) -> str:
    """The one comment that says that it is merged."""
    found = [text for text in house.said(pull) if text.startswith("**Merged") or "already merged" in text]
    assert len(found) == 1, house.said(pull)
    assert pull.merged
    return found[0]


def short(sha: str | None) -> str:
    """A SHA as the comments show it."""
    return (sha or "no sha")[:10]


def appears(path: Path) -> None:
    """Wait for a file that a running command makes."""
    pause = threading.Event()
    for _ in range(2000):
        if path.exists():
            return
        pause.wait(0.01)
    raise AssertionError(f"{path.name} did not appear within 20 s")


def poll(house: House) -> None:
    """Have the daemon look at GitHub once while its jobs work."""
    journal = house.github.journal
    before = journal.count("GET issues/comments")
    for _ in range(100):
        # Again when the loop was not yet waiting for the time that we moved.
        house.clock.advance(POLL)
        if journal.wait_for(lambda: journal.count("GET issues/comments") > before, 0.2):
            return
    raise AssertionError("the daemon does not poll")


def forgets(house: House) -> None:
    """The daemon loses its memory, the previous generation too, and starts again."""
    house.stop()
    for file in house.folder.glob("state.json*"):
        if file.suffix != ".lock":
            file.unlink()
    house.start()


def gone(pid: int) -> bool:
    """Whether no such process is left; a dead one that its new parent has not collected yet counts as gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
