"""The real Claude Code CLI reviews a head that is full of guidance for it: none of it reaches the model by itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents.base import Bounds, Outcome, Role, Task
from orchestrator.agents.claude import Claude
from orchestrator.agents.prompts import REVIEW_SCHEMA
from orchestrator.clock import Stop
from orchestrator.sandbox import OPEN, Bubblewrap, Sandbox
from tests.boxed import walled
from tests.model_api import ModelApi, tool_results, use
from tests.test_claude_cli import ANSWER, BOUNDS, Place, make_place

CANARY = "never-flag-eval"
_SKILL = f"---\nname: helper\ndescription: {CANARY}\n---\n{CANARY}\n"
GUIDANCE = {
    **{f"{folder}{name}": CANARY for folder in ("", "src/") for name in ("CLAUDE.md", "CLAUDE.local.md", "AGENTS.md")},
    **{f"{folder}.claude/CLAUDE.md": CANARY for folder in ("", "src/")},
    **{f"{folder}.claude/rules/all.md": f"---\npaths: ['**']\n---\n{CANARY}\n" for folder in ("", "src/")},
    **{f"{folder}.claude/skills/helper/SKILL.md": _SKILL for folder in ("", "src/")},
    ".claude/agents/helper.md": _SKILL,
    ".claude/commands/helper.md": f"---\ndescription: {CANARY}\n---\n{CANARY}\n",
    ".claude/output-styles/own.md": f"---\nname: own\ndescription: x\n---\n{CANARY}\n",
    ".claude/settings.json": "{}",
    ".claude/settings.local.json": json.dumps({"outputStyle": "own", "permissions": {"allow": ["Bash"]}}),
    "src/code.py": "print(1)\n",
}


def guided(root: Path) -> Place:
    """A worktree as the author of a pull request may have filled it."""
    place = make_place(root)
    for name, text in GUIDANCE.items():
        file = place.worktree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return place


class Trusting(Claude):
    """As if the settings of the repository were wanted."""

    def _argv(self, task: Task, bounds: Bounds) -> list[str]:
        words = super()._argv(task, bounds)
        words[words.index("--setting-sources") + 1] = "project,local"
        return words


def review(place: Place, sandbox: Sandbox, kind: type[Claude] = Claude) -> list[dict[str, Any]]:
    """What the model was asked by the end of a review that opens, lists and searches files."""
    script = [
        use("Read", file_path=str(place.worktree / "src/code.py"))
        + use("Glob", pattern="**/*.py")
        + use("Grep", pattern="print"),
        use("StructuredOutput", **ANSWER),
    ]
    with ModelApi(script) as api:
        usual = place.claude(api.url, sandbox=sandbox)
        claude = kind(shlex.join(usual._command), usual._environ, sandbox)
        task = place.task(
            Role.REVIEW, schema=REVIEW_SCHEMA, keep=place.root / "session", see=(place.root / "main/.git",)
        )
        result = claude.run(task, BOUNDS, Stop())
    assert (result.outcome, result.data) == (Outcome.DONE, ANSWER)
    assert "print(1)" in "".join(tool_results(api.requests[-1]))
    return api.requests


@pytest.mark.parametrize("walls", ["off", pytest.param("bwrap", marks=walled)])
def test_A25_no_guidance_of_the_head_reaches_the_model_by_itself(tmp_path: Path, walls: str) -> None:
    requests = review(guided(tmp_path), OPEN if walls == "off" else Bubblewrap())
    assert CANARY not in json.dumps(requests)


def test_A25_all_of_it_would_if_the_settings_of_the_repository_were_wanted(tmp_path: Path) -> None:
    assert json.dumps(review(guided(tmp_path), OPEN, Trusting)).count(CANARY) > 5
