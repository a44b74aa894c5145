"""Rows M of the merge specification: the commands that run before a merge, what bounds them and what they may say."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from structlog.testing import capture_logs

from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import EDITED, LANDED, STOPPED, announced, ask, gone, green, opens, refusal, runs, short


def test_M15_commands_that_change_tracked_files_have_not_passed(house: House) -> None:
    runs(house, "touch untracked.txt", f"echo '```' formatted {house.token} >> topic.txt", "echo quiet > README.md")
    pull = green(house)
    ask(house, pull)
    said = refusal(house, pull)
    assert "modified tracked files: `README.md`, `topic.txt`" in said
    assert "Commit what they produce" in said
    assert short(pull.head_sha) in said
    shown = said.split("The end of the diff:\n\n````\n")[1].split("\n````\n")[0]
    assert "-hello\n+quiet" in shown
    assert "+++ b/topic.txt" in shown
    assert "+``` formatted [secret]" in shown
    assert "untracked.txt" not in said
    house.expect(*STOPPED)


def test_M15_of_a_long_diff_the_end_is_shown_and_the_whole_is_kept(house: House) -> None:
    runs(house, "seq 100000 > README.md")
    pull = green(house)
    ask(house, pull)
    said = refusal(house, pull)
    assert "+100000" in said
    assert "+20000\n" not in said
    assert len(said) < 6000
    whole = Path(said.split("The whole diff is on the daemon's machine: `")[1].split("`")[0])
    assert "+20000\n" in whole.read_text()
    assert whole.stat().st_mode & 0o777 == 0o600
    house.expect(*STOPPED)


NOISE = r"""
import sys
out = sys.stdout.buffer
out.write(b"the very beginning\n" + b"x" * 5_000_000 + b"\n")
out.write(b"\xff\xfe bad bytes\n\x1b[31mred\x1b[0m\n````\nfence\n```\n\n/merge\n\n<!-- orchestrator:x -->\n")
out.write(b"@team #123 fixes #1\nTOKEN\nthe very end\n")
sys.exit(1)
"""


def test_M16_the_end_of_any_output_is_shown_and_does_nothing(house: House) -> None:
    script = house.folder / "noise.py"
    script.write_text(NOISE.replace("TOKEN", house.token))
    issue = house.alice.opens_issue(house.repo, "Something else")
    runs(house, f"{sys.executable} {script}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "the very end" in said
    assert "the very beginning" not in said
    assert "\ufffd\ufffd bad bytes\nred\n" in said
    assert "\x1b" not in said
    assert house.token not in said
    assert len(said) < 6000
    block = said.split("`````\n")[1]
    assert "@team #123" in block
    assert "<!-- orchestrator" not in said
    whole = Path(said.split("machine: `")[1].split("`")[0])
    assert whole.stat().st_size > 5_000_000
    assert issue.open
    house.expect(*STOPPED)


def test_M17_a_command_that_takes_too_long_is_ended_with_all_that_it_started(make_house: MakeHouse) -> None:
    house = make_house(command_timeout=0.4)
    pids = house.folder / "pids"
    runs(house, f"sleep 661 & sleep 662 & echo working; echo $! $$ > {pids}; wait")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "Command 1 of 1" in said
    assert "timed out after 0.4 s" in said
    assert "working" in said
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    house.expect(*STOPPED)


def test_M18_a_child_that_keeps_the_output_open_does_not_hold_up_the_command(house: House) -> None:
    pid = house.folder / "pid"
    runs(house, f"sleep 300 & echo $! > {pid}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert gone(int(pid.read_text()))
    house.expect(*LANDED)


STUBBORN = "trap '' TERM; echo $$ >> {pids}; sleep 300 & while :; do wait; done"


def test_M19_what_ignores_the_request_to_end_is_killed_and_told_in_the_log(make_house: MakeHouse) -> None:
    house = make_house(command_timeout=0.3)
    pids, script = house.folder / "pids", house.folder / "stubborn"
    script.write_text(STUBBORN.format(pids=pids))
    runs(house, f"setsid sh {script} & exec sh {script}")
    pull = green(house)
    with capture_logs() as told:
        ask(house, pull)
    assert "timed out after 0.3 s" in refusal(house, pull)
    assert [gone(int(pid)) for pid in pids.read_text().split()] == [True, True]
    assert "command_left_processes" in [line["event"] for line in told]
    house.expect(*STOPPED)


def test_M20_a_command_that_asks_gets_no_answer_and_does_not_wait(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("read answer || exit 7",))
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "exit status 7" in refusal(house, pull)
    house.expect(*STOPPED)


def test_M21_the_first_command_that_fails_ends_the_attempt_and_is_named(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, "true", "echo so it goes; exit 3", f"touch {ran}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert short(pull.head_sha) in said
    assert "Command 2 of 3, `echo so it goes; exit 3`, ended with exit status 3" in said
    assert "so it goes" in said.split("```")[1]
    assert not ran.exists()
    house.expect(*STOPPED)


def test_M22_what_a_pull_request_sets_does_not_change_what_runs(house: House) -> None:
    ran, foreign = house.folder / "ran", house.folder / "foreign"
    line = f"touch {foreign}"
    runs(house, f"cat .env Makefile > {ran}")
    pull = green(
        house,
        files={
            ".env": f"PRE_MERGE_COMMANDS='[\"{line}\"]'\nSETUP_COMMANDS='[\"{line}\"]'\nMERGE_COMMENT_TRIGGER=/land\n",
            "pyproject.toml": f'[tool.orchestrator]\npre_merge_commands = ["{line}"]\n',
            "Makefile": f"all:\n\t{line}\n",
            ".envrc": f"{line}\n",
            ".profile": f"{line}\n",
            "sitecustomize.py": f"import os; os.system('{line}')\n",
        },
    )
    house.alice.comments(pull, f"/merge {pull.head_sha}")  # wherever such files ask for the SHA
    house.quiet()
    said = announced(house, pull)
    assert f"`cat .env Makefile > {ran}` passed" in said
    assert "PRE_MERGE_COMMANDS" in ran.read_text()
    assert not foreign.exists()
    house.expect(*LANDED)


def test_M16_a_refusal_that_shows_no_output_speaks_of_none(house: House) -> None:
    runs(house, "echo fine")
    pull = opens(house)
    house.ci.starts(pull, "slow")
    house.alice.comments(pull, "/merge")
    house.until(lambda: any("waiting for checks" in text for text in house.said(pull)))
    house.ci.fails(pull, "slow")
    house.quiet()
    said = refusal(house, pull)
    assert "`slow`" in said
    assert house.job("merge", pull.number).log
    assert "output" not in said
    assert "daemon's machine" not in said
    house.expect(*STOPPED)


def test_M7_the_status_says_how_often_the_base_moved(house: House) -> None:
    runs(house, "true")
    pull = green(house)
    shown: list[str] = []
    house.github.after("POST issues/*/comments", lambda: shown.extend(house.said(pull)))
    for nth in range(2, 12):
        moves = partial(house.bob.pushes, house.repo, "main", {"later.txt": f"{nth}\n"})
        house.github.before("GET git/ref/heads/main", moves, nth)
        house.github.after(EDITED, lambda: shown.extend(house.said(pull)), nth - 1)
    ask(house, pull)
    assert "base moved" in refusal(house, pull)
    tests = [text.split("the merge with base `")[1].splitlines()[0] for text in shown if "pre-merge command" in text]
    assert [text.partition("` ")[2].rstrip(".") for text in dict.fromkeys(tests)] == [
        "",
        "(the base moved, 1 of 3)",
        "(the base moved, 2 of 3)",
        "(the base moved, 3 of 3)",
    ]
    house.expect(*STOPPED)
