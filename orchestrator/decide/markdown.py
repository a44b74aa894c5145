"""Which lines of a comment stand alone as plain text: GitHub's blocks, line by line. `commands` lists the decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from orchestrator.decide.inline import Concealment, may_define, uncovered

_DEEPEST = 20  # containers: each costs a step per line, and nobody writes a command below that

_HEADING = re.compile(r"#{1,6}(?: |$)")
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_UNDERLINE = re.compile(r"(?:=+|-+) *$")
_RULE = re.compile(r"(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$")
_DELIMITERS = re.compile(r"[ \f\v]*\|?[ \f\v]*:?-+:?[ \f\v]*(?:\|[ \f\v]*:?-+:?[ \f\v]*)*\|?[ \f\v]*$")
_PIPE = re.compile(r"\\.|(\|)")
_FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]: *")
_ITEM = re.compile(r"(?P<marker>[-+*]|(?P<number>\d{1,9})[.)])(?P<blanks> +|$)", re.ASCII)

_BLOCK_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|section|source|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_ATTRIBUTE = r"\s+[a-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?"
_LONE_TAG = re.compile(rf"(?:<[a-z][a-z0-9-]*(?:{_ATTRIBUTE})*\s*/?>|</[a-z][a-z0-9-]*\s*>)\s*$", re.I | re.A)
_BLANK = re.compile(r"\A *\Z")
_RAW = "script|pre|style|textarea"
_HTML = (  # how a block of HTML begins, and what its last line holds
    (re.compile(rf"<(?:{_RAW})(?:\s|>|$)", re.I | re.A), re.compile(rf"</(?:{_RAW})>", re.I)),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Z]", re.I | re.A), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(rf"</?(?:{_BLOCK_NAMES})(?:\s|/?>|$)", re.I | re.A), _BLANK),
    (_LONE_TAG, _BLANK),  # the only one that does not end a paragraph
)


@dataclass(frozen=True)
class Outline:
    """How GitHub reads a text."""

    clear: bool = False  # False: not read, because its reading is anybody's guess
    plain: tuple[str, ...] = ()  # the lines that are the writer's own plain text, unchanged and in order
    fenced: frozenset[int] = frozenset()  # indices of the lines inside fenced code
    open_fence: str = ""  # the run that would close the fenced code at the text's end
    open_at: int = 0  # index of the line where that fence begins


def outline(text: str) -> Outline:
    """Reads all lines. Where the outline is not clear it is empty, so that nothing in such a text is a command."""
    if text.startswith("\ufeff"):  # Markdown skips a byte order mark, so what follows it is not what it seems
        return Outline()
    blocks = _Blocks()
    try:
        for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            blocks.read(line)
    except _Unclear:
        return Outline()
    return blocks.finish()


class _Unclear(Exception):
    """Nested absurdly, or so that other readers may see other blocks."""


class _Mark(Enum):
    QUOTE = "quote"
    ITEM = "item"
    FOOTNOTE = "footnote"


class _Container(NamedTuple):
    mark: _Mark
    width: int  # columns by which a line must be indented to stay inside; a quote repeats its sign instead


class _Blocks:
    """The blocks that are open after the lines read so far: containers, and one leaf in the innermost."""

    def __init__(self) -> None:
        self._plain: list[str] = []
        self._fenced: set[int] = set()
        self._index = -1
        self._containers: list[_Container] = []
        self._paragraph: list[tuple[str, str | None]] = []  # inner text, and the line itself where it may count
        self._fence = ""  # the run that opened fenced code
        self._fence_begin = 0
        self._html: re.Pattern[str] | None = None  # what ends the block of HTML
        self._html_lines: list[str] = []
        self._table = False
        self._empty_item = False  # the innermost container is an item without any text yet
        self._concealment = Concealment()

    def finish(self) -> Outline:
        # A fence inside a quote or a list ends by itself when text at the margin follows.
        fence = "" if self._containers else self._fence
        self._close(0)
        return Outline(True, tuple(self._plain), frozenset(self._fenced), fence, self._fence_begin)

    def read(self, line: str) -> None:
        self._index += 1
        text = line.expandtabs(4)
        position, matched = self._match(text)
        rest = text[position:]
        inside = matched == len(self._containers)
        if inside and self._fence:
            self._fenced.add(self._index)
            self._read_fence(rest)
        elif inside and self._html:
            self._read_html(rest, self._html)
        elif not rest.strip(" "):
            self._close(matched)
        else:
            self._open(line, text, position, matched)

    def _close(self, depth: int) -> None:
        """Ends the leaf, and the containers from `depth` on."""
        kept = uncovered([text for text, _ in self._paragraph], self._concealment, self._enclosed())
        self._plain += [
            line for (_, line), keep in zip(self._paragraph, kept, strict=True) if keep and line is not None
        ]
        if self._html:
            self._end_html(whole=self._html is _BLANK)
        self._paragraph = []
        self._fence, self._table = "", False
        del self._containers[depth:]

    def _match(self, text: str) -> tuple[int, int]:
        """The column up to which, and the number of containers in which, the line goes on."""
        position = 0
        for index, (mark, width) in enumerate(self._containers):
            indent, rest = _split(text, position)
            if mark is _Mark.QUOTE:
                if indent > 3 or not rest.startswith(">"):
                    return position, index
                position += indent + (2 if rest.startswith("> ") else 1)
            elif (rest and indent < width) or (not rest and self._empty_item and index == len(self._containers) - 1):
                return position, index
            else:
                position += min(indent, width)
        return position, len(self._containers)

    def _read_fence(self, rest: str) -> None:
        indent, run = _split(rest.rstrip(" "), 0)
        if indent <= 3 and run.startswith(self._fence) and not run.strip(self._fence[0]):
            self._fence = ""

    def _read_html(self, rest: str, end: re.Pattern[str]) -> None:
        self._html = end
        self._html_lines.append(rest)
        if end.search(rest):
            self._end_html(whole=True)

    def _end_html(self, whole: bool) -> None:
        self._concealment.read_html("\n".join(self._html_lines), self._enclosed(), whole)
        self._html, self._html_lines = None, []

    def _enclosed(self) -> bool:
        return any(container.mark is not _Mark.ITEM for container in self._containers)

    def _open(self, line: str, text: str, position: int, matched: int) -> None:
        """Opens the containers and the leaf that begin on this line."""
        self._empty_item = False
        while True:
            goes_on = bool(self._paragraph)
            interrupts = goes_on and matched == len(self._containers)
            indent, rest = _split(text, position)
            if indent > 3:
                if not goes_on:
                    self._close(matched)  # indented code
                    return
                break
            if self._open_leaf(rest, matched, interrupts):
                return
            container, begin = _container(rest, indent, interrupts)
            if container is None:
                break
            self._close(matched)
            self._containers.append(container)
            matched += 1
            if matched > _DEEPEST:
                raise _Unclear
            position += begin
            if not text[position:].strip(" "):
                self._empty_item = container.mark is _Mark.ITEM
                return
        self._read_text(line, rest, matched, indent)

    def _open_leaf(self, rest: str, matched: int, interrupts: bool) -> bool:
        if fence := _FENCE.match(rest):
            self._close(matched)
            self._fence, self._fence_begin = fence[1] or fence[2], self._index
            return True
        for begin, end in _HTML if rest.startswith("<") else ():
            if begin.match(rest) and not (begin is _LONE_TAG and interrupts):
                self._close(matched)
                self._read_html(rest, end)
                return True
        underlined = interrupts and _UNDERLINE.match(rest)
        if underlined and may_define([text for text, _ in self._paragraph]):
            raise _Unclear  # what is left after the definitions may be nothing to underline
        if underlined or _HEADING.match(rest) or _RULE.match(rest):
            self._close(matched)
            return True
        return False

    def _read_text(self, line: str, rest: str, matched: int, indent: int) -> None:
        inside = matched == len(self._containers)
        if inside and self._table:
            return
        if inside and indent <= 3 and self._paragraph and _is_table(self._paragraph[-1][0], rest):
            self._paragraph.pop()
            self._close(matched)
            self._table = True
            return
        if not self._paragraph:
            self._close(matched)
        own = matched == 0 and not self._enclosed()
        self._paragraph.append((rest, line if own else None))


def _split(text: str, position: int) -> tuple[int, str]:
    rest = text[position:].lstrip(" ")
    return len(text) - position - len(rest), rest


def _container(rest: str, indent: int, interrupts: bool) -> tuple[_Container | None, int]:
    """The container that begins here, and how many columns its sign takes."""
    if rest.startswith(">"):
        return _Container(_Mark.QUOTE, 0), indent + (2 if rest.startswith("> ") else 1)
    if footnote := _FOOTNOTE.match(rest):
        return _Container(_Mark.FOOTNOTE, 4), indent + footnote.end()
    item = _ITEM.match(rest)
    bare = item is not None and not rest[item.end() :]
    if item is None or (interrupts and (bare or item["number"] not in (None, "1"))):
        return None, 0
    blanks = len(item["blanks"])
    width = indent + len(item["marker"]) + (1 if bare or blanks > 4 else blanks)
    return _Container(_Mark.ITEM, width), width


def _is_table(header: str, delimiters: str) -> bool:
    return bool(_DELIMITERS.match(delimiters)) and _cells(header) == _cells(delimiters)


def _cells(row: str) -> int:
    inner = row.strip(" \f\v").removeprefix("|")
    pipes = [match.end() for match in _PIPE.finditer(inner) if match[1]]
    return len(pipes) + (not pipes or pipes[-1] != len(inner))
