"""A scripted stand-in for Claude Code, for the demo: no model is asked, and every text it gives says so.

It understands the command line of the `claude` program and speaks its stream of events, so that
`CLAUDE_COMMAND="python -m orchestrator.agents.standin"` goes the same way as the real program. For an issue that asks
for a `greet` function it writes one with a test and runs the test; for any other it adds a line to `CHANGES.md`. As a
reviewer (`--json-schema` is given) it remarks on the first added line of the diff.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

_NOTE = "(Scripted stand-in: no model was asked.)"

_GREET = '''"""A friendly greeting."""


def greet(name: str) -> str:
    """Greet `name`, or the world when no name is given."""
    return f"Hello, {name.strip() or 'world'}!"
'''

_TEST = """import unittest

from greet import greet


class GreetTest(unittest.TestCase):
    def test_it_greets_by_name(self) -> None:
        self.assertEqual(greet("Ada"), "Hello, Ada!")

    def test_without_a_name_it_greets_the_world(self) -> None:
        self.assertEqual(greet("  "), "Hello, world!")


if __name__ == "__main__":
    unittest.main()
"""


def main(argv: list[str]) -> int:
    """Play one run; the exit code is that of the real program."""
    options = _options(argv)
    if options.version:
        _write("stand-in for Claude Code (scripted, no model)")
        return 0
    session = options.session_id or options.resume or str(uuid.uuid4())
    began = time.monotonic()
    _event({"type": "system", "subtype": "init", "cwd": str(Path.cwd()), "session_id": session, "model": "none"})
    prompt = _prompt(sys.stdin.readline())
    answer = _review(prompt) if options.json_schema else None
    text = json.dumps(answer) if answer else _implement(prompt)
    message = {"id": "msg_1", "role": "assistant", "content": [{"type": "text", "text": text}]}
    _event({"type": "assistant", "message": message, "session_id": session})
    result: dict[str, Any] = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "terminal_reason": "completed",
        "session_id": session,
        "num_turns": 1,
        "total_cost_usd": 0.0,
        "duration_ms": int((time.monotonic() - began) * 1000),
        "result": text,
    }
    _event({**result, "structured_output": answer} if answer else result)
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="standin", allow_abbrev=False)
    for flag in ("-p", "--verbose", "--strict-mcp-config", "--version"):
        parser.add_argument(flag, action="store_true")
    for option in (
        *("--input-format", "--output-format", "--setting-sources", "--permission-mode", "--tools", "--allowedTools"),
        *("--max-turns", "--max-budget-usd", "--session-id", "--resume", "--append-system-prompt-file"),
        *("--json-schema", "--model"),
    ):
        parser.add_argument(option)
    return parser.parse_args(argv)


def _prompt(line: str) -> str:
    content = json.loads(line)["message"]["content"]
    return str(content)


def _block(prompt: str, label: str) -> str:
    """The text of one block of the prompt."""
    found = re.search(rf"<({label}-[0-9a-f]+)>\n(.*?)\n</\1>", prompt, re.DOTALL)
    return found[2] if found else ""


def _implement(prompt: str) -> str:
    title = _block(prompt, "issue-title")
    if re.search(r"\bgreet\b", title + _block(prompt, "issue-body")):
        return _write_greet()
    changes = Path("CHANGES.md")
    before = changes.read_text(encoding="utf-8") if changes.exists() else "# Changes\n"
    changes.write_text(f"{before.rstrip()}\n\n- {' '.join(title.split())}\n", encoding="utf-8")
    return f"Added a line for this issue to `CHANGES.md`. Nothing was there to be tested.\n\n{_NOTE}"


def _write_greet() -> str:
    Path("greet.py").write_text(_GREET, encoding="utf-8")
    Path("test_greet.py").write_text(_TEST, encoding="utf-8")
    command = [sys.executable, "-B", "-m", "unittest", "test_greet"]
    test = subprocess.run(command, capture_output=True, text=True, timeout=60)
    ended = "passed" if test.returncode == 0 else f"failed:\n\n```\n{test.stderr[-1000:]}\n```"
    return (
        "Added `greet(name)` in `greet.py`; an empty name greets the world.\n\n"
        f"Checked with `python -m unittest test_greet`: it {ended}\n\n{_NOTE}"
    )


def _review(prompt: str) -> dict[str, Any]:
    place = _first_added_line(_block(prompt, "diff"))
    remark = f"This is where a remark on this line would stand. {_NOTE}"
    findings = [{"path": place[0], "line": place[1], "severity": "low", "text": remark}] if place else []
    return {
        "summary": f"This is where a reviewer's judgement of the change would stand. Nobody read the change. {_NOTE}",
        "verdict": "comment",
        "findings": findings,
    }


def _first_added_line(diff: str) -> tuple[str, int] | None:
    path, line = "", 0
    for text in diff.split("\n"):
        if text.startswith("+++ "):
            path = text.removeprefix("+++ ").removeprefix("b/").split("\t")[0]
        elif header := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", text):
            line = int(header[1])
        elif text.startswith("+"):
            return path, line
        elif text.startswith(" "):
            line += 1
    return None


def _event(event: dict[str, Any]) -> None:
    _write(json.dumps(event))


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
