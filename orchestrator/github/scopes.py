"""What a token is told to be good for, and what of it the daemon never needs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.github.transport import Answer

# What a thief would be glad of. `repo` is needed, though it alone reaches every repository of the account.
_NEEDLESS = re.compile(r"admin:.*|delete.*|write:(?!discussion).*|manage_.*|site_admin|user|audit_log|codespace.*")


def scopes(answer: Answer) -> frozenset[str]:
    """Those of a classic token, which GitHub lists in every answer; of a fine-grained one nothing is known."""
    return frozenset(word.strip() for word in answer.headers.get("x-oauth-scopes", "").split(",")) - {""}


def needless(given: Iterable[str]) -> list[str]:
    """The scopes that could only do harm here."""
    return sorted(filter(_NEEDLESS.fullmatch, given))
