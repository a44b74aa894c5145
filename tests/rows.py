"""The 126 rows of the merge specification, the 79 faults and the 56 attacks, and which test holds each.

`python -m tests.rows` writes `tests/rows.md`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "rows.md"
_NAME = re.compile(r"test_([PCMKLR]\d+b?|F\d\db?|A\d\d)_")

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

FAULTS = {
    # kill -9, power loss, full disks
    "F01": "killed before the first change for a new item",
    "F02": "killed before the worktree is made",
    "F03": "killed while the worktree is made",
    "F04": "killed while the agent works",
    "F05": "killed after the agent's end, before the commit",
    "F05b": "a nested repository, a link that leads out, a huge file in the result",
    "F06": "killed after the commit, before the push",
    "F07": "killed after the push, before it is recorded",
    "F08": "killed between the push and the pull request",
    "F09": "killed after the pull request was opened, before it is recorded",
    "F10": "killed after a comment or a review was posted",
    "F11": "killed while commands run",
    "F12": "killed after the merge, before it is recorded",
    "F13": "killed between the merge and the branch's deletion",
    "F14": "killed while the state is written",
    "F15": "a crash loop of the daemon",
    "F16": "power loss",
    "F17": "the disk is full when the state is written",
    "F18": "the disk is full in a worktree",
    "F19": "no more inodes or file descriptors",
    # GitHub and the way to it
    "F20": "500, 502, 503 on a read",
    "F21": "5xx on a write",
    "F22": "time-outs, no name, no connection",
    "F23": "the hourly limit is used up",
    "F24": "a secondary limit",
    "F25": "the token is revoked",
    "F26": "a permission or a single sign-on is missing",
    "F27": "the repository is gone, or access to it",
    "F28": "the repository is renamed, or another one has its name",
    "F29": "the default branch is renamed",
    "F30": "a web page, nothing, or half an answer with 200",
    "F31": "a stale ETag, a list that misses an item",
    "F32": "the list changes between two of its pages",
    "F33": "a new pull request is not listed yet",
    "F34": "the clock jumps by a day",
    "F35": "the machine sleeps for eight hours",
    "F36": "the network is cut in a push",
    # git and people
    "F37": "commits of somebody else on our branch",
    "F38": "a person force-pushes our branch",
    "F39": "a new head while commands run, or before the call",
    "F40": "a person deletes our branch",
    "F41": "closed, unlabelled or deleted while the agent works",
    "F42": "a merge conflict",
    "F43": "mergeability that stays unknown",
    "F44": "a protection or a required check is in the way",
    "F45": "a worktree deleted by hand",
    "F46": "our branch is checked out elsewhere",
    "F47": "an `index.lock` that was left behind",
    "F48": "a corrupt index, corrupt objects or refs",
    "F49": "`git gc` by a person during a run",
    # The agent and its processes
    "F50": "the agent hangs before its first byte",
    "F51": "the agent falls silent",
    "F52": "the agent is done and its process stays",
    "F53": "the agent ends before its background task",
    "F54": "floods, huge lines, bytes that are no text",
    "F55": "a stream without a result",
    "F56": "the agent ignores SIGTERM",
    "F57": "the agent forks away and keeps the output open",
    "F58": "a fork or memory bomb",
    "F59": "the account's usage limit",
    "F60": "the service is overloaded",
    "F61": "not logged in",
    "F62": "the program is missing",
    "F63": "the program is replaced while it runs",
    "F64": "the budget or the turns are used up",
    "F65": "no change, or prose where an answer in a form was asked for",
    # The daemon itself
    "F66": "two daemons on one machine",
    "F67": "two daemons on two machines",
    "F68": "a pid that somebody else has after a reboot",
    "F69": "the state file is cut, damaged, no JSON",
    "F70": "the state file is of an older version",
    "F71": "the state file is of a newer version",
    "F72": "the state's folder cannot be written",
    "F73": "settings that are wrong at the next start",
    "F74": "the log cannot be written",
    "F75": "SIGTERM",
    "F76": "a sandbox that does not work, or not any more",
    "F77": "a flood of comments",
    "F78": "markers and commands of strangers",
}


ATTACKS = {
    "A01": "instructions in an issue's body",
    "A02": "instructions in a title",
    "A03": "hidden HTML comments",
    "A04": "invisible Unicode",
    "A05": "image texts, link titles, entities",
    "A06": "attachments that would be fetched",
    "A07": "a body edited after the label",
    "A08": "a comment edited after the label",
    "A09": "a form or a bot that labels by itself",
    "A10": "a triage role that labels",
    "A11": "a login that ends in [bot]",
    "A12": "an author association for a permission",
    "A13": "a permission check that is always true",
    "A14": "a commit with somebody else's name",
    "A15": "a command by a stranger, quoted, fenced or disguised",
    "A16": "a command in the agent's own output",
    "A17": "a push between approval and fetch",
    "A18": "a push while the commands run",
    "A19": "a forged marker",
    "A20": "closing words and trailers in the pull request's text",
    "A21": "a token that branch protection does not bind",
    "A22": "hooks that the repository brings",
    "A23": "an environment that the repository brings",
    "A24": "servers that the repository brings",
    "A25": "guidance in the head of a pull request",
    "A26": "the environment of other processes",
    "A27": "files of the home folder",
    "A28": "another host through the way out",
    "A29": "abstract sockets, loopback, path sockets",
    "A30": "hooks planted in the shared repository",
    "A31": "programs planted in the shared config",
    "A32": "a `.git` that leads elsewhere",
    "A33": "`commondir` and `config.worktree`",
    "A34": "a branch name as option",
    "A35": "a link in the worktree",
    "A36": "attributes that hide code",
    "A37": "a filter for large files",
    "A38": "submodules and `ext::`",
    "A39": "`.GIT` and `git~1`",
    "A40": "a poisoned test command",
    "A41": "secrets in the output of commands",
    "A42": "scripts that run at an installation",
    "A43": "a poisoned cache",
    "A44": "a change of CI, hooks, owners or our settings",
    "A45": "something that stays in the home folder",
    "A46": "something that outlives its run",
    "A47": "bombs of processes, files and output",
    "A48": "terminal escapes and forged log lines",
    "A49": "the token on a command line or in a file",
    "A50": "a redirect that asks for the token",
    "A51": "many issues or pushes for their cost",
    "A52": "two bots that answer each other",
    "A53": "model output as path, ref or number",
    "A54": "the program replaced between two runs",
    "A55": "a nested repository",
    "A56": "a merge driver by attribute",
}


@cache
def tests() -> dict[str, list[str]]:
    """The tests of each row and fault by the ids that their names begin with, as pytest names them."""
    found: dict[str, list[str]] = {}
    for file in sorted(HERE.rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (match := _NAME.match(node.name)):
                found.setdefault(match[1], []).append(f"{file.relative_to(HERE)}::{node.name}")
    return found


def page() -> str:
    """The document."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The rows of the merge specification, the faults, the attacks, and the tests that hold them"
    yield ""
    yield "Written by `python -m tests.rows`. Every test runs the daemon or the part that decides; none is skipped."
    yield from _table("row", ROWS)
    yield from _table("fault", FAULTS)
    yield from _table("attack", ATTACKS)


def _table(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    held = tests()
    yield ""
    yield f"| {title} | what happens | tests |"
    yield "|---|---|---|"
    for row, what in rows.items():
        yield f"| {row} | {what} | {'<br>'.join(f'`{test}`' for test in held.get(row, ()))} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
