"""The real Claude Code CLI inside the sandbox: it works there, goes on there, and reaches nothing else."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.agents.base import Outcome, Role, Task
from orchestrator.agents.claude import Claude
from orchestrator.agents.prompts import REVIEW_SCHEMA
from orchestrator.clock import Stop
from orchestrator.sandbox import Bubblewrap, Sandbox
from tests.boxed import walled
from tests.model_api import ModelApi, say, tool_results, use, user_texts
from tests.test_claude_cli import ANSWER, BOUNDS, PROMPT, README, Place, Ran, make_place

CANARY = "canary-of-the-home"

pytestmark = walled


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Bubblewrap()


def boxed_task(place: Place, role: Role = Role.IMPLEMENT) -> Task:
    return replace(place.task(role), keep=place.root / "session", see=(place.root / "main/.git",))


def boxed_place(root: Path) -> Place:
    place = make_place(root)
    (place.root / "home/.ssh").mkdir()
    (place.root / "home/.ssh/id_ed25519").write_text(CANARY)
    return place


@pytest.fixture(scope="module")
def implemented(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Ran]:
    """An agent that does its work, and then tries what it may not."""
    place = boxed_place(tmp_path_factory.mktemp("implement"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        tries = [
            f"cat {place.root}/home/.ssh/id_ed25519",
            f"ls {place.root}/home/.ssh ~/.claude",
            f"echo x > {place.root}/main/planted",
            "git commit -qam planted",
            f"(exec 3<>/dev/tcp/127.0.0.1/{other.getsockname()[1]}) && echo connected",
            "git status --short && git log --format=%s",
        ]
        script = [
            say("I add a file.") + use("Write", file_path=str(place.worktree / "hello.txt"), content="hello\n"),
            use("Read", file_path=f"{place.root}/home/.ssh/id_ed25519"),
            *(use("Bash", command=command) for command in tries),
            say("Added hello.txt."),
        ]
        with ModelApi(script) as api:
            result = place.claude(api.url, sandbox=sandbox).run(boxed_task(place), BOUNDS, Stop())
            yield Ran(place, result, api.requests)


def test_an_agent_works_behind_the_walls(implemented: Ran) -> None:
    assert (implemented.result.outcome, implemented.result.detail) == (Outcome.DONE, "")
    assert (implemented.place.worktree / "hello.txt").read_text() == "hello\n"
    assert tool_results(implemented.requests[-1])[-1].startswith("?? hello.txt\nfirst")


def test_A27_no_tool_of_the_agent_reads_the_home(implemented: Ran) -> None:
    results = tool_results(implemented.requests[-1])
    assert len(results) == 8
    assert CANARY not in "".join(results)
    assert [("No such file" in result or "does not exist" in result) for result in results[1:4]] == [True] * 3


def test_A33_git_of_the_agent_writes_nothing_that_git_of_the_daemon_reads(implemented: Ran) -> None:
    assert implemented.place.git("log", "--format=%s") == "first"
    assert not (implemented.place.root / "main/planted").exists()


def test_A29_another_port_of_this_machine_is_out_of_reach(implemented: Ran) -> None:
    assert "connected" not in "".join(tool_results(implemented.requests[-1]))


def test_a_review_cannot_write_though_its_tools_be_tricked(tmp_path: Path, sandbox: Sandbox) -> None:
    """Without `--tools` the program offers everything: the walls alone hold it then."""
    place = boxed_place(tmp_path)
    script = [
        use("Read", file_path=str(place.worktree / "README.md"))
        + use("Bash", command=f"touch {place.worktree}/touched; touch {place.root}/touched; echo tried"),
        use("StructuredOutput", **ANSWER),
    ]
    with ModelApi(script) as api:
        claude = Everything(place, api.url, sandbox)
        result = claude.run(replace(boxed_task(place, Role.REVIEW), schema=REVIEW_SCHEMA), BOUNDS, Stop())
    assert (result.outcome, result.data) == (Outcome.DONE, ANSWER)
    assert README in tool_results(api.requests[-1])[0]
    assert "tried" in tool_results(api.requests[-1])[1]
    assert place.git("status", "--porcelain") == ""
    assert not (place.root / "touched").exists()


class Everything(Claude):
    """As a version that does not mind the list of tools."""

    def __init__(self, place: Place, url: str, sandbox: Sandbox) -> None:
        usual = place.claude(url, sandbox=sandbox)
        super().__init__("unused", usual._environ, sandbox)
        self._command, self._hosts = usual._command, usual._hosts

    def _argv(self, task: Task, bounds: object) -> list[str]:
        words = super()._argv(task, BOUNDS)
        tools = words.index("Read,Glob,Grep")
        return [word.replace("Read,Glob,Grep", "Read,Glob,Grep,Bash") for word in words] if tools else words


def test_F04_a_session_goes_on_behind_the_walls(tmp_path: Path, sandbox: Sandbox) -> None:
    place = boxed_place(tmp_path)
    task = boxed_task(place)
    with ModelApi([say("Half of it."), say("Done after all.")]) as api:
        claude = place.claude(api.url, sandbox=sandbox)
        claude.run(task, BOUNDS, Stop())
        again = replace(task, resume=True, prompt="Go on.", run_id=str(uuid.uuid4()), log=place.root / "second.log")
        resumed = claude.run(again, BOUNDS, Stop())
    assert (resumed.outcome, resumed.text) == (Outcome.DONE, "Done after all.")
    assert any(text.endswith(PROMPT) for text in user_texts(api.requests[-1]))
