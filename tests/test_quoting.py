"""Text that leaves the house has no effect, stays in its block and fits."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.decide.commands import parse
from orchestrator.decide.markdown import fences, plain_lines
from orchestrator.quoting import cap, fence, inert, plain, tail

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may fill the machine
MARK = "<!-- orchestrator:"
PIECES = (
    *(
        "@user",
        "@org/team",
        "#1",
        "GH-1",
        "owner/repo#12",
        "fixes #12",
        "closes ",
        "/merge",
        "/merge cancel",
        MARK,
        "-->",
    ),
    *(
        "<img src=x>",
        "![a](b)",
        "`",
        "``",
        "```",
        "~~~",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "    ",
        "\t",
        "<details>",
        "&#64;user",
    ),
    *(
        "a",
        "\\",
        "|",
        "[",
        "](",
        "https://github.com/o/r/issues/12",
        "\x1b[31m",
        "\u202e",
        "\u200b",
        "\r",
        "\ud800",
        "$",
    ),
)
texts = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=30).map("".join)


def visible(text: str) -> str:
    return text.replace("\u200b", "")


# tail


def test_a_short_output_is_kept_whole() -> None:
    assert tail(b"a\nb\n") == "a\nb\n"
    assert tail(b"") == ""


def test_M16_the_end_is_kept_from_the_start_of_a_line() -> None:
    output = b"".join(b"line %d\n" % number for number in range(100))
    assert tail(output, 30) == "(first 97 lines cut)\nline 97\nline 98\nline 99\n"
    assert tail(b"a\n" + b"b" * 9, 10) == "(first 1 line cut)\n" + "b" * 9


def test_a_cut_that_falls_on_the_start_of_a_line_loses_nothing() -> None:
    assert tail(b"first\nsecond\n", 7) == "(first 1 line cut)\nsecond\n"


def test_a_line_longer_than_the_limit_is_cut_in_bytes_and_not_inside_a_character() -> None:
    assert tail(b"a" * 50, 10) == "(first 40 bytes cut)\n" + "a" * 10
    assert tail("é".encode() * 20, 9) == "(first 32 bytes cut)\n" + "é" * 4


def test_a_line_start_near_the_very_end_does_not_cost_the_rest() -> None:
    assert tail(b"a" * 50 + b"\nok", 10) == "(first 43 bytes cut)\n" + "a" * 7 + "\nok"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert tail(b"a\xff\xfeb") == "a\ufffd\ufffdb"


@calm
@given(st.binary(max_size=200) | texts.map(lambda text: text.encode("utf-8", "replace")), st.integers(8, 60))
def test_the_tail_never_exceeds_its_limit(data: bytes, limit: int) -> None:
    text = tail(data, limit)
    kept = text.partition(" cut)\n")[2] if re.match(r"\(first \d+ (lines?|bytes) cut\)\n", text) else text
    assert len(kept.encode()) <= limit
    assert data.decode("utf-8", "replace").endswith(kept)


# plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[38:5:1mred\x1b[K", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1bPdata\x1b\\text", "text"),
        ("\x1b(Btext\x1b=", "text"),
        ("\x1b]never closed\nnext", "never closed\nnext"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("a\u2028b\u2029c\x85d", "a\nb\ncd"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x07\x08a\x7f", "a"),
        ("a\u202eb\u2066c\u200fd", "abcd"),
        ("a\u200bb\u2060c\ufeffd\u00ade", "abcde"),
        ("a\U000e0041\ufe0f\U000e0100\u3164\u2800b", "ab"),
        ("\ud800a\ue000b", "ab"),
        ("größe 漢字 ✓ 👀", "größe 漢字 ✓ 👀"),
    ],
)
def test_M16_nothing_drives_a_terminal_or_hides(text: str, expected: str) -> None:
    assert plain(text) == expected


@calm
@given(texts)
def test_plain_text_holds_no_control_or_format_characters(text: str) -> None:
    result = plain(text)
    assert all(one in "\n\t" or unicodedata.category(one)[0] != "C" for one in result)
    assert plain(result) == result
    result.encode()


# fence


def test_M16_the_fence_is_longer_than_any_inside() -> None:
    assert fence("a") == "```\na\n```"
    assert fence("a\n") == "```\na\n```"
    assert fence("a ```` b") == "`````\na ```` b\n`````"


def test_a_marker_or_a_lone_command_in_code_is_broken_for_readers_that_know_no_fences() -> None:
    result = fence(f"{MARK} x -->\n/merge\n/lgtm now\n/usr/bin/x\n// note\na /merge\n<b>@me</b>")
    assert MARK not in result
    assert re.search("^/(merge|lgtm)", result, re.M) is None
    assert "/usr/bin/x\n// note\na /merge\n<b>@me</b>" in result
    assert "/merge\n/lgtm now\n" in visible(result)


@calm
@given(texts)
def test_a_fenced_text_stays_one_block(text: str) -> None:
    result = fence(text)
    lines = re.split("\r\n|\r|\n", result)
    run = lines[0]
    assert re.fullmatch("`{3,}", run)
    assert [index for index, line in enumerate(lines) if line.lstrip(" ").startswith(run)] == [0, len(lines) - 1]
    after = result + "\n\n/merge"
    assert [one.lines for one in fences(after)] == [range(len(lines))]
    assert plain_lines(after) == ["/merge"]
    inside = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    assert visible("\n".join(lines[1:-1])) == visible(re.sub("[\u2028\u2029]", "\n", inside))


# inert


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("@user", "@user"),
        ("cc @org/team.", "@org"),
        ("\\@user", "@user"),
        ("&#64;user &commat;user", "&#64;"),
        ("&commat;user", "&commat;"),
        ("#1", "#1"),
        ("\\#1", "#1"),
        ("owner/repo#12", "#12"),
        ("GH-7 gh-7", "GH-7"),
        ("GH\\-7", "-7"),
        ("Fixes #12", "#12"),
        ("closes https://github.com/o/r/issues/12", "issues/12"),
        ("https://github.com/o/r/pull/12", "pull/12"),
        (f"{MARK} key -->", "<!--"),
        ("<details>", "<details"),
        ("</details>", "</details"),
        ("<?php", "<?"),
        ("![a](b)", "!["),
        ("![a][b]", "!["),
        ("/merge", "/merge"),
        ("a\n  /merge", "/merge"),
        ("a\r/merge", "/merge"),
        ("> /lgtm", "/lgtm"),
        ("@\u2060user", "@user"),
        ("<\u200b!-- x", "<!--"),
        ("`a\n@user`", "@user"),
        ("a ` b\n`@user`", "@user"),
        ("|`a | @user`|", "@user"),
        ("\\`@user`", "@user"),
        ("``@user`", "@user"),
        ("<b>\n```\n@user\n```", "<b"),
        ("```\n<!-- x\n```", "<!--"),
        ("```\n/lgtm\n```", "/lgtm"),
        ("`<!-- x`", "<!--"),
    ],
)
def test_M16_prose_without_effect_reads_as_before(text: str, broken: str) -> None:
    result = inert(text)
    assert broken not in result
    assert visible(result) == plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "plain words, 5 < 6 & R&D, a/b, #heading, C# and e-mail at noon",
        "# head\n\n- item\n\n1. one",
        "see `@property` and `#1`\nand `<b>`",
        "```python\n@property\n# 1 <b> &amp; ![x](y) issues/1\n```",
        "- a\n\n  ```\n  @user\n  ```",
        "[a](https://example.org/x)",
    ],
)
def test_ordinary_prose_and_code_are_left_alone(text: str) -> None:
    assert inert(text) == text


def test_an_open_fence_is_closed_so_that_what_follows_is_not_swallowed() -> None:
    assert inert("a\n````\nb") == "a\n````\nb\n````"
    assert plain_lines(inert("> ```\n> b") + "\n\nafter") == ["after"]


def test_a_fence_that_only_html_hid_is_seen_once_the_html_is_broken() -> None:
    result = inert("<div>\n```\n\n@user\n\n```\n@user")
    assert "@user\n\n```" in result
    assert not result.endswith("```\n@user")


def test_absurd_nesting_hides_no_mention() -> None:
    assert "@user" not in inert("> " * 30 + "@user")


@calm
@given(texts)
def test_no_inert_text_is_a_command_a_marker_or_an_open_fence(text: str) -> None:
    result = inert(text)
    assert parse(result) is None
    assert "<!--" not in result
    assert [one for one in fences(result) if one.missing_end] == []
    assert inert(result) == result


@calm
@given(
    st.lists(st.sampled_from([one for one in PIECES if "`" not in one and "~" not in one]), max_size=30).map("".join)
)
def test_prose_without_code_keeps_no_active_token(text: str) -> None:
    result = inert(text)
    assert not re.search(r"@\w|#\d|\bGH-\d|issues/\d|<[a-z!/?]|&#|!\[|^[ \t>]*/\w", result, re.M | re.A)


# cap


def test_a_text_within_the_limits_is_not_touched() -> None:
    assert cap("a" * 60_000) == "a" * 60_000


def test_a_long_text_ends_with_a_sentence_that_says_so() -> None:
    result = cap("a" * 60_001)
    assert result.endswith("a\n\n(Cut here: the text is too long for GitHub.)")
    assert 59_000 < len(result) <= 60_000


def test_wide_characters_are_cut_by_bytes_and_between_characters() -> None:
    result = cap("👀" * 59_000)
    assert 199_000 < len(result.encode()) <= 200_000
    assert set(result.partition("\n")[0]) == {"👀"}


def test_an_open_fence_is_closed_before_the_closing_sentence() -> None:
    assert cap("~~~~\n" + "a\n" * 500, 400).endswith("a\n\n~~~~\n\n(Cut here: the text is too long for GitHub.)")


def test_a_fence_too_long_to_close_is_left_out() -> None:
    result = cap("before\n" + "`" * 150 + "\n" + "a" * 400, 400)
    assert result == "before\n\n(Cut here: the text is too long for GitHub.)"


@calm
@given(texts, st.integers(1, 80), st.integers(300, 700), st.integers(300, 900))
def test_no_text_exceeds_either_limit_or_stays_in_an_open_fence(text: str, times: int, few: int, bytes_: int) -> None:
    result = cap(text * times, few, bytes_)
    assert len(result) <= few
    assert len(result.encode()) <= bytes_
    if len(text * times) > few:
        assert [one for one in fences(result) if one.missing_end] == []
