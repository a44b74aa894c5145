"""A sample of the crash matrix (`make crash-matrix` runs all of it), and that its eyes are open."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crashes.points import AFTER, BEFORE, INSIDE, WRITE, Point
from tests.crashes.trial import Bench
from tests.sizes import some

PARTS = 6
ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r"^\| .*\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all, because every plan begins with the world as it was before the daemon came."""
    with Bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


def test_the_matrix_knows_every_kind_of_change(bench: Bench) -> None:
    assert bench.try_out(()).good
    changes = [p.what for p in bench.golden.points if p.what.endswith(f" {INSIDE}")]
    assert [
        w for w in changes if w.startswith(("push", "POST pulls inside", "POST pulls/2/reviews", "PUT pulls/2/merge"))
    ]
    made = [e for e in bench.stage.github.journal.mutations if e.login == "robot"]
    assert len(changes) == len(made), "a change of GitHub without points around it"
    steps = {p.what.removeprefix(f"{WRITE} ") for p in bench.golden.points if p.what.startswith(WRITE)}
    assert steps >= {BEFORE, AFTER, "torn", "link", "rename"}


@pytest.mark.parametrize("part", some(range(PARTS), PARTS))
def test_a_crash_before_a_change_and_one_inside_it_leave_the_same_world(bench: Bench, part: int) -> None:
    for inside in [p for p in bench.golden.points if p.what.endswith(f" {INSIDE}")][part::PARTS]:
        before = Point(inside.lane, inside.number - 1, inside.what.replace(INSIDE, BEFORE))
        verdict = bench.try_out((before, Point(inside.lane, 0, inside.what)))
        assert verdict.good, str(verdict)
        assert verdict.crashes == 2, str(verdict)


@pytest.mark.parametrize("seed", some(range(3), 3))
def test_crashes_at_state_writes_and_any_pairs_leave_the_same_world(bench: Bench, seed: int) -> None:
    choice = random.Random(seed)
    points = bench.golden.points
    writes = [p for p in points if p.what.startswith(WRITE)]
    plans = [(point,) for point in choice.sample(writes, 2)]
    for plan in [*plans, (choice.choice(points), choice.choice(points))]:
        verdict = bench.try_out(plan)
        assert verdict.good, str(verdict)


def test_worlds_are_equal_exactly_when_a_restart_finds_the_same(bench: Bench) -> None:
    first = next(n for n, p in enumerate(bench.golden.points) if p.lane == "implement" and p.what == f"{WRITE} torn")
    worlds = []
    for point in bench.golden.points[first : first + 9]:
        if point.lane == "implement":
            crashed = bench.crash(point)
            assert crashed is not None
            worlds.append((point.what, bench.stage.traces()))
    torn = dict(worlds[:1])
    written = dict(worlds)
    assert written[f"{WRITE} link"] == torn[f"{WRITE} torn"], "in both the old state is there, and a temporary file"
    assert written[f"{WRITE} {AFTER}"] != torn[f"{WRITE} torn"], "in one of them the new state is there"


def test_what_is_double_lost_or_left_is_seen(bench: Bench) -> None:
    assert bench.try_out(()).good
    github, folder = bench.stage.github, bench.stage.folder
    repo = github.repos["acme/app"]
    github.users["robot"].comments(repo.issues[0], "<!-- orchestrator:acme/app#1/implement:sticky -->\nDone again.")
    github.users["robot"].deletes(repo.pulls[0].comments[0])
    (folder / "worktrees/acme/app/issue-1").mkdir()
    (folder / "home/runs").write_text("implement new x\nreview new y\nreview new z\n")
    child = subprocess.Popen(["sleep", "60"], env={"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"})
    try:
        verdict = bench.judged((), 0)
    finally:
        child.kill()
        child.wait()
    assert [line.partition(":")[0] for line in verdict.duplicates] == ["comment on issue 1 by robot reactions []"]
    assert [line.partition(":")[0] for line in verdict.lost] == ["comment on pull 2 by robot reactions []"]
    assert verdict.worktrees == ("issue-1",)
    assert verdict.processes == ("sleep 60",)
    assert verdict.extra_runs == 1
    assert not verdict.good


def test_the_readme_quotes_the_page() -> None:
    page = (ROOT / "tests/crashes.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = re.search(r"<!-- crashes -->\n(.*?)\n<!-- /crashes -->", readme, re.DOTALL)
    assert quoted is not None, "the README has no section between <!-- crashes --> and <!-- /crashes -->"
    assert TABLE.findall(quoted[1]) == TABLE.findall(page), "run `make crash-matrix` and quote its table"
