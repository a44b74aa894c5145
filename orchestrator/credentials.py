"""Where the daemon's token and the agent's credential come from."""

from __future__ import annotations

import os
import shutil
import subprocess
from urllib.parse import urlsplit

from orchestrator.errors import Missing
from orchestrator.settings import Settings


def github_token(settings: Settings) -> str:
    """The token to work with: GITHUB_TOKEN, else what `gh` has stored. Missing: neither is there."""
    if settings.github_token.get_secret_value():
        return settings.github_token.get_secret_value()
    host = gh_host(settings.github_api_url)
    wanted = "Set GITHUB_TOKEN in .env or the environment"
    program = shutil.which("gh")
    if program is None:
        raise Missing(f"There is no GitHub token, and `gh` is not installed. {wanted}.")
    try:
        done = subprocess.run(
            [program, "auth", "token", "--hostname", host], stdin=subprocess.DEVNULL, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        raise Missing(f"There is no GitHub token, and `gh auth token` gave no answer. {wanted}.") from None
    word = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or not word or not word.isascii() or not word.isprintable() or " " in word:
        raise Missing(f"There is no GitHub token. {wanted}, or log in with `gh auth login --hostname {host}`.")
    return word


def agent_environ(settings: Settings) -> dict[str, str]:
    """The environment to start agents from: our own with the agent's keys and without the daemon's token."""
    environ = {k: v for k, v in os.environ.items() if k.upper() != "GITHUB_TOKEN"}
    for name in ("anthropic_api_key", "claude_code_oauth_token"):
        if secret := getattr(settings, name).get_secret_value():
            environ[name.upper()] = secret
    return environ


def gh_host(api_url: str) -> str:
    """The host that `gh` knows an API by: api.github.com is github.com, api.TENANT.ghe.com is TENANT.ghe.com."""
    host = urlsplit(api_url).hostname or ""
    return host.removeprefix("api.") if host == "api.github.com" or host.endswith(".ghe.com") else host
