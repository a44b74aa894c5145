"""The table of rows is complete and true."""

from __future__ import annotations

from tests import rows


def test_there_are_126_rows_and_each_has_a_test() -> None:
    held = rows.tests()
    assert len(rows.ROWS) == 126
    assert [row for row in rows.ROWS if row not in held] == []
    assert held.keys() <= rows.ROWS.keys()


def test_the_page_is_that_of_the_tests() -> None:
    assert rows.PAGE.read_text(encoding="utf-8") == rows.page(), "run `python -m tests.rows`"
