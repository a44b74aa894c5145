"""Reads the command out of a comment: a line that stands alone as plain text, and nothing else.

Guaranteed: only a whole line counts (at most three spaces before it, blanks after it, any case). It does not count
where GitHub would not show it as the writer's own plain text: fenced and indented code, inline code, quotes, HTML
comments and blocks, link texts, link definitions, footnotes, tables. Time is linear in the comment's length.

The blocks are read as GitHub's Markdown reads them (quotes, lists and footnotes nest; a fence ends with its container),
because a fence that is missed by one line turns all text after it inside out. Inside one paragraph the reading is
coarser and errs towards silence. Decided so, where a person could see it either way:
- a line straight below a quoted line of text belongs to the quote (GitHub draws it inside); a blank line ends that
- a line indented into a list item is part of the item; one at the margin straight below a list is a command
- what stands between `<details>`, `<blockquote>`, `<table>`, `<del>` and the like and their end is not a command, nor
  is anything after an HTML comment that is never closed
- a line with struck-out text, mathematics or an open bracket before *and* after it in its paragraph is not a command
- a command that is underlined into a heading is a command: an e-mail's signature begins with `--`
- lines end with LF, CRLF or CR; form feed, U+0085 and U+2028 are ordinary characters, as on GitHub
- more than 20 quotes and lists in each other, or a byte order mark in front, make the whole comment silent
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from orchestrator.decide.markdown import outline


class Verb(str, Enum):
    MERGE = "merge"
    CANCEL = "cancel"
    USAGE = "usage"  # the command with an argument that means nothing


@dataclass(frozen=True)
class Command:
    """What a comment asks for. `sha`: 7 to 40 lower-case digits, or empty; `argument`: as written, for USAGE."""

    verb: Verb
    sha: str = ""
    argument: str = ""


def parse(body: str, trigger: str = "/merge") -> Command | None:
    """The comment's last command, or None. Any text is fine; an empty trigger is a bug and raises ValueError."""
    words = trigger.split()
    if not words:
        raise ValueError("the trigger is empty")
    name = "[ \t]+".join(re.escape(word) for word in words)
    # ASCII: with Unicode rules the long s and the Kelvin sign would match s and k.
    line = re.compile(rf" {{0,3}}{name}(?:[ \t]+(?P<argument>.*))?", re.IGNORECASE | re.ASCII | re.DOTALL)
    matches = [match for text in outline(body).plain if (match := line.fullmatch(text.rstrip(" \t")))]
    return _command(matches[-1]["argument"] or "") if matches else None


def _command(argument: str) -> Command:
    if not argument:
        return Command(Verb.MERGE)
    if argument.lower() == "cancel":
        return Command(Verb.CANCEL)
    if re.fullmatch("[0-9a-fA-F]{7,40}", argument):
        return Command(Verb.MERGE, sha=argument.lower())
    return Command(Verb.USAGE, argument=argument)
