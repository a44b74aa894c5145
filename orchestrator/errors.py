"""Expected trouble, told in one sentence; everything else is a bug and keeps its traceback.

Of the work: `Refused` ends it and is said to the asker, `Retry` passes by itself. Of the operator: `Misconfigured`
and `Missing` end the command. `Stopped` is no trouble: somebody wanted the end.
"""


class Refused(Exception):
    """A sentence for the person who asked: what is not done, why, and what to do next."""


class Retry(Exception):
    """A sentence for the log: the same phase is tried again later."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        """`after`: seconds to wait; None lets the caller back off."""
        super().__init__(reason)
        self.after = after


class Misconfigured(Exception):
    """A sentence for the operator: a setting is wrong. The command exits with 2."""


class Missing(Exception):
    """A sentence for the operator: a needed thing is missing or in use. The command exits with 3."""


class Stopped(Exception):
    """The work was told to stop; the sentence says by what. Not a failure of the item."""
