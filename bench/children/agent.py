"""A scripted agent on Claude Code's command line: it leaves one new file in the folder it was started in.

agent.py [--stamp FILE] FLAGS...: FILE gets the moment at which it was started, on the monotonic clock.
"""

import os
import sys
import time

STARTED = time.monotonic()
FLAGS = """-p --input-format --output-format --verbose --setting-sources --strict-mcp-config --tools --permission-mode
--allowedTools --max-budget-usd --session-id --resume --json-schema --append-system-prompt-file --max-turns --model
--settings --disallowedTools --add-dir"""
RESULT = (
    '{"type": "result", "subtype": "success", "is_error": false, "terminal_reason": "completed", "num_turns": 1, '
    '"total_cost_usd": 0.0, "duration_ms": 1, "result": "Done.", "session_id": "%s"}\n'
)


def main(argv: list) -> int:  # type: ignore[type-arg]
    if argv[-1] == "--version":
        sys.stdout.write("2.1.0 (Claude Code; a stand-in for measuring)\n")
        return 0
    if argv[-1] == "--help":
        sys.stdout.write(FLAGS + "\n")
        return 0
    if argv[0] == "--stamp":
        with open(argv[1], "a") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            file.write(f"{STARTED}\n")
    sys.stdin.readline()
    session = argv[argv.index("--session-id") + 1] if "--session-id" in argv else ""
    sys.stdout.write('{"type": "system", "subtype": "init", "session_id": "%s"}\n' % session)  # noqa: UP031
    sys.stdout.flush()
    name = f"made-{os.getpid()}-{time.time_ns()}.txt"
    with open(name, "w") as file:  # noqa: PTH123
        file.write("made by the agent\n")
    sys.stdout.write(RESULT % session)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
