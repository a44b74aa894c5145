"""Files through which a pull request steers tools or people: whoever merges them must have looked at the commit."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Agents' and editors' instructions and hooks, CI, ownership, and what changes how git itself reads the tree
# (`merge=union` in .gitattributes turns a conflict into a silent merge).
_FOLDERS = r"\.github|\.gitlab|\.circleci|\.claude|\.cursor|\.husky|\.githooks"
_FILES = r"claude\.md|agents\.md|\.mcp\.json|codeowners|\.gitattributes|\.gitmodules|\.env"
_PROTECTED = re.compile(rf"(?:.*/)?(?:(?:{_FOLDERS})/.*|{_FILES})", re.IGNORECASE | re.DOTALL)


def protected(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` (of files, from the repository's root) that are protected, in order; case does not matter,
    as it does not on every file system."""
    return tuple(sorted(path for path in paths if _PROTECTED.fullmatch(path)))
