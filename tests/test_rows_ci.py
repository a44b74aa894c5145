"""Rows K of the merge specification: what counts as green, through the daemon."""

from __future__ import annotations

import pytest

from orchestrator.decide.checks import CiVerdict, Reading, judge
from orchestrator.model import CheckRun
from orchestrator.twin import Fault, PullHandle, status
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, LANDED, STOPPED, announced, green, no, opens, refusal, runs, short

WORKFLOW = ".github/workflows/ci.yml"


def ask(house: House, pull: PullHandle) -> float:
    house.alice.comments(pull, "/merge")
    return house.clock.now()


def ran(house: House, pull: PullHandle, workflow: str, job: str, result: str, event: str = "pull_request") -> None:
    run = house.ci.starts(pull, workflow, event)
    run.concludes(job, result)
    run.ends()


def test_K1_no_checks_yet_is_not_checks_passed(house: House) -> None:
    pull = opens(house)
    asked = ask(house, pull)
    house.until(lambda: house.clock.now() >= asked + 40)
    assert not pull.merged
    house.ci.fails(pull, "lint")
    house.quiet()
    said = refusal(house, pull)
    assert "`lint`" in said
    assert short(pull.head_sha) in said
    assert house.clock.now() < asked + 600
    house.expect(*STOPPED)


def test_K1_where_workflows_exist_they_are_waited_for_beyond_the_settling_time(make_house: MakeHouse) -> None:
    house = make_house(ci_settle=60, ci_timeout=1800)
    house.alice.pushes(house.repo, "main", {WORKFLOW: "on: push\n"})
    pull = opens(house)
    asked = ask(house, pull)
    house.until(lambda: house.clock.now() >= asked + 240)
    assert not pull.merged
    house.ci.passes(pull, "build")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_K1_workflows_that_never_report_end_the_attempt(make_house: MakeHouse) -> None:
    house = make_house(ci_timeout=900)
    house.alice.pushes(house.repo, "main", {WORKFLOW: "on: push\n"})
    pull = opens(house)
    ask(house, pull)
    house.quiet()
    said = refusal(house, pull)
    assert "Waited 900 s (`CI_TIMEOUT`)" in said
    assert "workflow files" in said
    house.expect(*STOPPED)


def test_K2_a_repository_without_ci_merges_after_the_settling_time_and_says_so(make_house: MakeHouse) -> None:
    house = make_house(ci_settle=90)
    pull = opens(house)
    asked = ask(house, pull)
    times: list[float] = []
    house.github.before(CALLED, lambda: times.append(house.clock.now()))
    house.quiet()
    assert "no checks exist" in announced(house, pull)
    assert asked + 90 <= times[0] <= asked + 300
    house.expect(*LANDED)


@pytest.mark.parametrize("many", [31, 101])
def test_K3_a_failing_check_on_the_last_page_is_seen(house: House, many: int) -> None:
    pull = opens(house)
    for number in range(1, many):
        house.ci.passes(pull, f"check {number:03}")
    house.ci.fails(pull, "the last one")
    ask(house, pull)
    house.quiet()
    said = refusal(house, pull)
    assert "`the last one`" in said
    assert "check 0" not in said
    house.expect(*STOPPED)


def test_K4_green_check_runs_do_not_outweigh_a_red_status(house: House) -> None:
    pull = green(house)
    house.ci.status(pull, "ci/legacy", "failure")
    ask(house, pull)
    house.quiet()
    assert "`ci/legacy`" in refusal(house, pull)
    house.expect(*STOPPED)


def test_K4_a_green_status_does_not_outweigh_a_red_check_run(house: House) -> None:
    pull = opens(house)
    house.ci.status(pull, "ci/legacy", "success")
    house.ci.fails(pull, "build")
    ask(house, pull)
    house.quiet()
    said = refusal(house, pull)
    assert "`build`" in said
    assert "ci/legacy" not in said
    house.expect(*STOPPED)


def test_K5_of_a_check_that_ran_again_the_newest_run_counts(house: House) -> None:
    mended, broken = opens(house, "mended"), opens(house, "broken")
    house.ci.fails(mended, "build")
    house.ci.passes(mended, "build")
    house.ci.passes(broken, "build")
    house.ci.fails(broken, "build")
    ask(house, mended)
    ask(house, broken)
    house.quiet()
    assert "checks green" in announced(house, mended)
    assert "`build`" in refusal(house, broken)
    house.expect(*LANDED)


def test_K5_of_a_workflow_that_was_started_again_the_newest_run_of_each_job_counts(house: House) -> None:
    mended, broken = opens(house, "mended"), opens(house, "broken")
    for pull, old, new in ((mended, "failure", "success"), (broken, "success", "failure")):
        ran(house, pull, "title.yml", "title", old)
        ran(house, pull, "title.yml", "title", new)
        ask(house, pull)
    house.quiet()
    assert "checks green" in announced(house, mended)
    assert "`title`" in refusal(house, broken)
    house.expect(*LANDED)


