"""Every sentence as it is read, held by a page of its own, and what no sentence may do."""

from __future__ import annotations

import re

import pytest

from orchestrator import refusals
from tests import sentences

PIECES = [piece.partition("\n\n")[::2] for piece in sentences.page().split("\n## ")[1:]]


def test_the_page_is_what_the_program_says() -> None:
    assert sentences.PAGE.read_text(encoding="utf-8") == sentences.page(), "run `python -m tests.sentences`"


@pytest.mark.parametrize("room", sentences.ROOMS, ids=lambda room: room.__name__.split(".")[-1])
def test_every_sentence_is_on_the_page(room: object) -> None:
    named = set(sentences.functions(room))  # type: ignore[arg-type]
    assert named - sentences.CALLS.keys() - sentences.MACHINERY == set()


def test_the_page_shows_nothing_that_is_gone() -> None:
    there = {name for room in sentences.ROOMS for name in sentences.functions(room)}
    assert sentences.CALLS.keys() <= there


@pytest.mark.parametrize(
    "words", [words for _, words in PIECES], ids=[f"{name}-{place}" for place, (name, _) in enumerate(PIECES)]
)
def test_no_sentence_acts(words: str) -> None:
    assert not re.search(r"\\x(?!a0)|\\u001b", words), "a control character"
    words = re.sub(r"^    (`{3,})\n.*?^    \1`*$", "", words, flags=re.DOTALL | re.MULTILINE)  # a block acts on nobody
    assert "@everybody" not in words
    assert "@team" not in words
    assert not re.search(r"^ *    /merge", words, re.MULTILINE), "a line that is a command"


def test_a_refusal_says_what_to_do_next() -> None:
    """After the reason comes another sentence, or the reason names the command."""
    for name, words in sentences.constants(refusals).items():
        if not name.startswith(("FROM_", "AUTHOR_")):
            assert len(re.findall(r"[.](?:\s|$)", words)) >= 2 or "`/merge" in words, name
