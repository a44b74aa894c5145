"""kill -9 while an agent works, with the real command as a process; `test_crash_matrix` has every other moment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.child import Child
from tests.house import stub


def test_a_crash_while_the_agent_works_costs_one_run_and_no_work(tmp_path: Path) -> None:
    child = Child(tmp_path)
    (tmp_path / "script").write_text("ignores-sigterm\nsuccess\n")
    child.settings["claude_command"] = stub("--record", str(child.record), f"@{tmp_path / 'script'}")
    try:
        issue = child.labelled()
        child.start()
        child.until(lambda: child.runs == 1 and child.job("implement", 1).get("log"))
        log = Path(child.job("implement", 1)["log"])
        child.until(lambda: b"deaf" in log.read_bytes())
        (tmp_path / "worktrees/acme/app/issue-1/half.txt").write_text("half a thought\n")
        child.kill()
        assert child.processes() != []
        child.start()
        child.until(lambda: child.is_done("implement", 1))
        child.stop()
        assert child.processes() == []
        runs = [json.loads(line)["argv"] for line in child.record.read_text().splitlines()]
        # The second one only says that it does not know the session.
        assert ["--resume" in argv for argv in runs] == [False, True, False]
        assert child.repo.branches == ["feature/issue-1", "main"]
        assert [child.repo.log(pull.head_ref) for pull in child.repo.pulls] == [["Greet people", "First commit"]]
        assert child.repo.file("feature/issue-1", "agent.txt") == "made by the stub\n"
        assert child.said(issue) == ["sticky"]
        mirror = str(tmp_path / "worktrees/acme/app/mirror.git")
        saved = ["git", "-C", mirror, "show", "refs/orchestrator/salvage/issue-1/1:half.txt"]
        assert subprocess.run(saved, capture_output=True, text=True).stdout == "half a thought\n"
    finally:
        child.close()
