"""Reads the command out of a comment: a line that stands alone as plain text, and nothing else.

Guaranteed: only a whole line counts (at most three spaces before it, blanks after it, any case). It does not count
where GitHub shows it as anything but the writer's own plain text: code, quotes, HTML, links, emphasis, lists, tables.
Decided so, where a person could see it either way:
- a line straight below a quote or a list item belongs to it (GitHub draws it inside); a blank line ends that
- a command that is underlined into a heading is a command: an e-mail's signature begins with `--`
- lines end with LF, CRLF or CR; form feed, U+0085 and U+2028 are ordinary characters, as on GitHub
- in a comment with raw HTML, and in a paragraph above 1,000 characters, nothing is a command
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from orchestrator.decide.markdown import plain_lines


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
    line = re.compile(rf"{name}(?:[ \t]+(?P<argument>.*))?", re.IGNORECASE | re.ASCII | re.DOTALL)
    if words[0].lower() not in body.lower():
        return None
    matches = [match for text in plain_lines(body) if (match := line.fullmatch(text.rstrip(" \t")))]
    return _command(matches[-1]["argument"] or "") if matches else None


def _command(argument: str) -> Command:
    if not argument:
        return Command(Verb.MERGE)
    if argument.lower() == "cancel":
        return Command(Verb.CANCEL)
    if re.fullmatch("[0-9a-fA-F]{7,40}", argument):
        return Command(Verb.MERGE, sha=argument.lower())
    return Command(Verb.USAGE, argument=argument)
