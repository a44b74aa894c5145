"""The tables of rows, faults and attacks are complete and true."""

from __future__ import annotations

import pytest

from tests import rows


@pytest.mark.parametrize(
    ("table", "size"),
    [(rows.ROWS, 126), (rows.FAULTS, 79), (rows.ATTACKS, 56)],
    ids=["rows", "faults", "attacks"],
)
def test_every_row_has_a_test(table: dict[str, str], size: int) -> None:
    held = rows.tests()
    assert len(table) == size
    assert [row for row in table if row not in held] == []


def test_no_test_is_named_by_a_row_that_does_not_exist() -> None:
    assert rows.tests().keys() <= rows.ROWS.keys() | rows.FAULTS.keys() | rows.ATTACKS.keys()


def test_the_page_is_that_of_the_tests() -> None:
    assert rows.PAGE.read_text(encoding="utf-8") == rows.page(), "run `python -m tests.rows`"
