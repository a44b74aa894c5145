"""10,000 generated histories of `/merge` hold what must always hold; the real house confirms the quick one."""

from __future__ import annotations

import gc
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.histories.acts import Act, Error, Midst, Moment
from tests.histories.fast import FastStage
from tests.histories.log import listening
from tests.histories.machine import History
from tests.histories.real import RealStage
from tests.histories.slim import quick
from tests.histories.stage import Stage
from tests.sizes import some

# Only newer versions of hypothesis tell its type.
run_machine: Callable[..., None] = run_state_machine_as_test

TOTAL = 10_000  # what CI asks for by HISTORIES; a fortieth of it where nobody does
PARTS = range(20)  # short ones: a loaded machine takes four times as long
EACH = int(os.environ.get("HISTORIES", TOTAL // 20)) // len(PARTS)
REAL = 15
STEPS = 7

Place = Callable[[], Stage]


@pytest.fixture
def fast() -> Iterator[Place]:
    """Makes fast stages, one after the other in one folder, in memory where the machine offers that."""
    memory = Path("/dev/shm")
    # A history leaves thousands of objects and no other memory behind; looking through all of them costs a third.
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        quick(),
        listening() as bugs,
    ):
        yield lambda: FastStage(Path(folder), bugs)
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Place]:
    """Makes real stages, each in a folder of its own."""
    with listening() as bugs:
        yield lambda: RealStage(Path(tempfile.mkdtemp(dir=tmp_path)), bugs)


def generated(place: Place, number: int, part: int) -> Counter[str]:
    """Run this many histories; what they were made of."""

    class Here(History):
        tally: Counter[str] = Counter()

    Here.place = staticmethod(place)
    run_machine(
        seed(part)(Here),
        settings=settings(
            max_examples=number,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Here.tally


def test_ci_runs_ten_thousand_histories() -> None:
    assert f"HISTORIES={TOTAL}" in (Path(__file__).parent.parent / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", some(PARTS, 2))
def test_histories_keep_every_promise_of_a_merge(part: int, fast: Place) -> None:
    tally = generated(fast, EACH, part)
    assert tally["histories"] >= EACH
    # Not vacuous: the daemon merged, refused and died in a good share of them.
    share = EACH // 5 if EACH >= 250 else 1
    assert min(tally[what] for what in ("with a merge", "with a refusal", "with a restart")) >= share, tally


def test_the_real_house_keeps_them_too(real: Place) -> None:
    tally = generated(real, REAL, 0)
    assert tally["histories"] >= REAL
    assert tally["with a merge"] >= REAL // 5, tally


ASKS = Act("asks")
FIXED: dict[str, list[Act | Error | Midst | float]] = {
    "merged": [ASKS],
    "head moved": [ASKS, Act("pushes", word="good")],
    "stranger": [Act("asks", who="mallory")],
    "red": [Act("checks", word="failure build"), ASKS],
    "command fails": [Act("pushes", word="bad"), Act("checks", word="success build"), 5, ASKS],
    "held meanwhile": [ASKS, Midst(Moment("GET */check-runs", 1, True), Act("label", who="bob", word="on"))],
    "conflict": [Act("base", who="bob", word="clash"), Act("pushes", word="clash"), 5, ASKS],
    "cancelled": [Act("checks", word="runs build"), ASKS, 70, Act("says", who="bob", word="/merge cancel")],
    "answer lost": [Error("PUT */merge", "done, reset"), ASKS, 130],
    "lied to": [ASKS, Error("GET pulls/1", "502", 2), Error("GET */permission", "404", 2), 62],
    "comment lost": [Error("POST issues/*/comments", "done, 502"), ASKS, 62],
}


def told(stage: Stage, steps: list[Act | Error | Midst | float]) -> list[tuple[bool, list[str]]]:
    """What became of both pull requests: merged or not, and the first words of each comment of the daemon."""
    try:
        stage.opens("main", "green")
        stage.opens("main", "green")
        stage.passes(7)
        for step in steps:
            if isinstance(step, Act):
                stage.act(step)
            elif isinstance(step, (Error, Midst)):
                step.strike(stage)
            else:
                stage.passes(step)
        assert all(armed.seen >= armed.fault.nth for armed in stage.github.faults._armed), "GitHub never failed"
        stage.quiet()
        assert [*stage.trouble(), *stage.oracle.check(stage.writes, stage.restarts)] == []
        return [(pull.merged, stage.oracle.words(pull.pull)) for pull in stage.pulls]
    finally:
        stage.close()


@pytest.mark.parametrize("name", FIXED)
def test_both_houses_end_alike(name: str, fast: Place, real: Place) -> None:
    assert told(fast(), FIXED[name]) == told(real(), FIXED[name])
