"""Generated histories of labels, texts, comments and permissions: no run and nothing published that nobody may ask."""

from __future__ import annotations

import gc
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings

from tests.histories.asking import Asking, AskStage
from tests.histories.log import listening
from tests.histories.slim import quick
from tests.sizes import some
from tests.test_histories import STEPS, TOTAL, run_machine

PARTS = range(40)
EACH = int(os.environ.get("HISTORIES", TOTAL // 20)) // len(PARTS)

Place = Callable[[], AskStage]


@pytest.fixture
def place() -> Iterator[Place]:
    """Makes stages, one after the other in one folder, in memory where the machine offers that."""
    memory = Path("/dev/shm")
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        quick(),
        listening() as bugs,
    ):
        yield lambda: AskStage(Path(folder), bugs)
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize("part", some(PARTS, 2))
def test_nothing_is_begun_or_published_that_nobody_may_ask_for(part: int, place: Place) -> None:
    class Here(Asking):
        tally: Counter[str] = Counter()

    Here.place = staticmethod(place)
    run_machine(
        seed(part)(Here),
        settings=settings(
            max_examples=EACH,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    tally = Here.tally
    assert tally["histories"] >= EACH
    # Not vacuous: agents ran, their work was published, people were refused; in many histories the daemon ended too.
    wanted = tally if EACH >= 250 else ("with a run", "with something published", "with a refusal")
    assert min(tally[what] for what in wanted) >= max(1, EACH // 20), tally
