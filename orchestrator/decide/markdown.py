"""Which lines of a comment GitHub shows as the writer's own plain text, read by a CommonMark parser.

Blocks are parsed whole (that takes linear time); inline Markdown only in short paragraphs, because it does not,
and a stranger chooses the text. A longer paragraph holds no plain line: nobody writes a command into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST_PARAGRAPH = 1000  # characters
DEEPEST = 20  # containers in each other; what is nested deeper is not read

_WHOLE_COMMENT = re.compile(r"<!--[^<]*-->")


@dataclass(frozen=True)
class Fence:
    """A block of fenced code at any depth: its lines, and the run that must still close it at the text's end."""

    lines: range
    missing_end: str = ""


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"maxNesting": DEEPEST}).enable(["table", "strikethrough"])


def _blocks(text: str) -> tuple[list[Token], bool]:
    """The blocks, and whether there are footnotes, which GitHub shows elsewhere."""
    tokens: list[Token] = []
    notes: dict[str, dict[str, object]] = {}
    _parser().block.parse(text, _parser(), notes, tokens)
    return tokens, any(label.startswith("^") for label in notes.get("references", ()))


def plain_lines(text: str) -> list[str]:
    """The lines of paragraphs at the margin that no inline Markdown covers, without the blanks around them.

    None behind raw HTML: an element may hide, strike out or quote all that follows it; only a whole comment block
    is known to hide nothing else. None behind a byte order mark, which GitHub skips and
    this parser does not, nor beside footnotes.
    """
    if text.startswith("\ufeff"):
        return []
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    tokens, footnotes = _blocks(text)
    found: list[str] = []
    for before, token in zip([Token("start", "", 0), *tokens], tokens, strict=False):
        if token.type == "html_block" and not _WHOLE_COMMENT.fullmatch(token.content.strip()):
            break
        if token.type == "inline" and token.map:
            children = _inline(token.content)
            if any(child.type == "html_inline" or "<!--" in child.content for child in children):
                break
            # An e-mail's signature begins with `--`, which underlines the line above it into a heading.
            own = before.type == "paragraph_open" or (before.type == "heading_open" and before.markup in ("-", "="))
            if own and before.level == 0 and not footnotes:
                found += _uncovered(children, lines[slice(*token.map)])
    return found


def _inline(paragraph: str) -> list[Token]:
    if len(paragraph) <= LONGEST_PARAGRAPH:
        return _parser().parseInline(paragraph)[0].children or []
    return [Token("html_inline", "", 0)] if "<" in paragraph else []


def _uncovered(children: list[Token], written: list[str]) -> Iterator[str]:
    """Lines that are one piece of text and stand so in the source: no escape, no entity, no odd blank."""
    line: list[Token] = []
    depth = 0
    for child in [*children, Token("softbreak", "", 0)]:
        if child.type in ("softbreak", "hardbreak"):
            if len(line) == 1 and line[0].type == "text" and depth == 0:
                as_written = re.compile(rf" {{0,3}}{re.escape(line[0].content.strip(' '))}[ \t]*")
                if any(as_written.fullmatch(source) for source in written):
                    yield line[0].content.strip(" ")
            line = []
        elif child.type != "text" or child.content:
            depth += child.nesting
            line.append(child)


def fences(text: str) -> list[Fence]:
    """The fenced code in the text, whose lines end with LF."""
    lines = text.split("\n")
    found = []
    for token in _blocks(text)[0]:
        if token.type == "fence" and token.map:
            begin, end = token.map
            last = lines[end - 1].strip(" \t>")
            closed = end - 1 > begin and len(last) >= len(token.markup) and not last.strip(token.markup[0])
            # A fence in a list or a quote ends by itself where text at the margin follows.
            opened = not closed and token.level == 0
            found.append(Fence(range(begin, end), token.markup if opened else ""))
    return found


def code_lines(text: str) -> set[int]:
    """The lines, from 0, that a reader sees as a block of code; the text's lines end with LF."""
    blocks = (token for token in _blocks(text)[0] if token.type in ("fence", "code_block") and token.map)
    return {line for token in blocks for line in range(*(token.map or ()))}
