"""Writes what `orchestrator/settings.py` says into `.env.example`, the README and `plain.json`: `make settings`."""

import re
from pathlib import Path

from orchestrator import glance, plain, settings

SECTION = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)


def main() -> None:
    """Run in the checkout's root."""
    Path(".env.example").write_text(settings.example(), encoding="utf-8")
    glance.PLAIN.write_text(plain.text(), encoding="utf-8")
    readme = Path("README.md")
    filled = SECTION.sub(lambda m: f"{m[1]}{settings.table()}\n{m[2]}", readme.read_text(encoding="utf-8"))
    readme.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
