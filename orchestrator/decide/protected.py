"""Files through which a pull request steers tools or people: whoever merges them must have looked at the commit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

_SPECIAL = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}
_PIECES = re.compile(r"^\*\*/|(?<=/)\*\*/|/\*\*$|\*+|\?|\[[!^]?\]?[^\]/]*\]|\\.|.", re.DOTALL)


def protected(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Those of `paths` (of files, from the repository's root) that one of `patterns` names, in order.

    The patterns are those of `.gitignore`, the last one that fits decides and `!` takes back. In three points they
    name more than there: case does not matter and characters that nobody sees are passed over, as on some file systems,
    and `name/` is also a link of that name, which a folder may hide behind.
    """
    rules = [_rule(pattern) for pattern in patterns]
    return tuple(sorted(path for path in paths if _named(path, rules)))


def _named(path: str, rules: Iterable[tuple[re.Pattern[str], bool]]) -> bool:
    seen = "".join(one for one in path if unicodedata.category(one) != "Cf")
    found = False
    for rule, named in rules:
        if found is not named and rule.fullmatch(seen):
            found = named
    return found


@lru_cache
def _rule(pattern: str) -> tuple[re.Pattern[str], bool]:
    """What paths look like that the pattern names, and whether it names them or takes them back."""
    takes_back = pattern.startswith("!")
    words = pattern[takes_back:].strip().rstrip("/")
    # Without a slash but at its end a name is meant in every folder.
    anywhere = "" if "/" in words else "(?:.*/)?"
    shape = "".join(map(_piece, _PIECES.findall(words.removeprefix("/"))))
    try:
        return re.compile(f"{anywhere}{shape}(?:/.*)?", re.IGNORECASE | re.DOTALL), not takes_back
    except re.error:  # a range that runs backwards: then the letters themselves are meant
        return re.compile(f"{anywhere}{re.escape(words)}(?:/.*)?", re.IGNORECASE | re.DOTALL), not takes_back


def _piece(piece: str) -> str:
    if piece in _SPECIAL:
        return _SPECIAL[piece]
    if piece.startswith("*"):
        return _SPECIAL["*"]
    if piece.startswith("[") and len(piece) > 2:
        inverted = piece[1] in "!^"
        inside = re.sub(r"([\\\[\]&~|^])", r"\\\1", piece[1 + inverted : -1])
        return f"(?!/)[{'^' if inverted else ''}{inside}]"
    return re.escape(piece[1] if piece.startswith("\\") and len(piece) > 1 else piece)
