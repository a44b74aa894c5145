"""Every sentence of the house with ordinary and with hostile words in it: `python -m tests.sentences` writes the page.

The page `tests/sentences.md` is what a person reads; a change of a sentence is a change of that page.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from orchestrator import refusals, staying, texts
from orchestrator.model import Finding
from orchestrator.record import Job, Kind

PAGE = Path(__file__).parent / "sentences.md"

ROOMS = (texts, refusals, staying)
HEAD, BASE, TREE, LANDED, LATER = (mark * 20 for mark in ("a1", "b2", "c3", "d4", "e5"))
HOSTILE = "x` @everybody closes #1 <!-- y --> ```\n\x1b[31m"
MERGE = Job(
    *("acme/app", Kind.MERGE, 7, "1001"),
    title="Greet",
    asked_by="alice",
    head=HEAD,
    base=BASE,
    base_ref="main",
    tree=TREE,
    merge_sha=LANDED,
    log="/var/w/merge-7-1.log",
)
WORK = Job(
    *("acme/app", Kind.IMPLEMENT, 42, "9"),
    phase="run",
    title="Greet",
    asked_by="alice",
    branch="feature/issue-42",
    base=BASE,
    pr=43,
    head=HEAD,
    turns=12,
    seconds=300.0,
    cost_usd=0.5,
    log="/var/w/issue-42-1.log",
)
READ = replace(WORK, kind=Kind.REVIEW, number=43, trigger=HEAD)
LACKING = {
    "path": "lib",
    "address": "https://github.com/acme/lib.git",
    "why": "commit 2222222222 is not there; push it there",
}
EMPTY = replace(WORK, facts={"lacking": [LACKING]})
ODD = {"path": HOSTILE, "address": HOSTILE, "why": "it has no address; write one into `.gitmodules`"}
FINDING = Finding("app.py", 3, "high", "This divides by zero.")

# By name: the arguments of each call that is shown.
CALLS: dict[str, list[tuple[object, ...]]] = {
    "agent_at_work": [(WORK,)],
    "already_merged": [(LANDED,)],
    "already_running": [("alice",)],
    "answered": [(503,)],
    "approval_missing": [(HEAD,)],
    "attempt_over": [(MERGE, "Two lines.\nThe second."), (replace(MERGE, head=""), "Closed.")],
    "base_gone": [("main",)],
    "base_kept_moving": [(4,)],
    "behind": [("main",)],
    "blocked": [("main",)],
    "budget_used_up": [(50.0,)],
    "branch_gone": [(WORK,)],
    "branch_kept": [("topic", staying.IS_PROTECTED), (HOSTILE, staying.IS_DEFAULT)],
    "branch_taken": [("feature/issue-42", HEAD)],
    "cancelled_by": [("bob",)],
    "changes_requested": [((),), (("bob",),), (("bob", "carol"),)],
    "checks_failed": [(("lint",),), (("deploy (action_required)",),), ((HOSTILE, "unit"),)],
    "checks_late": [(("deploy",), 3600.0), ((), 900.0)],
    "command_failed": [("make test", 1, 2, 3), ("make lint", 2, 2, -9)],
    "crash_loop": [(5,)],
    "cut_off_often": [(7,)],
    "command_late": [("make test", 1, 1, 600.0)],
    "conflict": [(("app.py", HOSTILE), BASE)],
    "copy_would_replace": [(".env",), (HOSTILE,)],
    "failed": [
        (WORK, "The agent failed.", "/var/w/issue-42", "label it `ready`", b"boom \x1b[1m\n```\n@team"),
        (EMPTY, "Command 1 failed.", "/var/w/issue-42", "label it `ready`"),
    ],
    "files_modified": [(("app.py", HOSTILE),)],
    "finding": [(FINDING,), (replace(FINDING, text=HOSTILE),)],
    "foreign_issues": [(("acme/web#5", "", "x/y#1"),), (("acme/web#5",),), (("", ""),)],
    "gave_up": [(HOSTILE,)],
    "github_forbids": [("Resource not accessible.",)],
    "github_refuses": [("Required status check is expected.",), (HOSTILE,)],
    "got_commits": [(HEAD,)],
    "head_is": [(HEAD, "/merge")],
    "head_moved": [(HEAD, BASE)],
    "held": [("hold",), (HOSTILE,)],
    "implemented": [(WORK,)],
    "issue_kept": [(3, "GitHub answered 403")],
    "limited": [(WORK, "The usage limit is reached.", 1_800_000_000.0), (READ, "No quota.", 1_800_000_000.0)],
    "lacking": [
        (WORK,),
        (replace(WORK, facts={"lacking": [LACKING, ODD]}),),
        (replace(WORK, facts={"lacking": [LACKING], "lacking_more": 7}),),
    ],
    "many_rule_sets": [(6,)],
    "merge_refused": [
        (MERGE, refusals.DRAFT),
        (MERGE, "Command 1 failed.", b"boom"),
        (MERGE, "Changed.", b"+x", "diff"),
    ],
    "merge_unclear": [(3,)],
    "merged": [(MERGE, ("make test",), "checks green"), (MERGE, (), "no checks exist")],
    "merged_by": [(MERGE, "bob")],
    "merging": [(MERGE, texts.TURN, "/merge")],
    "name_the_sha": [(refusals.FROM_A_FORK, HEAD, "/merge")],
    "needs_write": [("mallory",)],
    "no_base": [("develop",)],
    "left_out": [
        (WORK, ("__pycache__/",), (), (), False),
        (WORK, (), ("lib/",), (), True),
        (WORK, (), (), ("vendor/x/a.c", HOSTILE), True),
        (WORK, (HOSTILE,), tuple(f"{n}.log" for n in range(12)), (), True),
        (WORK, (), (), (), False),
    ],
    "no_change": [
        (replace(WORK, summary="All is there."), "", "ready"),
        (replace(WORK, summary=HOSTILE), texts.left_out(WORK, (), ("lib/",), (), True), "ready"),
        (WORK, "", "ready"),
    ],
    "not_allowed_to_label": [("mallory", "ready"), (None, "ready")],
    "not_reviewed": [(READ, "The agent gave no answer.")],
    "not_hidden": [(((HOSTILE, "git-crypt"), ("b.key", HOSTILE)),)],
    "parked": [(WORK, "The agent failed.")],
    "look_first": [
        (("It changes `Makefile`",), HEAD, "/merge", True),
        (("It changes `Makefile`", "It is odd"), HEAD, "", False),
    ],
    "progress": [(WORK,), (READ,), (WORK, refusals.budget_used_up(50.0))],
    "pull_body": [
        (replace(WORK, summary="A greeting."), "", ("make venv",), "", "ready", "/merge"),
        (
            replace(WORK, summary=HOSTILE),
            "It changes `Makefile`.",
            (),
            texts.left_out(WORK, (), ("lib/",), (), True),
            "ready",
            "",
        ),
    ],
    "pull_title": [("Greet",), (HOSTILE,), ("",)],
    "pushed_after": [(HEAD, "/merge")],
    "pushed_meanwhile": [(WORK,)],
    "queue_late": [(3600.0,)],
    "queued_with": [(MERGE, LATER, ("Another",)), (MERGE, LATER, ())],
    "relations_unread": [("GitHub answered 403: Resource not accessible.",), (HOSTILE,)],
    "retargeted": [("main", "next"), ("main", "main")],
    "review_body": [(READ, "comment", "Fine.", ()), (READ, "request_changes", HOSTILE, (FINDING,))],
    "reviewed": [(READ, "approve", 1), (READ, "request_changes", 2)],
    "right_lost": [("mallory",)],
    "runs_used_up": [("mallory", 20), (None, 1)],
    "same_branch": [(("#8",),), (("#8", "`acme/first#9`"),)],
    "short": [(HEAD,)],
    "spent": [(WORK,)],
    "stacked": [((8, 9),)],
    "superseded": [(HEAD, BASE)],
    "tells_copied": [("config/local.json",), (HOSTILE,)],
    "testing": [(BASE, 0, 0), (BASE, 2, 0), (BASE, 2, 1)],
    "too_large": [(4096,)],
    "too_old": [(24.0,)],
    "touches": [((".github/a.yml",),), (tuple(f".github/{n}" for n in range(7)),)],
    "untested": [(MERGE, LATER, ("Sneak in", HOSTILE)), (MERGE, LATER, ()), (MERGE, BASE, ())],
    "unfiltered": [(((HOSTILE, "nbstripout"),),), (tuple((f"{n}.ipynb", HOSTILE) for n in range(7)),)],
    "untidy": [
        (MERGE, "GitHub answered 500."),
        (replace(MERGE, facts={"landed": texts.merged_by(MERGE, "bob")}), "GitHub answered 500."),
    ],
    "usage": [("/merge",)],
    "locked": [(HOSTILE, HOSTILE), ("a.bin", "")],
    "without_lfs": [((HOSTILE,), False), (tuple(f"{n}.bin" for n in range(7)), True)],
    "waiting_for_checks": [(("slow",),), ((),)],
    "was_base": [((8,),), ((9, 8, 7, 6),)],
}
MACHINERY = {"count", "look_at"}  # no sentence of their own


def functions(room: ModuleType) -> dict[str, object]:
    """The public functions that the module itself defines, by name."""
    found = inspect.getmembers(room, inspect.isfunction)
    return {n: f for n, f in found if f.__module__ == room.__name__ and not n.startswith("_")}


def constants(room: ModuleType) -> dict[str, str]:
    """The sentences that need no argument."""
    return {
        n: v for n, v in vars(room).items() if n.isupper() and isinstance(v, str) and not n.startswith(("_", "MARK"))
    }


def page() -> str:
    """The document."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What people read"
    yield ""
    yield "Written by `python -m tests.sentences` from `texts.py`, `refusals.py`, `staying.py`; odd characters escaped."
    for room in ROOMS:
        for name, words in sorted(constants(room).items()):
            yield from _shown(name, words)
        for name, function in functions(room).items():
            for arguments in CALLS.get(name, ()):
                yield from _shown(name, str(function(*arguments)))  # type: ignore[operator]


def _shown(name: str, words: str) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    yield ""
    for line in words.split("\n"):
        yield f"    {line}".rstrip().encode("unicode_escape").decode("ascii")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
