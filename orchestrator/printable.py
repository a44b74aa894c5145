"""Text from outside made safe for a terminal or a log line."""

from __future__ import annotations

import re

# C0, DEL and C1 drive a terminal; line and paragraph separators and the bidirectional marks forge what is seen.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    """`text` with its control characters as visible escapes, those in `keep` left as they are."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
