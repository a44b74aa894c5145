"""Files that come with the package: the prompts and the service units."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Missing


def shipped(relative: str) -> Path:
    """The path of `prompts/...` or `systemd/...` as installed from a wheel, or in the checkout; raises Missing."""
    package = Path(__file__).resolve().parent
    for home in (package / "shipped", package.parent):
        if (path := home / relative).exists():
            return path
    raise Missing(f"{relative} did not come with this installation; install orchestrator again")
