"""Writes what is told in two places: `make settings` after a change of settings.py or of a page that README quotes.

`orchestrator/settings.py` goes into `.env.example`, `plain.json` and the README; the tables of `tests/crashes.md` and
`bench/results.md` into the README.
"""

import re
from pathlib import Path

from orchestrator import glance, plain, settings

README = Path("README.md")


def table(page: Path) -> str:
    """The lines of its table."""
    return "\n".join(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


def filled(page: str, name: str, text: str) -> str:
    """The page with this text between the marks of `name`."""
    section = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return section.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def main() -> None:
    """Run in the checkout's root."""
    Path(".env.example").write_text(settings.example(), encoding="utf-8")
    glance.PLAIN.write_text(plain.text(), encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    for name, text in {
        "settings": settings.table(),
        "crashes": table(Path("tests/crashes.md")),
        "costs": Path("bench/results.md").read_text(encoding="utf-8").strip(),
    }.items():
        readme = filled(readme, name, text)
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