@pytest.mark.parametrize(
    ("workflow", "event"), [("docs.yml", "push"), ("ci.yml", "pull_request")], ids=["other-workflow", "other-event"]
)
def test_K6_one_name_from_two_workflows_or_two_kinds_of_event_must_pass_twice(
    house: House, workflow: str, event: str
) -> None:
    pull = opens(house)
    ran(house, pull, "ci.yml", "build", "failure", "push")
    ran(house, pull, workflow, "build", "success", event)
    ask(house, pull)
    house.quiet()
    assert "`build`" in refusal(house, pull)
    house.expect(*STOPPED)


@pytest.mark.parametrize("code", [403, 404])
def test_K6_runs_whose_workflow_cannot_be_read_must_all_pass(house: House, code: int) -> None:
    house.github.faults.add(Fault("GET actions/runs", no(code, "Resource not accessible"), times=100))
    mixed, passing = opens(house, "mixed"), opens(house, "passing")
    for pull, old in ((mixed, "failure"), (passing, "success")):
        ran(house, pull, "title.yml", "title", old)
        ran(house, pull, "title.yml", "title", "success")
        ask(house, pull)
    house.quiet()
    assert "`title`" in refusal(house, mixed)
    assert "checks green" in announced(house, passing)
    house.expect(*LANDED)


@pytest.mark.parametrize("app", ["github-actions", "third-ci"])
def test_K6_one_name_from_two_apps_must_pass_twice(house: House, app: str) -> None:
    pull = opens(house)
    house.ci.fails(pull, "build", app="other-ci")
    house.ci.passes(pull, "build", app)
    ask(house, pull)
    house.quiet()
    assert "`build`" in refusal(house, pull)
    assert house.github.journal.count("GET actions/runs") == 0
    house.expect(*STOPPED)


@pytest.mark.parametrize("conclusion", ["cancelled", "timed_out", "action_required"])
def test_K7_every_other_conclusion_is_not_green(house: House, conclusion: str) -> None:
    pull = green(house)
    house.ci.concludes(pull, "odd", conclusion)
    ask(house, pull)
    house.quiet()
    assert "`odd" in refusal(house, pull)
    house.expect(*STOPPED)


@pytest.mark.parametrize("conclusion", ["stale", "startup_failure", "invented_tomorrow", "SUCCESS", ""])
def test_K7_conclusions_that_the_published_schema_does_not_know_are_red(conclusion: str) -> None:
    runs = (CheckRun("build", "ci", "success"), CheckRun("odd", "ci", conclusion))
    assert judge(runs) == CiVerdict(Reading.RED, ("odd",))


@pytest.mark.parametrize("conclusion", ["skipped", "neutral"])
def test_K8_skipped_and_neutral_are_green(house: House, conclusion: str) -> None:
    pull = opens(house)
    house.ci.concludes(pull, "optional", conclusion)
    ask(house, pull)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize("by_rules", [False, True], ids=["protection", "rule-set"])
def test_K9_a_required_check_that_never_reports_is_waited_for_and_then_named(
    make_house: MakeHouse, by_rules: bool
) -> None:
    house = make_house(ci_timeout=1200)
    house.github.requires(house.repo, "main", checks=["build", "docs"], by_rules=by_rules)
    pull = green(house)
    asked = ask(house, pull)
    house.until(lambda: any("waiting for checks: `docs`" in text for text in house.said(pull)))
    house.quiet()
    said = refusal(house, pull)
    assert "Waited 1200 s (`CI_TIMEOUT`) for `docs`" in said
    assert house.clock.now() - asked >= 1200
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_K9_a_private_repository_whose_plan_has_no_rule_sets_is_merged_without_them(house: House) -> None:
    words = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    house.github.faults.add(Fault("GET rules/branches/*", no(403, words), times=100))
    pull = green(house)
    ask(house, pull)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize(("code", "words"), [(403, "Resource not accessible"), (404, "Not Found")])
def test_K13_rule_sets_that_may_not_be_read_are_no_reason_to_merge(house: House, code: int, words: str) -> None:
    house.github.faults.add(Fault("GET rules/branches/*", no(code, words), times=100))
    pull = green(house)
    ask(house, pull)
    house.quiet()
    assert not pull.merged
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_K10_a_suite_without_runs_holds_nothing_up(house: House) -> None:
    pull = green(house)
    house.ci.queues_suite(pull, "installed-and-idle")
    asked = ask(house, pull)
    house.until(lambda: pull.merged)
    assert house.clock.now() - asked < 60
    house.quiet()
    house.expect(*LANDED)


def test_K10_a_combined_status_that_is_pending_without_any_status_holds_nothing_up(house: House) -> None:
    pull = green(house)
    asked = ask(house, pull)
    house.until(lambda: pull.merged)
    assert house.clock.now() - asked < 60
    house.quiet()
    combined = house.github.journal.find("GET commits/*/status")
    assert combined[-1].answer["state"] == "pending"
    house.expect(*LANDED)


