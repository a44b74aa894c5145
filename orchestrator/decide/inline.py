"""Which lines of one paragraph no inline Markdown covers. Coarser than Markdown, always towards covered."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque

_QUOTED = r"\"[^\"\n`<>]*\"|'[^'\n`<>]*'"
# An escape, a run of backticks, a tag that is complete on its line, or the beginning of one that is not.
_TOKEN = re.compile(rf"\\[^\n]|(?P<run>`+)|(?P<tag><[a-z/](?:[^<>\n\"'`]|{_QUOTED})*>)|(?P<unclear><[a-z/!?])", re.I)
_BRACKETS = re.compile(r"!?\[[^\[\]\n]*\](?:\([^()\s]*\)|(?![(:]))")
_DEFINITION = re.compile(r"\[[^\[\]]*\]:")
_CONCEALING = "a|blockquote|code|del|details|kbd|pre|q|s|samp|strike|summary|table|template|tt"
_CONCEALING_TAG = re.compile(
    rf"(?P<comment><!--)|(?P<end>-->)|<[?!][^<>]*(?P<whole>>?)|<(?P<closing>/?)(?P<name>{_CONCEALING})\b", re.I
)
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

    def break_off(self) -> None:
        """Some markup has no end where Markdown ends it; what a browser makes of the rest is anybody's guess."""
        self._broken = True

    def read(self, text: str) -> None:
        for tag in _CONCEALING_TAG.finditer(text):
            if tag["comment"] or tag["end"]:
                self._comment = bool(tag["comment"])
            elif self._comment:
                continue
            elif tag["name"]:
                name = tag["name"].lower()
                self._open[name] = max(0, self._open[name] + (-1 if tag["closing"] else 1))
            elif not tag["whole"]:
                self.break_off()


def uncovered(lines: list[str], concealment: Concealment) -> list[bool]:
    """Per line of the paragraph: nothing covers it. Tells `concealment` what the paragraph leaves open."""
    if not lines:
        return []
    before = bool(concealment)
    text, unclear = _cover_code("\n".join(lines))
    concealment.read(text + unclear)
    if before or concealment:
        return [False] * len(lines)
    for opener, closer in _PAIRS:
        text = _cover_between(text, opener, closer)
    text = _BRACKETS.sub(_covered, text)
    text = _cover_between(text, re.compile(r"\["), re.compile(r"[\])]"))
    if definition := _DEFINITION.search(text):
        text = text[: definition.start()] + _blank(text[definition.start() :])
    return [line == masked for line, masked in zip(lines, (text + _blank(unclear)).split("\n"), strict=True)]


def _cover_code(text: str) -> tuple[str, str]:
    """The text with code spans and escapes covered, and apart what begins with a tag that does not end on its line."""
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
        keep = token["tag"] or (token["run"] and end == token.end())
        parts.append(text[token.start() : end] if keep else _blank(text[token.start() : end]))
        position = end
    return "".join(parts) + text[position:], ""


def _code_end(opener: re.Match[str], closers: deque[int]) -> int:
    while closers and closers[0] < opener.end():
        closers.popleft()
    return closers[0] + len(opener["run"]) if closers else opener.end()


def _cover_between(text: str, opener: re.Pattern[str], closer: re.Pattern[str]) -> str:
    first = opener.search(text)
    ends = [match.end() for match in closer.finditer(text)]
    if not first or not ends or ends[-1] <= first.end():
        return text
    return text[: first.start()] + _blank(text[first.start() : ends[-1]]) + text[ends[-1] :]


def _covered(match: re.Match[str]) -> str:
    return _blank(match[0])


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", "\0", text)
