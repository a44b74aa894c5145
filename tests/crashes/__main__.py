"""`python -m tests.crashes`: the whole matrix, a part of it, or one plan of it again."""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
from pathlib import Path

from tests.crashes.matrix import matrix
from tests.crashes.page import page, table
from tests.crashes.points import Point
from tests.crashes.trial import Bench


def main() -> int:
    """Exit code 0 when every run came to the one good end, else 1."""
    words = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    words.add_argument("--stages", type=int, default=os.cpu_count() or 1, help="how many runs at a time")
    words.add_argument("--only", default="", metavar="REGEX", help="first crashes at points whose description matches")
    words.add_argument("--sample", type=int, metavar="N", help="so many of them, chosen by the seed; default: all")
    words.add_argument("--most", type=int, default=10_000, help="second crashes run after one world; 0: no pairs")
    words.add_argument("--seed", type=int, default=0, help="what is chosen where not all is run")
    words.add_argument("--page", type=Path, help="write the table to this Markdown file")
    words.add_argument("--plan", help="kill at these points and no others: lane.number,lane.number")
    given = words.parse_args()
    if given.plan:
        return _again(given.plan)
    with matrix(given.stages, _tell) as made:
        points = [p for p in made.tally.golden.points if re.search(given.only, f"{p} {p.what}")]
        made.singles(points if given.sample is None else random.Random(given.seed).sample(points, given.sample))
        if given.most:
            made.pairs(given.most, given.seed)
        sys.stdout.write(table(made.tally))
        if given.page:
            given.page.write_text(page(made.tally))
        return bool(made.tally.bad)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _again(plan: str) -> int:
    points = [Point(lane, int(number)) for lane, _, number in (word.partition(".") for word in plan.split(","))]
    with tempfile.TemporaryDirectory(prefix="crashes-") as folder, Bench(Path(folder)) as bench:
        verdict = bench.try_out(tuple(points))
        sys.stderr.write(bench.stage.log())
    sys.stdout.write(f"{verdict}\n")
    return not verdict.good


if __name__ == "__main__":
    sys.exit(main())