def test_K11_a_check_that_fails_while_commands_run_is_seen_before_the_call(house: House) -> None:
    pull = green(house)
    ask(house, pull)
    house.github.before("GET commits/*/check-runs", lambda: house.ci.fails(pull, "late"), nth=2)
    house.quiet()
    assert "`late`" in refusal(house, pull)
    house.expect(*STOPPED)


@pytest.mark.parametrize("result", ["success", "failure"])
def test_K11_a_workflow_whose_next_job_has_not_begun_is_waited_for(house: House, result: str) -> None:
    pull = opens(house)
    for number in range(3):
        house.ci.queues_suite(pull, f"idle-{number}")
    workflow = house.ci.starts(pull, "ci.yml")
    workflow.passes("build")
    asked = ask(house, pull)
    house.until(lambda: any("waiting for checks: `github-actions`" in text for text in house.said(pull)))
    house.until(lambda: house.clock.now() >= asked + 240)
    assert house.github.journal.count(CALLED) == 0
    workflow.concludes("test", result)
    workflow.ends()
    house.quiet()
    assert pull.merged == (result == "success")
    assert result == "success" or "`test`" in refusal(house, pull)
    house.expect(*(LANDED if pull.merged else STOPPED))


def test_K11_a_job_that_fails_while_the_checks_are_read_is_seen(house: House) -> None:
    pull = opens(house)
    workflow = house.ci.starts(pull, "ci.yml")
    workflow.passes("build")
    house.github.before("GET commits/*/check-suites", lambda: workflow.fails("test"), nth=2)
    house.github.before("GET commits/*/check-suites", workflow.ends, nth=2)
    ask(house, pull)
    house.quiet()
    assert "`test`" in refusal(house, pull)
    house.expect(*STOPPED)


def test_K11_a_workflow_that_begins_while_the_checks_are_read_is_waited_for(house: House) -> None:
    pull = green(house)
    workflow = house.ci.starts(pull, "slow.yml")
    house.github.before("GET commits/*/check-runs", lambda: workflow.passes("first"), nth=2)
    ask(house, pull)
    house.until(lambda: any("waiting for checks: `github-actions`" in text for text in house.said(pull)))
    assert house.github.journal.count(CALLED) == 0
    workflow.fails("second")
    house.quiet()
    assert "`second`" in refusal(house, pull)
    house.expect(*STOPPED)


def test_K12_green_on_an_older_head_says_nothing_of_this_one(house: House) -> None:
    pull = green(house)
    house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.fails(pull, "build")
    house.clock.advance(5)
    ask(house, pull)
    house.quiet()
    said = refusal(house, pull)
    assert "`build`" in said
    assert short(pull.head_sha) in said
    house.expect(*STOPPED)


def test_K13_checks_that_cannot_be_read_are_waited_for_and_never_passed(house: House) -> None:
    pull = green(house)
    ask(house, pull)
    calls_before_they_could_be_read: list[int] = []
    house.github.faults.add(Fault("GET commits/*/status", status(500), times=4))
    house.github.before(
        "GET commits/*/status",
        lambda: calls_before_they_could_be_read.append(house.github.journal.count(CALLED)),
        nth=5,
    )
    house.quiet()
    announced(house, pull)
    assert calls_before_they_could_be_read == [0]
    house.expect(*LANDED)


def test_K14_red_when_the_command_comes_is_refused_before_any_command_runs(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"touch {ran}")
    pull = opens(house)
    house.ci.fails(pull, "lint")
    house.ci.runs(pull, "slow")
    asked = ask(house, pull)
    house.until(lambda: any("Not merged" in text for text in house.said(pull)))
    assert house.clock.now() - asked <= 60
    house.quiet()
    said = refusal(house, pull)
    assert "`lint`" in said
    assert "`slow`" not in said
    assert "Mend them" in said
    assert not ran.exists()
    house.expect(*STOPPED)


def test_a_server_from_before_merge_queues_is_asked_without_them(house: House) -> None:
    words = "Field 'isMergeQueueEnabled' doesn't exist on type 'PullRequest'"
    house.github.faults.add(Fault("QUERY MergeState", status(200, {"errors": [{"message": words}]}), times=100))
    pull = green(house)
    ask(house, pull)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_a_queue_that_cannot_be_told_for_a_moment_is_asked_for_again(house: House) -> None:
    words = "Something went wrong while executing your query."
    house.github.faults.add(Fault("QUERY MergeState", status(200, {"errors": [{"message": words}]})))
    pull = green(house)
    ask(house, pull)
    house.quiet()
    announced(house, pull)
    assert house.github.journal.count("QUERY QueuelessState") == 0
    house.expect(*LANDED)


def test_commands_run_while_checks_are_pending(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"touch {ran}")
    pull = opens(house)
    house.ci.runs(pull, "slow")
    ask(house, pull)
    house.until(ran.exists)
    assert not pull.merged
    house.until(lambda: any("waiting for checks: `slow`" in text for text in house.said(pull)))
    assert "github-actions" not in "".join(house.said(pull))
    house.ci.passes(pull, "slow")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)
