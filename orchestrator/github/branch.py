"""One branch on GitHub: where it is, what hangs on it, and its deletion. No decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.github.api import Api
from orchestrator.github.transport import ApiError, items_of


@dataclass(frozen=True)
class Standing:
    """Where a branch is, and whether it is protected; `by_rules`: by rule sets alone."""

    sha: str
    protected: bool
    by_rules: bool


@dataclass(frozen=True)
class Rule:
    """One rule of a rule set that covers a branch: GitHub's word for it, and whose it is."""

    kind: str
    rule_set: int


@dataclass(frozen=True)
class Branch:
    """The branch `name` of the repository of `api`. Reads and writes raise as those of `Api`."""

    api: Api
    name: str

    def standing(self) -> Standing | None:
        """None when there is no such branch."""
        try:
            data = self._get(f"{self.api.at}/branches/{quote(self.name, safe='')}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        # GitHub calls a branch protected that only rule sets cover, and its protection is off then.
        protected, enabled = bool(data["protected"]), data["protection"].get("enabled", True)
        return Standing(str(data["commit"]["sha"]), protected, protected and not enabled)

    def pulls_into(self, state: str) -> list[tuple[int, bool]]:
        """The newest PRs that have it as base, at most a page of them, and whether each is open."""
        found = self._get(f"{self.api.at}/pulls", {"base": self.name, "state": state, "per_page": 100})
        return [(int(p["number"]), p["state"] == "open") for p in items_of(found)]

    def pulls_from(self, repo_id: int, into: str = "") -> list[int]:
        """Open PRs that have it as head; `repo_id`: of its repository; `into`: only those in another repository."""
        at = f"/repos/{into}" if into else self.api.at
        owner = self.api.called.split("/")[0]
        found = self.api.transport.pages(f"{at}/pulls", head=f"{owner}:{self.name}", state="open")
        # The owner may have forks with a branch of this name.
        return [int(p["number"]) for p in found if (p["head"]["repo"] or {}).get("id") == repo_id]

    def rules(self) -> list[Rule]:
        """Every rule of a rule set that covers it."""
        return [Rule(str(data["type"]), int(data["ruleset_id"])) for data in self.api.rule_sets(self.name)]

    def is_named(self, rule_set: int) -> bool:
        """Whether this rule set, which covers it, is about some branches and not simply about all."""
        about = self._get(f"{self.api.at}/rulesets/{rule_set}")["conditions"]["ref_name"]
        return "~ALL" not in about["include"]

    def is_published(self) -> bool:
        """Whether the repository's web site is made from it."""
        site = self._get(f"{self.api.at}/pages")
        return bool(site.get("build_type") != "workflow" and site["source"]["branch"] == self.name)

    def delete(self) -> bool:
        """Delete it; False when GitHub keeps it (protected); an absent one is fine."""
        try:
            self.api.transport.write("DELETE", f"{self.api.at}/git/refs/heads/{quote(self.name)}")
        except ApiError as error:
            if error.status == 404 or error.says("Reference does not exist"):
                return True
            if error.status == 422:
                return False
            raise
        return True

    def _get(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        return self.api.transport.get(path, parameters).data
