"""What a person sees of a text on GitHub, as plain text: what the agent may see of it, and no more.

Guaranteed for any text: no HTML comment, closed or not, and no invisible character is left (`visible`). In Markdown
(`rendered`) the text of images and titles of links, HTML tags with their attributes, processing instructions and
definitions of link targets go too, and entities become their characters; code stays as it is written.

Left alone: brackets nested more than three deep in an image's text, and the addresses of links, which a person sees
when pointing at them.
"""

from __future__ import annotations

import html
import re
import unicodedata

from orchestrator.decide.markdown import code_lines

# Invisible, but not in the categories that `_is_invisible` goes by: joiners, fillers, variation selectors, blanks.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0000, 0xE1000),
        ),
    )
)
# A browser ends a comment at `-->` and at `--!>`; an unclosed one hides the rest of the text.
_HTML_COMMENT = re.compile(r"<!--.*?(?P<end>--!?>|\Z)", re.DOTALL)
_UNCLOSED = "[an HTML comment opened here and never closed; it and what followed were left out]"


def _bracketed(depth: int) -> str:
    deeper = r"|\[" + _bracketed(depth - 1) + r"\]" if depth else ""
    return r"(?:[^\[\]\\]|\\." + deeper + ")*"


_TITLE = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\))"""
_TARGET = r"(?:<[^<>\n]*>|(?=[^\s)])[^\s()<]*(?:\([^\s()]*\)[^\s()]*)*)"
# The leftmost alternative that fits wins, as in Markdown.
_HIDING = re.compile(
    rf"""(?P<kept>\\[!-/:-@\[-`{{-~]|(?<!`)(?P<run>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=run)(?!`))
    |(?P<image>!\[{_bracketed(3)}\](?:\((?:\s*{_TARGET}(?:\s+{_TITLE})?)?\s*\)|\[[^\[\]]*\])?)
    |(?P<titled>\]\(\s*(?:(?P<target>{_TARGET})\s+)?{_TITLE}\s*\))
    |(?P<definition>(?:^|(?<=\n))[ \t>]*\[(?!\^)(?:[^\[\]\\]|\\.){{1,999}}\]:[ \t]*(?:\n[ \t]*)?(?:<[^<>\n]*>|[^\s<]\S*)
      (?:[ \t]*(?:\n[ \t]*)?{_TITLE})?[ \t]*(?=\n|\Z))
    |(?P<img><img(?=[\s/>])(?:"[^"]*"|'[^']*'|[^"'<>])*>)
    |(?P<tag></?[A-Za-z][A-Za-z0-9-]*(?=[\s/>])(?:"[^"]*"|'[^']*'|[^"'<>])*>
      |<\?.*?(?:\?>|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<![A-Za-z][^<>]*>)
    |(?P<entity>&(?:\#[0-9]{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});)""",
    re.DOTALL | re.VERBOSE,
)


def rendered(markdown: str) -> str:
    """What a person sees of Markdown: as `visible`, and without what it shows as something else than its words."""
    lines = re.sub("\r\n?", "\n", markdown).split("\n")
    code = code_lines("\n".join(lines))
    parts: list[str] = []
    prose: list[str] = []
    for number, line in enumerate(lines):
        if number in code:
            parts += [*_shown(prose), line]
            prose = []
        else:
            prose.append(line)
    return visible("\n".join([*parts, *_shown(prose)]))


def visible(text: str) -> str:
    """The text without HTML comments and invisible characters."""
    shown = "".join(character for character in _unix(text) if not _is_invisible(character))
    while (less := _HTML_COMMENT.sub(lambda match: "" if match["end"] else _UNCLOSED, shown)) != shown:
        shown = less  # what is left around a comment can make a new one
    return shown.strip()


def revealed(text: str) -> str:
    """The text with invisible characters spelled out, so that a reviewer sees them; lines stay where they are."""
    return "".join(f"<U+{ord(char):04X}>" if _is_invisible(char) else char for char in _unix(text)).strip("\n")


def _shown(prose: list[str]) -> list[str]:
    return [_HIDING.sub(_seen, "\n".join(prose))] if prose else []


def _seen(found: re.Match[str]) -> str:
    if found["kept"]:
        return found["kept"]
    if found["image"] or found["img"]:
        return "[image]"
    if found["entity"]:
        return html.unescape(found["entity"])
    return f"]({found['target'] or ''})" if found["titled"] else ""


def _unix(text: str) -> str:
    """One kind of line end. U+2028 and U+2029 would be lines to some readers and not to others."""
    return re.sub("\r\n?|[\u2028\u2029]", "\n", text)


def _is_invisible(character: str) -> bool:
    """Unicode's format, control, private, unassigned and surrogate characters, and those that merely show nothing."""
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cf", "Cc", "Co", "Cn", "Cs") or character in _INVISIBLE
