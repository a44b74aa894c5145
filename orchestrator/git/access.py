"""Where a repository is and who asks for it: the only place that turns the token into something git can use."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from orchestrator.errors import Misconfigured


@dataclass(frozen=True)
class Access:
    """A remote repository: an https URL, or for local use a loopback http URL or an absolute path.

    The token reaches git only as an environment variable of the one child that talks to the host, as a
    header that git itself limits to this scheme, host and port: argv is readable by other users, URLs and
    config end in files and logs, and an askpass helper answers whoever a redirect leads to. `follows`: redirects, by
    the same transport, which is only done where there is no token.

    Raises Misconfigured for any other kind of URL, and for one that holds a user or password.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    follows: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        local = self.url.startswith("/") or parts.scheme == "file"
        if not (local or parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
            # The URL itself is not repeated: it may hold a password.
            raise Misconfigured(
                "The clone URL must begin with https://; other ways to reach a repository are not used."
            )
        if parts.username is not None or parts.password is not None:
            raise Misconfigured("The clone URL must not hold a user or password; set GITHUB_TOKEN instead.")

    @property
    def protocol(self) -> str:
        """The one transport that git may use for this URL."""
        return urlsplit(self.url).scheme or "file"

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Git settings that carry the token to this host and to no other."""
        if self.token is None or self.protocol == "file":
            return [("http.followRedirects", "initial")] if self.follows else []
        parts = urlsplit(self.url)
        return [(f"http.{parts.scheme}://{parts.netloc}/.extraHeader", header) for header in self.headers]

    @property
    def headers(self) -> list[str]:
        """The header that carries the token; for this scheme, host and port alone."""
        return [] if self.token is None else [f"Authorization: Basic {self._basic}"]

    def elsewhere(self, url: str) -> Access:
        """To another repository: with the token where scheme, host and port are the same."""
        parts, here = urlsplit(url), urlsplit(self.url)
        if self.token is None or (parts.scheme, parts.netloc) != (here.scheme, here.netloc):
            return Access(url, follows=True)
        return Access(url, self.token)

    @property
    def anonymous(self) -> Access:
        """The same without the token."""
        return replace(self, token=None, follows=True)

    def mask(self, text: bytes) -> bytes:
        """`text` without the token in any form that we send."""
        if self.token is None:
            return text
        return text.replace(self._basic.encode(), b"***").replace(self.token.encode(), b"***")

    @property
    def _basic(self) -> str:
        return base64.b64encode(f"x-access-token:{self.token}".encode()).decode()


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
