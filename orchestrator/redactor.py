"""What must not leave this process, and the one way to take it out of a text.

Guaranteed: a value that was made known is replaced by `[secret]` wherever it stands as it is, in base64 (at any of the
three alignments, plain or URL-safe), in hex, percent-encoded, escaped as JSON does, or backwards; so is what has the
shape of a credential, known or not. The time is linear in the text, and to do it once more changes nothing.
Not guaranteed: a secret in pieces, in other encodings, or encrypted. That is why agents and commands hold none.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "[secret]"
SHORTEST = 6  # characters; shorter values would blacken ordinary words
SHORTEST_UNSAID = 8  # of a value that only the name of its variable calls secret
RANDOM, LONG = 12, 20  # characters from which on a value with a digit, or any, is more than an everyday word
_HELD_BACK = 64 * 1024  # bytes of an unfinished line that wait for the rest of it

_NOT_IN_URLS = r"\s/@\"'<>\[\](){}\\`,|"
_NAMES = re.compile(r"(?:TOKEN|KEY|SECRET|PASSPHRASE|CREDENTIALS?)$|SECRET_|PASSWORD|PASSWD|PRIVATE_KEY")
# Each shape behind the words without which it is not looked for. None is tried twice over the same characters.
_SHAPES = (
    (("ghp_", "gho_", "ghs_", "ghu_", "ghr_"), r"gh[opsur]_[A-Za-z0-9][A-Za-z0-9_.-]{15,}", HIDDEN),
    (("github_pat_",), r"github_pat_[A-Za-z0-9_]{20,}", HIDDEN),
    (("sk-ant-", "sk-proj-", "sk-svcacct-"), r"sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{10,}", HIDDEN),
    (("AKIA", "ASIA"), r"A[KS]IA[0-9A-Z]{16}", HIDDEN),
    (("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{10,}", HIDDEN),
    ((".eyJ",), r"eyJ(?<![\w-]eyJ)[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", HIDDEN),
    (
        ("PRIVATE KEY-----",),
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:(?!-----)[\w+/=\s:,.-]|\\[nr])*"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
        HIDDEN,
    ),
    (("://",), rf"://[^{_NOT_IN_URLS}:]{{0,256}}:[^{_NOT_IN_URLS}]{{1,256}}@", f"://{HIDDEN}@"),
    (
        ("earer ", "asic ", "BEARER ", "BASIC "),
        r"([Bb]earer|BEARER|[Bb]asic|BASIC) (?=[A-Za-z+/._~-]{0,100}[0-9=])[\w+/.~=-]{16,}",
        rf"\1 {HIDDEN}",
    ),
)


_ENTRY = re.compile(r"""^[ \t]*(?:export[ \t]+)?["']?([A-Za-z_][\w.-]{0,99})["']?[ \t]*[=:]([^\n]*)""", re.MULTILINE)
_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----([^-]*)")


class Redactor:
    """The secrets of one process. Thread-safe."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()
        self._forms: tuple[str, ...] = ()
        self._octets: tuple[bytes, ...] = ()

    def know(self, values: Iterable[str], environ: Mapping[str, str]) -> None:
        """From now on exactly these values, and those that the names of variables in `environ` call secret."""
        self._known = ()
        self.learn(*values, *_secret_values(environ))

    def learn(self, *values: str) -> None:
        """These values too; what was known before stays known."""
        self._known = tuple({*self._known, *(v for v in values if len(v) >= SHORTEST and v not in HIDDEN)})
        # Longest first, or a part of one would hide the whole of another.
        self._forms = tuple(sorted({form for value in self._known for form in _forms(value)}, key=len, reverse=True))
        self._octets = tuple(form.encode("utf-8", "surrogateescape") for form in self._forms)

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        for hints, shape, instead in _SHAPES:
            if any(hint in text for hint in hints):
                text = re.sub(shape, instead, text, flags=re.ASCII)  # compiled here: a short command needs few or none
        return text

    def octets(self, data: bytes) -> bytes:
        """As `text`, for what may be no UTF-8."""
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def known(self, data: bytes) -> bytes:
        """Without the values that were made known; shapes stay. For streams, at some hundred megabytes a second."""
        for form in self._octets:
            if form in data:
                data = data.replace(form, HIDDEN.encode())
        return data

    def every(self, value: Any) -> Any:
        """JSON values with each string in them redacted, names of members left alone; of equal type."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {name: self.every(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.every(inner) for inner in value)
        return value

    def holds(self, data: bytes) -> bool:
        """Whether a value that was made known stands in it in any of its forms. Shapes do not count."""
        text = data.decode("utf-8", "replace")
        return any(form in text for form in self._forms)


OURS = Redactor()  # what this process knows; the daemon tells it at its start, the transport when the token changes


def credentials(text: str) -> Iterator[str]:
    """What a file of settings holds that is nobody else's: values whose names call them secret, a line of each key.

    The password of a test database, which is called like everything else there, is none.
    """
    for name, said in _ENTRY.findall(text):
        value = said.strip(" \t\r,;").strip("\"'`")
        if _NAMES.search(name.upper().replace("-", "_")) and is_unusual(value):
            yield value
    for key in _KEY.findall(text):
        lines = [line for line in key.split() if len(line) >= LONG]
        yield from lines[len(lines) // 2 :][:1]


def is_unusual(value: str) -> bool:
    """Whether to strike the value out blackens no everyday word, path, number or reference to another variable."""
    if value.startswith(("/", "~", "$")) or value.isdigit():
        return False
    return len(value) >= (RANDOM if any(map(str.isdigit, value)) else LONG)


def unsaid(environ: Mapping[str, str]) -> Iterator[str]:
    """The values of variables that others are not to read: by their names, or because no everyday word is like them."""
    yield from _secret_values(environ)
    yield from filter(is_unusual, environ.values())


class Stream:
    """Output that comes in pieces, without known values, line by line; what is quoted of it is redacted in full."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be shown by now: whole lines, and of a line without an end all but its last 64 KiB."""
        whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
        ready = OURS.known(whole + newline) if newline else b""
        if len(self._rest) <= 2 * _HELD_BACK:
            return ready
        clean = OURS.known(self._rest)
        self._rest = clean[-_HELD_BACK:]
        return ready + clean[:-_HELD_BACK]

    def close(self) -> bytes:
        """The rest."""
        rest, self._rest = self._rest, b""
        return OURS.known(rest)


def _secret_values(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        # A path or a number is where a secret is, or about it, and stands in ordinary sentences.
        if _NAMES.search(name.upper()) and not value.startswith(("/", "~")) and not value.isdigit():
            # A key of several lines may be quoted line by line.
            yield from (word for word in (value, *value.splitlines()) if len(word) >= SHORTEST_UNSAID)


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (secret, secret[::-1], raw.hex(), raw.hex().upper(), json.dumps(secret)[1:-1])
    escaped = quote(raw, safe="")
    yield from (escaped, re.sub("%..", lambda code: code[0].lower(), escaped))
    for before in range(3):
        # Only the characters that are of the secret alone: the outer ones also carry bits of what stands beside it.
        code = base64.b64encode(b"\0" * before + raw).decode()
        core = code[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        yield from (core, core.translate(_URL_SAFE))


_URL_SAFE = str.maketrans("+/", "-_")
