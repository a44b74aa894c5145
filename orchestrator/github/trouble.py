"""What GitHub says of its limits in an answer, and what happened to a connection that gave none."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import requests

from orchestrator.record import Quota

SECONDARY_PAUSE = 60.0  # GitHub's minimum where it names no time

_TROUBLE: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "the server's certificate is not trusted"),
    (ssl.SSLError, "the encrypted connection could not be made"),
    (socket.gaierror, "the server's name was not found"),
    (ConnectionRefusedError, "the connection was refused"),
    (requests.Timeout, "it timed out"),
    (requests.exceptions.ProxyError, "the proxy does not let it through"),
    (ConnectionError, "the connection was cut"),
    (http.client.IncompleteRead, "the answer was cut short"),
    (requests.ConnectionError, "the connection failed"),
)


def what_happened(error: BaseException) -> str:
    """Trouble with a connection in words for a person, whichever library's error wraps the cause."""
    found = [error]
    for each in found:
        wrapped = (each.__cause__, *each.args)
        found += [one for one in wrapped if isinstance(one, BaseException) and not any(one is f for f in found)]
    for kind, words in _TROUBLE:
        if any(isinstance(each, kind) for each in found):
            return words
    return f"there was no usable answer ({type(error).__name__})"


def limited(status: int, headers: Mapping[str, str], text: str) -> float | None:
    """Seconds to wait when this answer is a rate limit; None when it is something else."""
    if status not in (403, 429):
        return None
    words = text.lower()
    if "retry-after" in headers:
        return float(headers["retry-after"])
    if headers.get("x-ratelimit-remaining") == "0" and "date" in headers:
        now = parsedate_to_datetime(headers["date"]).timestamp()
        return max(1.0, float(headers.get("x-ratelimit-reset", now)) - now + 1)
    hints = ("rate limit", "abuse detection", "please wait a few minutes")
    if status == 429 or any(hint in words for hint in hints):
        return SECONDARY_PAUSE
    return None


def quota(headers: Mapping[str, str]) -> Quota | None:
    """What is left of the hour; None where that is not told, or told of another limit than that of REST."""
    if headers.get("x-ratelimit-resource", "core") != "core":
        return None
    try:
        return Quota(
            int(headers["x-ratelimit-limit"]),
            int(headers["x-ratelimit-remaining"]),
            float(headers.get("x-ratelimit-reset", 0)),
            parsedate_to_datetime(headers["date"]).timestamp(),
        )
    except (KeyError, ValueError):
        return None
