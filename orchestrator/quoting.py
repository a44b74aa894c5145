"""Text that leaves the house: bounded, readable, and without effect on anybody.

`tail` and `plain` prepare what a program printed; `fence` shows it as code; `inert` is for prose by others (titles,
summaries, findings) outside of fences; `cap` comes last, on the whole body. Guaranteed for any text:
- `fence(x)` is one block of code, whatever x holds
- `inert(x)` notifies nobody, refers to and closes no issue, shows no image, holds no HTML and so no hidden marker of
  ours, is no `/command` to `commands.parse` and leaves no fence open. Tokens are broken by a zero-width space, which
  works in Markdown, in titles and in commit messages alike, and reads as before. Code keeps its text, so that it can be
  copied, except that HTML comments and lone slash commands are broken there too: not every reader knows fences
- `cap(x)` fits into GitHub's limits
"""

from __future__ import annotations

import re
import unicodedata

from orchestrator.decide.markdown import fences

_BREAK = "\u200b"
_CUT = "\n\n(Cut here: the text is too long for GitHub.)"
_LONGEST_FENCE = 100

_TERMINAL = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # operating system commands: titles, hyperlinks
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)"  # device control and other strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[ -/]*[0-~]"
)
# Invisible, though Unicode files them under marks, letters and symbols: joiners, fillers, variation selectors, blanks.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
_NEWLINES = re.compile("\r\n|[\r\u2028\u2029]")
_DROPPED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})

_HTML = re.compile(r"<(?=[A-Za-z/!?])")
_ACTIVE = re.compile(
    r"@(?=\w)|#(?=\d)|\bGH\\?-(?=\d)|/(?:issues|pull|pulls|discussions|commit)/(?=\w)"
    r"|<(?=[A-Za-z/!?])|&(?=#?[0-9A-Za-z]{1,40};)|!(?=\[)|^[ \t>]*/",
    re.IGNORECASE | re.ASCII,
)
_ACTIVE_IN_CODE = re.compile(r"<(?=!--)|^[ \t]*/(?=[a-z][\w-]*(?:[ \t]|$))", re.IGNORECASE | re.ASCII | re.MULTILINE)
_CODE_SPAN = re.compile(r"(?<!`)(`{1,3})(?!`)([^`]+)(?<!`)\1(?!`)")


def tail(data: bytes, limit: int = 4000) -> str:
    """The last `limit` bytes as text, from a line's start where one is near, below a line that says what is cut."""
    if len(data) <= limit:
        return _shorten(data, limit)
    begin = len(data) - limit
    newline = data.find(b"\n", begin - 1, begin + limit // 2)
    if newline < 0:
        while begin < len(data) and data[begin] & 0xC0 == 0x80:  # not in the middle of a character
            begin += 1
        return f"(first {begin} bytes cut)\n{_shorten(data[begin:], limit)}"
    lines = data.count(b"\n", 0, newline + 1)
    return f"(first {lines} {'line' if lines == 1 else 'lines'} cut)\n{_shorten(data[newline + 1 :], limit)}"


def plain(text: str) -> str:
    """Without terminal control, bidirectional and invisible characters; every line end becomes LF, tabs stay."""
    text = _INVISIBLE.sub("", _TERMINAL.sub("", _NEWLINES.sub("\n", text)))
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in _DROPPED)


def fence(text: str) -> str:
    """The text as a Markdown block of code; begin it on a line of its own."""
    text = _break(_ACTIVE_IN_CODE, _NEWLINES.sub("\n", text)).removesuffix("\n")
    run = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{run}\n{text}\n{run}"


def inert(text: str) -> str:
    """Prose by others, without effect; `plain` is included. See the module's contract."""
    text = plain(text)
    # Broken HTML opens no block, so fences are looked for as they are once it is broken.
    found = fences(_break(_HTML, text))
    fenced = {index for one in found for index in one.lines}
    lines = text.split("\n")
    paragraph: list[str] = []
    done: list[str] = []
    for index, line in enumerate(lines):
        if index in fenced or not line.strip():
            done += [*_quiet(paragraph), _break(_ACTIVE_IN_CODE, line)]
            paragraph = []
        else:
            paragraph.append(line)
    done += _quiet(paragraph)
    return "\n".join([*done, *(one.missing_end for one in found if one.missing_end)])


def cap(text: str, characters: int = 60_000, octets: int = 200_000) -> str:
    """At most so many characters and bytes of UTF-8 (300 or more), cut where needed with a closing sentence."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= characters and len(text.encode()) <= octets:
        return text
    reserve = len(_CUT) + _LONGEST_FENCE + 1
    kept = text[: characters - reserve].encode()[: octets - reserve].decode("utf-8", "ignore")
    for open_one in (one for one in fences(kept) if one.missing_end):
        if len(open_one.missing_end) > _LONGEST_FENCE:
            kept = "\n".join(kept.split("\n")[: open_one.lines.start])
        else:
            kept += "\n" + open_one.missing_end
    return kept + _CUT


def _shorten(data: bytes, limit: int) -> str:
    # A replaced byte takes three, so the text is measured again.
    return data.decode("utf-8", "replace").encode()[-limit:].decode("utf-8", "ignore")


def _break(active: re.Pattern[str], text: str) -> str:
    return active.sub(lambda match: match[0] + _BREAK, text)


def _quiet(paragraph: list[str]) -> list[str]:
    """The lines without effect; code spans stay when every one of them surely ends on its own line."""
    spans = all("`" not in _CODE_SPAN.sub("", line) for line in paragraph) and not any(
        "`" in line and ("|" in line or "\\" in line) for line in paragraph
    )
    return [_quiet_line(line) if spans else _break(_ACTIVE, line) for line in paragraph]


def _quiet_line(line: str) -> str:
    done, position = "", 0
    for span in _CODE_SPAN.finditer(line):
        done += _break(_ACTIVE, line[position : span.start()]) + _break(_ACTIVE_IN_CODE, span[0])
        position = span.end()
    return done + _break(_ACTIVE, line[position:])
