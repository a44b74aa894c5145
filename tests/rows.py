"""The 126 rows of the merge specification, and which test holds each: `python -m tests.rows` writes `tests/rows.md`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "rows.md"
_NAME = re.compile(r"test_([PCMKLR]\d+b?)_")

ROWS = {
    # What a poll sees and starts
    "P1": "two comments in one second, one of them handled",
    "P2": "a comment that is listed late, behind newer ones",
    "P3": "a batch that fails halfway",
    "P4": "the host's clock is minutes ahead",
    "P5": "an old remark is edited into a command",
    "P6": "a command that was carried out is edited",
    "P7": "a command is edited by somebody else before it was seen",
    "P8": "the command is deleted while commands run",
    "P9": "more comments than a page holds",
    "P10": "a later page fails",
    "P11": "nothing changed (304)",
    "P12": "nothing seems to change for ever, although it did",
    "P13": "three hours without the daemon",
    "P14": "old commands at the first start",
    "P15": "closed, merged or made a draft between the poll and the handling",
    "P16": "the label is taken off before the claim",
    "P17": "two daemons see the same issue",
    "P18": "labelled, unlabelled, labelled again",
    "P19": "search is never asked",
    "P20": "a list's mergeability decides nothing",
    "P21": "404 for what was just made",
    "P22": "the repository is gone or renamed",
    "P23": "the hourly limit is used up",
    "P24": "a secondary limit with a time",
    "P25": "a secondary limit without one",
    "P26": "401, once and for good",
    "P27": "an hour of 502 and 503",
    "P28": "half an answer, or a web page",
    "P29": "an answer that never ends",
    "P30": "deleted accounts and forks",
    "P31": "one pull request always makes trouble",
    "P32": "our own words quote the command",
    "P33": "the maintainer shares the daemon's account",
    "P34": "restarted in the middle of a poll",
    "P35": "the state file is cut, missing, or newer",
    # The command and who gives it
    "C1": "code, quotes, HTML comments, link text",
    "C2": "line ends, blanks, invisible characters",
    "C3": "a fence that is never closed",
    "C4": "words that only look like the command",
    "C5": "unknown arguments, short and old SHAs",
    "C6": "65,000 nasty characters",
    "C7": "an answer by e-mail",
    "C8": "somebody who may not write",
    "C9": "a private member shown as CONTRIBUTOR",
    "C10": "custom roles, unknown words",
    "C11": "the right was lost while commands ran",
    "C12": "the permission cannot be read",
    "C13": "a renamed or re-registered login",
    "C14": "bots",
    "C15": "on an issue, on a closed pull request",
    # Preparing and testing
    "M1": "a push between the comment and the poll",
    "M1b": "with back-dated commits",
    "M2": "a push while commands run",
    "M3": "a push right before the call",
    "M4": "pushed away and back to the pinned commit",
    "M5": "git lags behind the API",
    "M6": "the base moved since the last fetch",
    "M7": "the base moves while commands run",
    "M8": "a conflict that GitHub does not know of",
    "M9": "a conflict that only GitHub knows of",
    "M10": "mergeability unknown for ten reads",
    "M11": "the worktree is missing, dirty, elsewhere, locked",
    "M12": "an agent still works on the branch",
    "M13": "lock files of a killed git",
    "M14": "git variables in the daemon's environment",
    "M15": "a command changes tracked files",
    "M16": "an output that floods and acts",
    "M17": "a command that takes too long",
    "M18": "a child that keeps the output open",
    "M19": "a command that ignores SIGTERM and forks away",
    "M20": "a command that asks questions",
    "M21": "the second command fails",
    "M22": "the pull request changes the configuration",
    "M23": "a fork",
    "M24": "the daemon is killed while a command runs",
    # The checks
    "K1": "pushed a second ago, no checks yet",
    "K2": "no CI at all",
    "K3": "the failing one is the last of many",
    "K4": "check runs and statuses disagree",
    "K5": "run again: the newest counts",
    "K6": "one name, two apps",
    "K7": "every other conclusion",
    "K8": "skipped and neutral",
    "K9": "a required check never reports",
    "K10": "a combined status of nothing",
    "K11": "a new check at the last moment",
    "K12": "green on an older head",
    "K13": "checks cannot be read",
    "K14": "red before it began",
    # The merge call
    "L1": "merged, and the answer was an error",
    "L2": "not merged, and the answer was an error",
    "L3": "the connection broke",
    "L4": "the base was modified",
    "L5": "a definite no",
    "L6": "the head was modified",
    "L7": "the account may not",
    "L8": "a conflict that passes",
    "L9": "a validation that passes",
    "L10": "reads that still say open",
    "L11": "a person was first",
    "L12": "GitHub was first",
    "L13": "a cancel in the last second",
    "L14": "two commands on one pull request",
    "L15": "two pull requests, one base",
    "L16": "two pull requests, two bases",
    "L17": "a pull request stacked on the branch",
    "L18": "the method is not allowed",
    "L19": "landed on another base than the tested one",
    "L20": "nothing to merge",
    # After it, and restarts
    "R1": "killed after the announcement, before the call",
    "R2": "killed after the call, before it was recorded",
    "R3": "killed after each step of the tail",
    "R4": "killed between a comment and its record",
    "R5": "GitHub takes no comment",
    "R6": "issues closed, transferred, pull requests, elsewhere",
    "R7": "a base that is not the default branch",
    "R8": "words that only look like closing keywords",
    "R9": "the branch got a commit after the merge",
    "R10": "protected, default, gone and oddly named branches",
    "R11": "what is stacked cannot be read",
    "R12": "the repository deletes branches itself",
    "R13": "the worktree cannot be removed",
    "R14": "the disk is full",
    "R15": "SIGTERM in every phase",
    "R16": "a second daemon on the same state",
    "R17": "a crash loop",
}


def tests() -> dict[str, list[str]]:
    """The tests of each row by the ids that their names begin with, as pytest names them."""
    found: dict[str, list[str]] = {}
    for file in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (match := _NAME.match(node.name)):
                found.setdefault(match[1], []).append(f"{file.name}::{node.name}")
    return found


def page() -> str:
    """The document."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    held = tests()
    yield "# The rows of the merge specification and the tests that hold them"
    yield ""
    yield "Written by `python -m tests.rows`. Every test runs the daemon or the part that decides; none is skipped."
    yield ""
    yield "| row | what happens | tests |"
    yield "|---|---|---|"
    for row, what in ROWS.items():
        yield f"| {row} | {what} | {'<br>'.join(f'`{test}`' for test in held.get(row, ()))} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
