"""World objects as GitHub's JSON: commits, branches, rules, checks, activity."""

from __future__ import annotations

import zlib
from typing import Any

from orchestrator.twin import checks
from orchestrator.twin.checks import App, CheckRun, Status, Suite
from orchestrator.twin.protection import Protection, RuleSet, rule_sets
from orchestrator.twin.shapes import Json, Shapes, maybe_stamp, stamp
from orchestrator.twin.world import Activity, Repository, node_id


class CodeShapes(Shapes):
    """As `Shapes`, for what lives around commits."""

    def app(self, app: App) -> Json:
        owner = self.world.user("github")
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": node_id("A", app.id),
            "owner": self.user(owner),
            "name": app.slug.replace("-", " ").title(),
            "description": "",
            "external_url": f"{self.url}/apps/{app.slug}",
            "html_url": f"{self.url}/apps/{app.slug}",
            "created_at": stamp(owner.created_at),
            "updated_at": stamp(owner.created_at),
            "permissions": {"checks": "write", "metadata": "read"},
            "events": ["check_run"],
        }

    def check_run(self, repo: Repository, run: CheckRun) -> Json:
        at = f"{self.at(repo)}/check-runs/{run.id}"
        html = f"{self.page(repo)}/runs/{run.id}"
        return {
            "id": run.id,
            "node_id": node_id("CR", run.id),
            "head_sha": run.suite.sha,
            "external_id": "",
            "url": at,
            "html_url": html,
            "details_url": html,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": stamp(run.started_at),
            "completed_at": maybe_stamp(run.completed_at),
            "output": {
                "title": None,
                "summary": None,
                "text": None,
                "annotations_count": 0,
                "annotations_url": f"{at}/annotations",
            },
            "name": run.name,
            "check_suite": {"id": run.suite.id},
            "app": self.app(run.suite.app),
            "pull_requests": [],
        }

    def suite(self, repo: Repository, suite: Suite) -> Json:
        """A suite without runs stays queued for ever; many repositories have such."""
        runs = _runs_of(repo, suite)
        status, conclusion = _suite_state(suite, runs)
        at = f"{self.at(repo)}/check-suites/{suite.id}"
        return {
            "id": suite.id,
            "node_id": node_id("CS", suite.id),
            "head_branch": None,
            "head_sha": suite.sha,
            "status": status,
            "conclusion": conclusion,
            "url": at,
            "before": None,
            "after": suite.sha,
            "pull_requests": [],
            "app": self.app(suite.app),
            "repository": self.repository(repo),
            "created_at": stamp(suite.created_at),
            "updated_at": stamp(suite.updated_at),
            "head_commit": self._simple_commit(repo, suite.sha),
            "latest_check_runs_count": len(runs),
            "check_runs_url": f"{at}/check-runs",
        }

    def workflow_run(self, repo: Repository, suite: Suite) -> Json:
        """A run of GitHub Actions; what it did is its check suite."""
        status, conclusion = _suite_state(suite, _runs_of(repo, suite))
        at = f"{self.at(repo)}/actions/runs/{suite.id}"
        workflow = zlib.crc32(suite.workflow.encode())
        return {
            "id": suite.id,
            "name": suite.workflow,
            "node_id": node_id("WFR", suite.id),
            "check_suite_id": suite.id,
            "check_suite_node_id": node_id("CS", suite.id),
            "head_branch": None,
            "head_sha": suite.sha,
            "path": f".github/workflows/{suite.workflow}",
            "run_number": 1,
            "run_attempt": 1,
            "event": suite.event,
            "display_title": repo.bare.message(suite.sha).splitlines()[0],
            "status": status,
            "conclusion": conclusion,
            "workflow_id": workflow,
            "url": at,
            "html_url": f"{self.page(repo)}/actions/runs/{suite.id}",
            "pull_requests": [],
            "created_at": stamp(suite.created_at),
            "updated_at": stamp(suite.updated_at),
            "jobs_url": f"{at}/jobs",
            "logs_url": f"{at}/logs",
            "check_suite_url": f"{self.at(repo)}/check-suites/{suite.id}",
            "artifacts_url": f"{at}/artifacts",
            "cancel_url": f"{at}/cancel",
            "rerun_url": f"{at}/rerun",
            "workflow_url": f"{self.at(repo)}/actions/workflows/{workflow}",
            "head_commit": self._simple_commit(repo, suite.sha),
            "repository": self.repository(repo),
            "head_repository": self.repository(repo),
        }

    def _simple_commit(self, repo: Repository, sha: str) -> Json:
        facts = repo.bare.commit_facts(sha)
        return {
            "id": sha,
            "tree_id": facts.tree,
            "message": facts.message,
            "timestamp": stamp(facts.date),
            "author": {"name": facts.author.name, "email": facts.author.email},
            "committer": {"name": facts.committer.name, "email": facts.committer.email},
        }

    def status(self, repo: Repository, status: Status) -> Json:
        return {
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "url": f"{self.at(repo)}/statuses/{status.sha}",
            "avatar_url": None,
            "state": status.state,
            "description": None,
            "target_url": None,
            "context": status.context,
            "created_at": stamp(status.created_at),
            "updated_at": stamp(status.created_at),
        }

    def commit(self, repo: Repository, sha: str) -> Json:
        facts = repo.bare.commit_facts(sha)
        at = f"{self.at(repo)}/commits/{sha}"
        git_at = f"{self.at(repo)}/git/commits/{sha}"
        page = f"{self.page(repo)}/commit"

        def person(who: Any) -> Json:
            return {"name": who.name, "email": who.email, "date": stamp(facts.date)}

        return {
            "sha": sha,
            "node_id": node_id("C", int(sha[:12], 16)),
            "url": at,
            "html_url": f"{page}/{sha}",
            "comments_url": f"{at}/comments",
            "commit": {
                "url": git_at,
                "author": person(facts.author),
                "committer": person(facts.committer),
                "message": facts.message,
                "tree": {"sha": facts.tree, "url": f"{self.at(repo)}/git/trees/{facts.tree}"},
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
            "author": None,
            "committer": None,
            "parents": [
                {"sha": parent, "url": f"{self.at(repo)}/commits/{parent}", "html_url": f"{page}/{parent}"}
                for parent in facts.parents
            ],
        }

    def branch(self, repo: Repository, name: str, sha: str) -> Json:
        own = repo.protections.get(name)
        protection = None if own is not None and own.by_rules else own
        at = f"{self.at(repo)}/branches/{name}"
        contexts = protection.checks if protection else []
        return {
            "name": name,
            "commit": self.commit(repo, sha),
            "_links": {"self": at, "html": f"{self.page(repo)}/tree/{name}"},
            # Also where only rule sets cover it, whose protection is off (hub4j/github-api#2062).
            "protected": own is not None or bool(rule_sets(repo, name)),
            "protection": {
                "enabled": protection is not None,
                "required_status_checks": {
                    "enforcement_level": "non_admins" if contexts else "off",
                    "contexts": contexts,
                    "checks": [{"context": context, "app_id": None} for context in contexts],
                },
            },
            "protection_url": f"{at}/protection",
        }

    def rules(self, repo: Repository, protection: Protection) -> list[Json]:
        where = {**self._source(repo), "ruleset_id": repo.id}
        rules: dict[str, Json] = {}
        if protection.reviews or protection.conversations:
            rules["pull_request"] = {
                "dismiss_stale_reviews_on_push": False,
                "require_code_owner_review": False,
                "require_last_push_approval": False,
                "required_approving_review_count": protection.reviews,
                "required_review_thread_resolution": protection.conversations,
            }
        if protection.checks:
            rules["required_status_checks"] = {
                "required_status_checks": [{"context": context} for context in protection.checks],
                "strict_required_status_checks_policy": protection.strict,
            }
        if protection.queue is not None:
            rules["merge_queue"] = {
                "check_response_timeout_minutes": 60,
                "grouping_strategy": "ALLGREEN",
                "max_entries_to_build": 5,
                "max_entries_to_merge": 5,
                "merge_method": protection.queue.upper(),
                "min_entries_to_merge": 1,
                "min_entries_to_merge_wait_minutes": 5,
            }
        return [{"type": name, "parameters": parameters, **where} for name, parameters in rules.items()]

    def _source(self, repo: Repository) -> Json:
        return {"ruleset_source_type": "Repository", "ruleset_source": repo.full_name}

    def rule_set_rules(self, repo: Repository, rules: RuleSet) -> list[Json]:
        return [{**_rule(kind), **self._source(repo), "ruleset_id": rules.id} for kind in rules.kinds]

    def rule_set(self, repo: Repository, rules: RuleSet) -> Json:
        return {
            "id": rules.id,
            "name": f"Rules {rules.id}",
            "target": "branch",
            "source_type": "Repository",
            "source": repo.full_name,
            "enforcement": "active",
            "conditions": {"ref_name": {"include": list(rules.include), "exclude": list(rules.exclude)}},
            "rules": [_rule(kind) for kind in rules.kinds],
            "node_id": node_id("RRS", rules.id),
            "current_user_can_bypass": "never",
        }

    def site(self, repo: Repository, branch: str) -> Json:
        body: Json = {
            "url": f"{self.at(repo)}/pages",
            "status": "built",
            "cname": None,
            "custom_404": False,
            "html_url": f"{self.page(repo)}/site",
            "build_type": "legacy" if branch else "workflow",
            "public": True,
            "https_enforced": True,
        }
        return {**body, "source": {"branch": branch, "path": "/"}} if branch else body

    def ref(self, repo: Repository, ref: str, sha: str) -> Json:
        return {
            "ref": ref,
            "node_id": node_id("REF", int(sha[:12], 16)),
            "url": f"{self.at(repo)}/git/{ref}",
            "object": {"sha": sha, "type": "commit", "url": f"{self.at(repo)}/git/commits/{sha}"},
        }

    def activity(self, activity: Activity) -> Json:
        return {
            "id": activity.id,
            "node_id": node_id("PSH", activity.id),
            "before": activity.before,
            "after": activity.after,
            "ref": activity.ref,
            "timestamp": stamp(activity.timestamp),
            "activity_type": activity.type,
            "actor": self.maybe_user(activity.actor),
        }


def _runs_of(repo: Repository, suite: Suite) -> list[CheckRun]:
    return [run for run in checks.latest_runs(repo, suite.sha) if run.suite is suite]


def _suite_state(suite: Suite, runs: list[CheckRun]) -> tuple[str, str | None]:
    if suite.ended:
        return "completed", suite.ended
    if not runs:
        return "queued", None
    if suite.more_to_come or any(run.status != "completed" for run in runs):
        return "in_progress", None
    bad = [run.conclusion for run in runs if run.conclusion not in checks.GREEN]
    return "completed", bad[0] if bad else "success"


def _rule(kind: str) -> Json:
    """A rule as it is told, with the least of parameters."""
    parameters: dict[str, Json] = {
        "branch_name_pattern": {"operator": "starts_with", "pattern": "topic"},
        "commit_message_pattern": {"operator": "contains", "pattern": "#"},
        "required_deployments": {"required_deployment_environments": ["production"]},
        "required_status_checks": {
            "required_status_checks": [],
            "strict_required_status_checks_policy": False,
        },
        "pull_request": {
            "dismiss_stale_reviews_on_push": False,
            "require_code_owner_review": False,
            "require_last_push_approval": False,
            "required_approving_review_count": 0,
            "required_review_thread_resolution": False,
        },
    }
    return {"type": kind, "parameters": parameters[kind]} if kind in parameters else {"type": kind}
