"""No form of a secret survives, nothing else is lost, and a long text takes no longer than its length."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from orchestrator.github.outgoing import redacted
from orchestrator.marks import Marks, claim
from orchestrator.record import Job, Kind
from orchestrator.redactor import HIDDEN, OURS, Redactor, Stream, credentials, unsaid

TOKEN = "c4nary+Token/0123456789"
WORDS = "The greeting says hello to everybody; basic understanding, bearer of news, see https://example.com:443/a@b."


@pytest.fixture(autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    yield
    OURS.know((), {})


def knowing(*values: str, **environ: str) -> Redactor:
    redactor = Redactor()
    redactor.know(values, environ)
    return redactor


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        TOKEN[::-1],
        TOKEN.encode().hex(),
        TOKEN.encode().hex().upper(),
        quote(TOKEN, safe=""),
        quote(TOKEN, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
        *(base64.b64encode(b"." * n + TOKEN.encode() + b"....").decode() for n in range(4)),
        *(base64.urlsafe_b64encode(b"." * n + TOKEN.encode() + b"....").decode() for n in range(4)),
    ],
)
def test_a_known_value_is_hidden_in_every_form_that_is_named(form: str) -> None:
    redactor = knowing(TOKEN)
    said = redactor.text(f"before {form} after")
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert HIDDEN in said
    assert redactor.holds(form.encode())
    middle = len(form) // 2
    assert form[middle - 5 : middle + 5] not in said


@pytest.mark.parametrize(
    "shape",
    [
        "ghp_" + "a1B2" * 9,
        "gho_" + "a1B2" * 9,
        "ghs_12345_eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NSJ9.abcdef-_",
        "github_pat_" + "a1B2_" * 16,
        "sk-ant-api03-" + "a1B2-" * 16,
        "AKIA" + "ABCD1234EFGH5678",
        "xoxb-123456789012-abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/=\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXk\\n",
    ],
)
def test_what_looks_like_a_credential_is_hidden_though_nobody_knows_it(shape: str) -> None:
    assert Redactor().text(f'"{shape}" {WORDS}') == f'"{HIDDEN}" {WORDS}'
    assert not Redactor().holds(shape.encode())


def test_of_an_address_or_a_header_only_the_secret_is_hidden() -> None:
    assert Redactor().text("clone https://bob:pass-w0rd@example.com/x") == f"clone https://{HIDDEN}@example.com/x"
    assert Redactor().text("Authorization: Basic eDpoaWRkZW4taGVyZQ==") == f"Authorization: Basic {HIDDEN}"
    assert Redactor().text("authorization: bearer abcdefghij0123456789.") == f"authorization: bearer {HIDDEN}"


def test_ordinary_words_stay() -> None:
    words = (
        WORDS + " 0123456789abcdef0123456789abcdef01234567 ghp_short sk-ant- AKIA xoxo eyJ -----BEGIN CERTIFICATE-----"
    )
    assert knowing("abc", "", "secret").text(words) == words


def test_variables_whose_names_say_so_hold_secrets() -> None:
    environ = {
        "NPM_TOKEN": "npm-canary-1",
        "DEPLOY_KEY": "first-canary-line\nsecond-canary-line",
        "CLIENT_SECRET": "canary-secret-3",
        "PGPASSWORD": "canary-pass-4",
        "SSH_KEY": "/home/me/.ssh/canary",
        "PORT_KEY": "12345678",
        "HOME": "/home/canary",
    }
    said = knowing(**environ).text("\n".join(environ.values()) + "\nand second-canary-line alone")
    assert said == f"{HIDDEN}\n" * 4 + f"/home/me/.ssh/canary\n12345678\n/home/canary\nand {HIDDEN} alone"


def test_what_is_known_anew_is_all_that_is_known_and_what_is_learned_is_added() -> None:
    redactor = knowing("first-canary")
    redactor.learn("second-canary")
    assert redactor.text("first-canary second-canary") == f"{HIDDEN} {HIDDEN}"
    redactor.know(["third-canary"], {})
    assert redactor.text("first-canary third-canary") == f"first-canary {HIDDEN}"


def test_the_longer_of_two_values_goes_first() -> None:
    assert knowing("canary", "canary-of-the-mine").text("canary-of-the-mine") == HIDDEN


def test_values_in_json_are_redacted_and_names_and_types_stay() -> None:
    found = knowing(TOKEN).every({TOKEN: [TOKEN, 1, None, True], "a": {"b": (TOKEN, 0.5)}})
    assert found == {TOKEN: [HIDDEN, 1, None, True], "a": {"b": (HIDDEN, 0.5)}}


def test_once_more_changes_nothing_and_a_stranger_is_never_changed() -> None:
    """2,000 texts put together from secrets, their forms and their parts, and noise."""
    rnd = random.Random(7)
    redactor = knowing(TOKEN, "ghp_" + "Zz09" * 9)
    encoded = base64.b64encode(TOKEN.encode()).decode()
    pieces = [TOKEN, TOKEN[:9], TOKEN[9:], encoded, encoded[:7], "ghp_", "Zz09" * 5, "://", ":", "@", "a:b@c", HIDDEN]
    pieces += ["Bearer ", "eyJ", ".eyJ", "-----BEGIN PRIVATE KEY-----", " ", "\n", "\\n", '"', "é", "\udc80", "x" * 30]
    for _ in range(2000):
        text = "".join(rnd.choice(pieces) for _ in range(rnd.randint(1, 12)))
        once = redactor.text(text)
        assert redactor.text(once) == once, text
        assert TOKEN not in once
        assert encoded[:-4] not in once
        data = text.encode("utf-8", "surrogateescape")
        assert redactor.octets(data) == once.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "unit", ["x", "eyJ", "://", "://a:", "Bearer ", "-----BEGIN RSA PRIVATE KEY-----", "ghp_", "A"]
)
def test_a_text_of_ten_times_the_length_takes_no_more_than_its_share(unit: str) -> None:
    redactor = knowing(TOKEN, "sk-ant-" + string.ascii_letters)

    def takes(length: int) -> float:
        text = unit * (length // len(unit))
        best = 9.0
        for _ in range(3):
            begun = time.process_time()
            redactor.text(text)
            best = min(best, time.process_time() - begun)
        return best

    assert takes(200_000) < 10 * 6 * max(takes(20_000), 0.0005), "a square would be 100 times as much"


def test_a_mark_of_ours_and_the_words_of_github_stay_whole() -> None:
    marks = Marks("key", 1)
    job = Job("acme/app", Kind.IMPLEMENT, 1, "1", facts={"claim": claim("canaryinstance", "12345678")})
    body = marks.marked(job, "sticky", f"implement {TOKEN} canaryinstance")
    mark = body.split("\n")[0]
    OURS.know([TOKEN, "implement", "acme/app", "canaryinstance", "COMMENT", "feature/issue-1"], {})
    sent = redacted({"body": body, "event": "COMMENT", "head": "feature/issue-1", "comments": [{"body": f"a {TOKEN}"}]})
    assert sent["body"] == f"{mark}\n{HIDDEN} {HIDDEN} {HIDDEN}"
    assert (sent["event"], sent["head"]) == ("COMMENT", "feature/issue-1")
    assert sent["comments"] == [{"body": f"a {HIDDEN}"}]
    assert redacted({"body": f"<!-- {TOKEN} -->"}) == {"body": f"<!-- {HIDDEN} -->"}


@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_output_in_pieces_loses_nothing_but_the_secret(size: int) -> None:
    OURS.know([TOKEN], {})
    lines = [json.dumps({"n": n, "said": f"é {TOKEN}"}) for n in range(50)]
    data = ("\n".join(lines) + f"\nan end without a line {TOKEN}").encode()
    stream = Stream()
    shown = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size)) + stream.close()
    assert shown == data.replace(TOKEN.encode(), HIDDEN.encode())


def test_a_line_without_an_end_is_shown_as_it_comes_and_still_redacted() -> None:
    OURS.know([TOKEN], {})
    stream, data = Stream(), b"y" * 150_000 + TOKEN.encode() + b"z" * 150_000
    shown = [stream.feed(data[at : at + 1000]) for at in range(0, len(data), 1000)]
    assert any(shown[:200])
    assert b"".join(shown) + stream.close() == data.replace(TOKEN.encode(), HIDDEN.encode())


def test_of_a_file_of_settings_only_what_is_like_a_credential_is_known() -> None:
    file = """
        # comment with TOKEN=not-here-0123456789
        export API_TOKEN="abc-123-def-456"   \n
        POSTGRES_PASSWORD=postgres
        NODE_ENV=development-0123456789
        KEY=/home/me/key-0123456789
        SECRET_REF=${OTHER_TOKEN_0123456789}
        AUTH_SECRET: 'yaml-s3cret-value'
        "client-secret": "json-s3cret-value",
        PORT_KEY=123456789012
        LONG_PASSWORD=correct-horse-battery-staple
    """
    assert sorted(credentials(file)) == [
        *("abc-123-def-456", "correct-horse-battery-staple", "json-s3cret-value", "yaml-s3cret-value"),
    ]
    lines = [f"{number}" * 64 for number in range(5)]
    key = "\n".join(("-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"))
    assert list(credentials(f"x\n{key}\n{key}")) == [lines[2]] * 2
    passed = {"A": "us-east-1", "B": "production", "C": "words-of-some-length-here", "D_KEY": "eight-ch"}
    assert {*unsaid(passed)} == {"eight-ch", "words-of-some-length-here"}
