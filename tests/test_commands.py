"""The comment parser: what is a command, what is not, and that it costs linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.decide.commands import Command, Verb, parse

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may fill the machine
MERGE = Command(Verb.MERGE)
SHA = "abcdef1"

C1 = {
    "fence": "```\n/merge\n```",
    "tilde fence": "~~~\n/merge\n~~~",
    "info string": "```sh title=x\n/merge\n```",
    "longer fence": "````\n```\n/merge\n```\n````",
    "the other sign does not close": "```\n~~~\n/merge\n~~~\n```",
    "shorter run does not close": "`````\n````\n/merge",
    "closing run with a word does not close": "```\n``` x\n/merge\n```",
    "closing run indented by four does not close": "```\n    ```\n/merge\n```",
    "fence indented by three": "   ```\n/merge\n   ```",
    "fence in an item": "- a\n  ```\n  /merge\n  ```",
    "fence on the item's line": "1. ```\n   /merge\n   ```",
    "fence at the margin ends an item's fence": "- ```\n  a\n```\n/merge\n```",
    "fence in a quote ends with it": "> ```\n\n```\n/merge\n```",
    "fence interrupts a quote": "> a\n```\n\n/merge\n```",
    "fence after a tab": "a\n\n\t```\n```\n/merge",
    "indented code": "a\n\n    /merge",
    "indented by a tab": "\t/merge",
    "continuation indented by four": "a\n    /merge",
    "inline code": "`/merge`",
    "inline code over lines": "see `a\n/merge\nb`",
    "double backticks": "``a `\n/merge\n` b``",
    "code closes at the same run only": "`a ``\n/merge\n`` b`",
    "an escaped backtick opens nothing": "\\`a` b\n/merge\nc`",
    "a tag swallows a backtick": '<a title="`">`\n/merge\n`',
    "quote": "> /merge",
    "lazy quote": "> a\n/merge",
    "lazy in a nested quote": "> > a\n> b\n/merge",
    "lazy quote in an item": "- > a\n/merge",
    "quote without blank": ">/merge",
    "comment": "<!-- /merge -->",
    "comment over lines": "<!--\n\n/merge\n\n-->",
    "comment in a sentence": "a <!--\n/merge\n--> b",
    "comment never closed": "<!--\n\n/merge",
    "comment never closed in a sentence": "a <!-- b\n\n/merge",
    "comment cut off by its quote": "> <!-- a\n\n/merge",
    "pre": "<pre>\n\n/merge\n\n</pre>",
    "script": "<script>\n\n/merge\n</script>",
    "html block": "<div>\n/merge\n</div>",
    "lone tag": "<b>\n/merge",
    "processing instruction": "<?\n\n/merge\n?>",
    "declaration": "<!X\n\n/merge\n>",
    "cdata": "<![CDATA[\n\n/merge\n]]>",
    "details": "<details>\n<summary>x</summary>\n\n/merge\n\n</details>",
    "nested details": "<details>\n<details>\n</details>\n\n/merge",
    "blockquote element": "<blockquote>\n\n/merge\n\n</blockquote>",
    "struck out": "~~a\n/merge\nb~~",
    "struck out by a tag": "<del>x\n/merge\ny</del>",
    "attribute over lines": '<a title="\n/merge\n">',
    "link text": "[a\n/merge\nb](c)",
    "image text": "![a\n/merge\nb](c)",
    "link target": "[a](\n/merge\n)",
    "link title": '[a](b "\n/merge\n")',
    "link in brackets": "[/merge](x)",
    "link title swallows a backtick": '[a](b "`")\n`\n/merge\n`',
    "definition's label swallows a backtick": "[`]: b\n`\n/merge\n`",
    "underlined definition": "[a]: b\n===\n<b>\n```\n\n/merge",
    "tag inside a tag": "<pre>\n<b </pre>\n/merge",
    "quoted element that the quote's end does not end": "> <blockquote>\n\n/merge",
    "definition's target": "[a]:\n/merge",
    "definition's title": '[a]: b "\n/merge\n"',
    "footnote": "x[^1]\n\n[^1]: a\n/merge",
    "footnote's second paragraph": "x[^1]\n\n[^1]: a\n\n    /merge",
    "table row": "a|b\n-|-\n/merge",
    "table of one column": "| a |\n|---|\n/merge",
    "after a comment": "<!-- a\n\nb --> c\n\n/merge",
    "a comment about details": "<!-- use <details> -->\n\n/merge",
    "after details": "<details>\n\na\n\n</details>\n\n/merge",
    "after pre": "<pre>\n\na</pre>\n/merge",
    "straight below a list": "- a\n- b\n/merge",
    "after a quoted element": "> <details>\n> a\n\n/merge",
    "generics": "a Map<String, List<T>> b\n/merge\n> c",
    "item's text": "1. comment this:\n   /merge",
    "item's paragraph": "- a\n\n  /merge",
    "on the item's line": "- /merge",
    "heading": "# /merge",
    "byte order mark": "\ufeff```\n/merge\n```",
    "nested absurdly": "+ - " * 15 + "\n\n/merge",
}


@pytest.mark.parametrize("body", C1.values(), ids=C1.keys())
def test_C1_text_that_github_does_not_show_as_the_writers_own_line_is_no_command(body: str) -> None:
    assert parse(body) is None


LIVE = {
    "alone": "/merge",
    "upper case": "/MERGE",
    "after a blank line": "looks good\n\n/merge",
    "in a paragraph": "looks good\n/merge\nthanks",
    "after a closed fence": "```\na\n```\n/merge",
    "after a fence with more marks": "```\na\n`````   \n/merge",
    "backticks in the info string open no fence": "``` a`b\n/merge",
    "after a fence in an item": "- a\n  ```\n  b\n  ```\n\n/merge",
    "below a fence that its item ended": "- ```\n  a\n/merge",
    "after a quote": "> a\n\n/merge",
    "below a quoted heading": "> # a\n/merge",
    "below a quoted fence": "> ```\n> a\n> ```\n/merge",
    "after code in the line": "see `a`\n/merge\nand `b`",
    "after an unpaired backtick": "it`s fine\n/merge",
    "an escape is no code": "\\`\n/merge\n\\`",
    "code about details": "no `<details>` please\n\n/merge",
    "after links": "[a](b) and [c] and ![d](e)\n/merge\n[f](g)",
    "between boxes": "- [x] a\n- [ ] b\n\n/merge",
    "less indented than the item": "10. a\n\n   /merge",
    "after a table": "a|b\n-|-\n1|2\n\n/merge",
    "pipes are not a table": "a | b\n/merge\nc | d",
    "above a signature": "/merge\n-- \nAda",
    "after a rule": "***\n/merge",
    "after a heading": "# a\n/merge",
    "after a link with a title": '[a](https://b/c_(d) "e")\n/merge\n[f](g)',
    "smaller than": "1 < 2\n/merge\n3 > 2",
    "an item that starts empty ends at a blank": "-\n\n  /merge",
}


@pytest.mark.parametrize("body", LIVE.values(), ids=LIVE.keys())
def test_C1_a_line_of_its_own_is_a_command_whatever_stands_around_it(body: str) -> None:
    assert parse(body) == MERGE


@pytest.mark.parametrize(
    "body",
    [
        "/merge\r\n",
        "/merge\r",
        "a\r\n\r\n/merge\r\nb",
        "a\r\r/merge",
        "/merge  \t ",
        " /merge",
        "  /merge",
        "   /merge",
    ],
)
def test_C2_line_ends_and_blanks_around_the_command_do_not_matter(body: str) -> None:
    assert parse(body) == MERGE


@pytest.mark.parametrize(
    "sign",
    ["\u00a0", "\u200b", "\u200d", "\ufeff", "\u2060", "\u3000", "\x00", "\x0b", "\x0c", "\x85", "\u2028", "\ud800"],
)
def test_C2_invisible_and_odd_signs_beside_it_make_it_no_command(sign: str) -> None:
    assert parse(sign + "/merge") is None
    assert parse("/merge" + sign) is None
    assert parse(f"a{sign}/merge") is None
    assert parse(f"/mer{sign}ge") is None


@pytest.mark.parametrize("body", ["```\na\n\n/merge", "a\n~~~ x\n/merge\n```\n/merge", "- a\n\n```\n- b\n\n/merge"])
def test_C3_an_unclosed_fence_runs_to_the_end(body: str) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "please /merge",
        "I would never /merge this",
        "/merged",
        "/mergefoo",
        "/merge-base",
        "/merge/",
        "/merge.",
        "/merge,now",
        "//merge",
        "\\/merge",
        "/merge\\",
        "/ merge",
        "/merge:abcdef1",
        "**/merge**",
        "`/merge`",
        "/mergе",  # noqa: RUF001  # the last letter is Cyrillic
    ],
)
def test_C4_words_that_only_look_like_it_are_no_command(body: str) -> None:
    assert parse(body) is None


@pytest.mark.parametrize("argument", ["now", "12345", "abcdef", "a" * 41, "abcdefg", f"{SHA} {SHA}", "cancelled", "-"])
def test_C5_usage_is_what_an_unknown_argument_asks_for(argument: str) -> None:
    assert parse(f"/merge {argument}") == Command(Verb.USAGE, argument=argument)


@pytest.mark.parametrize("sha", [SHA, "1234567", "A" * 40, "0123456789ab"])
def test_C5_usage_is_not_asked_for_by_a_sha(sha: str) -> None:
    assert parse(f"/merge \t{sha} ") == Command(Verb.MERGE, sha=sha.lower())


def test_C5_usage_is_not_asked_for_by_cancel() -> None:
    assert parse("/Merge Cancel") == Command(Verb.CANCEL)


def test_the_last_of_several_commands_decides() -> None:
    assert parse("/merge\n/merge cancel") == Command(Verb.CANCEL)
    assert parse("/merge cancel\n\n/merge abcdef1") == Command(Verb.MERGE, sha=SHA)
    assert parse("/merge cancel\n```\n/merge\n```") == Command(Verb.CANCEL)


def test_the_trigger_is_taken_literally_and_may_have_words() -> None:
    assert parse("@bot   Merge", "@bot merge") == MERGE
    assert parse("@bot merge cancel", "@bot merge") == Command(Verb.CANCEL)
    assert parse("/merge", "/land") is None
    assert parse("/landX", "/land.") is None
    assert parse("/\u212aick", "/kick") is None
    with pytest.raises(ValueError, match="empty"):
        parse("/merge", " ")


NASTY = (
    *("`", "`\n", "`` `", "[", "[\n", "[a](", "[a]:", "](", "<", "<!--", "<a b='", "<a x='<a y=\"", "<?", "<![CDATA["),
    *(
        "~",
        "$",
        "\\",
        "*",
        "- ",
        "- \n",
        "> ",
        ">\n",
        "1. ",
        "[^1]:",
        "\n",
        " ",
        "\t\n",
        "|",
        "|-\n",
        "```\n",
        "<pre>\n",
    ),
    *("<div>\n", "<del>", "- a\n\n", "/merge\n", "/merge `\n", "\r", "&lt;"),
)


def seconds(text: str) -> float:
    start = time.thread_time()
    parse(text)
    return time.thread_time() - start


BEFORE = {"lines": "+ - " * 9 + "\n", "signs": "a <b c='"}  # inside deep lists, inside a tag


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside"])
@pytest.mark.parametrize("piece", NASTY)
def test_C6_linear_time_for_any_nasty_comment(piece: str, inside: bool) -> None:
    before = BEFORE["lines" if "\n" in piece else "signs"] if inside else ""
    small, large = (before + piece * (size // len(piece)) for size in (2_048, 32_768))
    # Sixteen times the text: linear costs 16 times the time, quadratic 256 times. A busy machine gets second chances.
    assert any(seconds(large) <= 80 * max(seconds(small), 0.0003) for _ in range(4))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("/merge\n\nOn Monday Ada wrote:\n> /merge cancel\n> b\n", MERGE),
        ("> please\n> /merge cancel\n\n/merge\n\n> and this", MERGE),
        ("No.\n\nOn Monday Ada wrote:\n> /merge\n", None),
        ("/merge\r\n\r\n-----Original Message-----\r\n> From: Ada\r\n> /merge cancel\r\n", MERGE),
    ],
)
def test_C7_an_answer_by_mail_commands_by_its_unquoted_lines_only(body: str, expected: Command | None) -> None:
    assert parse(body) == expected


# Documents made of blocks that are known to show their command, or known not to.
COMMAND = "/merge {sha}"
SHOWN = ("{c}", "  {c} \t", "words before\n{c}", "{c}\nwords after", "a `b`\n{c}\nc `d`", "# a\n{c}", "{c}\n---")
HIDDEN = (
    *("```\n{c}\n```", "~~~ py\n\n{c}\n\n~~~", "````\n```\n{c}\n````", "- a\n\n  ```\n  {c}\n\n  ```\nend", "> a\n{c}"),
    *(
        "> {c}",
        "> ```\n> {c}",
        "    {c}",
        "<!--\n\n{c}\n\n-->",
        "a <!--\n{c}\n-->",
        "<div>\n{c}\n</div>",
        "`a\n{c}\nb`",
    ),
    *(
        "<details>\n\n{c}\n\n</details>",
        "<pre>\n\n{c}\n</pre>",
        "[a\n{c}\nb](c)",
        "a|b\n-|-\n{c}",
        "**{c}**",
    ),
)
NEUTRAL = (
    "words",
    "# head",
    "- a\n- b\n\nend",
    "> quote",
    "***",
    "```\ncode\n```",
    "a `b` c",
    "<!-- c -->",
    "a | b",
    "",
)
OPEN = ("```", "~~~ x", "<!--", "<pre>", "<details>", "a <!-- b")  # hides all that follows
blocks = st.lists(
    st.tuples(st.sampled_from(("shown", "hidden", "neutral", "neutral", "open")), st.integers(0, 99)), max_size=9
)


@calm
@given(blocks, st.sampled_from(("\n", "\r\n", "\r")))
def test_generated_documents_are_read_as_they_were_built(document: list[tuple[str, int]], newline: str) -> None:
    built, expected, hidden = [], None, False
    for index, (kind, choice) in enumerate(document):
        table = {"shown": SHOWN, "hidden": HIDDEN, "neutral": NEUTRAL, "open": OPEN}[kind]
        sha = f"{index:07x}"
        built.append(table[choice % len(table)].replace("{c}", COMMAND.format(sha=sha)))
        if hidden and kind in ("hidden", "open"):
            built.pop()  # its own end might end what is open
        elif kind == "shown" and not hidden:
            expected = Command(Verb.MERGE, sha=sha)
        elif kind == "open" or (kind == "hidden" and built[-1].startswith(("<d", "<p", "a <"))):
            hidden = True  # raw HTML silences all that follows it, except a comment that is a whole block
    if hidden:
        built = [block for block in built if not block.startswith(("```\ncode", "<!-- c"))]
    assert parse("\n\n".join(built).replace("\n", newline)) == expected


pieces = ("/merge", "/merge cancel", *NASTY, "a", "```", "~~~", "-->", "</details>", "<details>", "===", "\x0c", "    ")
nasty = st.lists(st.sampled_from(pieces) | st.sampled_from("\n \t>"), max_size=40).map("".join)
texts = nasty | st.text()


@calm
@given(texts)
def test_a_command_is_always_a_whole_line_of_the_comment(body: str) -> None:
    lines = re.split("\r\n|\r|\n", body)
    if parse(body) is not None:
        assert any(re.fullmatch(r" {0,3}/merge(?:[ \t].*)?", line, re.I | re.S) for line in lines)


@calm
@given(texts)
def test_no_text_commands_from_inside_a_quote_a_fence_or_indented_code(body: str) -> None:
    lines = re.split("\r\n|\r|\n", body)
    longer = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    assert parse("\n".join("> " + line for line in lines)) is None
    assert parse(f"{longer}\n{body}\n{longer}") is None
    assert parse(f"{longer}\n{body}") is None
    assert parse("\n".join("    " + line for line in lines)) is None


@calm
@given(texts)
def test_the_kind_of_line_end_changes_nothing(body: str) -> None:
    plain = body.replace("\r", "")
    assert parse(plain.replace("\n", "\r\n")) == parse(plain) == parse(plain.replace("\n", "\r"))


@calm
@given(texts.filter(lambda body: not body.startswith("\ufeff")))
def test_what_follows_after_a_blank_line_does_not_change_what_was_read(body: str) -> None:
    assert parse(body + "\n\n> later") == parse(body)
