"""Which lines of one paragraph no inline Markdown covers. Coarser than Markdown, always towards covered."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque

_QUOTED = r"\"[^\"\n`<>]*\"|'[^'\n`<>]*'"
_TARGET = r"\]\((?:[^()\s<\"'`\\]|\([^()\s<\"'`\\]*\))*(?: +\"[^\"\n`\\]*\")?\)"
# An escape, a run of backticks, a tag or a link's target that is complete on its line, or the beginning of one that is
# not: both may swallow backticks.
_TAG = rf"<[a-z/](?:[^<>\n\"'`]|{_QUOTED})*>|<[a-z/][^<>\n\"'`]*(?=<)"  # the second cannot become a tag any more
_TOKEN = re.compile(rf"\\[^\n]|(?P<run>`+)|(?P<whole>{_TAG}|{_TARGET})|(?P<unclear><[a-z/!?]|\]\()", re.I)
_BRACKETS = re.compile(rf"!?\[[^\[\]\n]*(?:{_TARGET}|\](?!\())")
_LINK = (re.compile(r"\["), re.compile(r"[\])]"))
_CONCEALING = "a|blockquote|code|del|details|kbd|pre|q|s|samp|strike|summary|table|template|tt"
_CONCEALING_TAG = re.compile(rf"(?P<comment><!--)|(?P<end>-->)|<(?P<closing>/?)(?P<name>{_CONCEALING})\b", re.I)
_BROKEN_TAG = re.compile(r"<[a-z/!?][^<>]*(?:<|\Z)", re.I)
_PAIRS = (  # whatever lies between the first of these and the last of those is covered
    (re.compile("~"), re.compile("~")),
    (re.compile(r"\$"), re.compile(r"\$")),
    (re.compile(rf"<(?:{_CONCEALING})\b", re.I), re.compile(rf"</(?:{_CONCEALING})\b", re.I)),
)


class Concealment:
    """The HTML elements and comments that are still open and hide, quote or strike out the paragraphs that follow."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._comment = False
        self._broken = False

    def __bool__(self) -> bool:
        return self._comment or self._broken or self._open.total() > 0

    def read(self, text: str, enclosed: bool) -> None:
        """`enclosed`: in a quote or a footnote. Its end ends what began inside, except that a raw quote may take it."""
        for tag in _CONCEALING_TAG.finditer(text):
            if tag["comment"] or tag["end"]:
                self._comment = bool(tag["comment"])
            elif not self._comment and not (enclosed and tag["name"].lower() != "blockquote"):
                name = tag["name"].lower()
                self._open[name] = max(0, self._open[name] + (-1 if tag["closing"] else 1))

    def read_html(self, block: str, enclosed: bool, whole: bool) -> None:
        """A block of raw HTML; `whole`: it was not cut off by the end of what encloses it."""
        self.read(block, enclosed)
        before, *comments = block.split("<!--")
        tags = before + "".join(comment.partition("-->")[2] for comment in comments)
        # What a browser takes for the end of a broken tag is anybody's guess.
        self._broken = self._broken or not whole or bool(_BROKEN_TAG.search(tags))


def uncovered(lines: list[str], concealment: Concealment, enclosed: bool) -> list[bool]:
    """Per line of the paragraph: nothing covers it. Tells `concealment` what the paragraph leaves open."""
    if not lines:
        return []
    before = bool(concealment)
    text, unclear = _cover_code("\n".join(lines))
    concealment.read(text + unclear, enclosed)
    if before or concealment or may_define(lines):
        return [False] * len(lines)
    clear, size = len(text), len(text) + len(unclear)
    brackets = _BRACKETS.sub(_covered, text) + unclear
    text += unclear
    spans = [_between(text, opener, closer) for opener, closer in _PAIRS]
    spans += [_between(brackets, *_LINK), (clear, size)]
    for begin, end in spans:
        text = text[:begin] + _blank(text[begin:end]) + text[end:]
    return [line == left for line, left in zip(lines, text.split("\n"), strict=True)]


def may_define(lines: list[str]) -> bool:
    """Whether the paragraph begins with what may be link definitions, which nobody sees."""
    return lines[0].startswith("[") and any("]:" in line for line in lines)


def _cover_code(text: str) -> tuple[str, str]:
    """The text with code spans and escapes covered, and apart what begins where code can no longer be told for sure."""
    closers: defaultdict[int, deque[int]] = defaultdict(deque)
    for run in re.finditer("`+", text):
        closers[len(run[0])].append(run.start())
    parts: list[str] = []
    position = 0
    while token := _TOKEN.search(text, position):
        parts.append(text[position : token.start()])
        if token["unclear"]:
            return "".join(parts), text[token.start() :]
        end = token.end()
        if token["run"]:
            end = _code_end(token, closers[len(token["run"])])
        keep = token["whole"] or (token["run"] and end == token.end())
        parts.append(text[token.start() : end] if keep else _blank(text[token.start() : end]))
        position = end
    return "".join(parts) + text[position:], ""


def _code_end(opener: re.Match[str], closers: deque[int]) -> int:
    while closers and closers[0] < opener.end():
        closers.popleft()
    return closers[0] + len(opener["run"]) if closers else opener.end()


def _between(text: str, opener: re.Pattern[str], closer: re.Pattern[str]) -> tuple[int, int]:
    first = opener.search(text)
    ends = [match.end() for match in closer.finditer(text)]
    return (first.start(), ends[-1]) if first and ends and ends[-1] > first.end() else (0, 0)


def _covered(match: re.Match[str]) -> str:
    return _blank(match[0])


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", "\0", text)
