"""What must hold after every step, whatever people, GitHub, the agent and crashes do; and what must be at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from orchestrator.model import IN_PROGRESS, NEEDS_HUMAN, TOO_OLD
from orchestrator.record import Job, Kind, Status
from orchestrator.twin.world import Comment, Event, Issue, Pull
from tests.histories.oracle import MARK
from tests.simulation.agent import FOLDER
from tests.simulation.stage import CAP, SimStage

SLACK = 1200.0  # seconds that a job whose turn it is may wait beyond its polls
FAR = 2 * 86_400.0  # seconds; whoever waits longer than this has no next action
BRANCH = re.compile(r"feature/issue-(\d+)")
WHY_NOT = re.compile(r":(refused|failed|nothing|denied|crashed|parked)-")


class Watcher:
    """Looks at one stage."""

    def __init__(self, stage: SimStage) -> None:
        self.stage = stage
        self.wrong: list[str] = []
        self._due_since: dict[str, float] = {}
        self._breaks = (0, 0)
        self._pieces: dict[str, frozenset[str]] = {}  # commit -> pieces of work in it
        self._handed_over: set[str] = set()
        self._read = 0  # of the writes
        self._landed: set[str] = set()
        stage.agent.began = self._began

    def _began(self, name: str) -> None:
        live = self.stage.agent.live
        if live[name] > 1:
            self.wrong.append(f"{name}: {live[name]} agents at a time")
        if sum(live.values()) > CAP:
            self.wrong.append(f"{sum(live.values())} agents at a time: {dict(live)}")

    # -- after every step

    def check(self) -> list[str]:
        """Everything that is wrong now."""
        return [
            *self.wrong,
            *self.stage.oracle.wrong,
            *self.stage.trouble(),
            *self.stage.mirror.overwritten,
            *self._doubled(),
            *self._merged_again(),
            *self._lost(),
            *self._idle(),
            *self._mute(),
            *self._told(),
        ]

    def _doubled(self) -> Iterator[str]:
        """One open pull request for an issue, one comment of each kind, one review for a head."""
        stage, robot = self.stage, self.stage.oracle.robot
        repo = stage.repo.thing
        opened = Counter(p.head_ref for p in repo.pulls if p.issue.user is robot and p.issue.state == "open")
        yield from (f"{times} open pull requests for {ref}" for ref, times in opened.items() if times > 1)
        for issue in repo.issues.values():
            marks = Counter(comment.body.split(" -->")[0] for comment in self._ours(issue))
            yield from (f"#{issue.number}: {mark} {times} times" for mark, times in marks.items() if times > 1)
        for pull in repo.pulls:
            heads = Counter(review.commit_id for review in pull.reviews if review.user is robot)
            yield from (f"#{pull.number}: {times} reviews of {sha}" for sha, times in heads.items() if times > 1)

    def _merged_again(self) -> Iterator[str]:
        """No merge is asked for that has taken effect, even if GitHub refuses it."""
        writes = self.stage.writes
        for method, path, status in writes[self._read :]:
            if method == "PUT" and path.endswith("/merge"):
                if path in self._landed:
                    yield f"{path} was called again after it had taken effect"
                if status < 300:
                    self._landed.add(path)
        self._read = len(writes)

    def _ours(self, issue: Issue) -> list[Comment]:
        robot = self.stage.oracle.robot
        return [c for c in issue.comments if c.user is robot and c.body.startswith(MARK)]

    def _lost(self) -> Iterator[str]:
        """Work of an agent is in a worktree, or in a commit that a ref of the mirror or of GitHub leads to."""
        mirror, objects = self.stage.mirror, self.stage.mirror.objects
        for sha in {at for ref, at in mirror.origin.all_refs.items() if ref.startswith("refs/")}:
            self._handed_over |= self._in(sha)
        safe = set(self._handed_over)
        for tree in mirror.trees.values():
            safe.update(path for path in tree.files if path.startswith(FOLDER))
            safe |= self._in(tree.head)
        for sha in set(mirror.refs.values()):
            safe |= self._in(sha)
        missing = self.stage.agent.made - safe
        if missing:
            held = [sha[:8] for sha, facts in objects.commits.items() if missing & set(objects.trees[facts.tree])]
            yield f"work is lost: {sorted(missing)}, only in unreachable commits {held}"

    def _in(self, sha: str) -> frozenset[str]:
        if sha not in self._pieces:
            objects = self.stage.mirror.objects
            found = (path for one in objects.ancestors(sha) for path in objects.files(one) if path.startswith(FOLDER))
            self._pieces[sha] = frozenset(found)
        return self._pieces[sha]

    def _idle(self) -> Iterator[str]:
        """Every job that is not over runs, waits for a moment, or waits for a turn that comes."""
        stage = self.stage
        if stage.daemon is None:
            return
        if (stage.restarts, stage.slept) != self._breaks:
            self._due_since.clear()  # nobody was there
            self._breaks = (stage.restarts, stage.slept)
        now, busy = stage.now(), stage.daemon.slots.busy()
        due = {}
        for job in stage.jobs:
            if job.status not in (Status.RUNNING, Status.WAITING) or job.key in busy:
                continue
            if job.not_before > now + FAR:
                yield f"{job.key} waits until {job.not_before - now:.0f} s from now: {job.reason}"
            if job.not_before <= now and self._free(job, busy):
                due[job.key] = self._due_since.get(job.key, now)
        self._due_since = due
        most = SLACK + 3 * stage.settings.poll_interval
        yield from (f"{key} is due for {now - since:.0f} s" for key, since in due.items() if now - since > most)

    def _free(self, job: Job, busy: set[str]) -> bool:
        """Whether nothing that is known keeps this job from its turn."""
        stage = self.stage
        if stage.daemon is None or stage.pauses() or not stage.reachable():
            return False
        if job.kind is Kind.MERGE:
            return not any(key.endswith("/merge") for key in busy) and not any(
                one.kind is Kind.MERGE and one.not_before > stage.now() for one in stage.jobs
            )
        return sum(not key.endswith("/merge") for key in busy) < CAP

    def _mute(self) -> Iterator[str]:
        yield from (f"{j.key} is parked without a reason" for j in self.stage.jobs if self._parked(j) and not j.reason)

    def _parked(self, job: Job) -> bool:
        return job.status is Status.PARKED

    def _told(self) -> Iterator[str]:
        """The token is in no text that an agent gets to see."""
        told = self.stage.agent.told
        if any(self.stage.token in text for text in told):
            yield "the token was given to an agent"
        told.clear()

    # -- when everything has come to rest

    def rest(self) -> list[str]:
        """Everything that is wrong when no fault strikes any more and all had time to end."""
        stage = self.stage
        found = [
            f"{job.key} does not end: {job}" for job in stage.jobs if job.status not in (Status.PARKED, Status.DONE)
        ]
        found += self.check()
        found += self._unanswered()
        for issue in stage.repo.thing.issues.values():
            found += self._unheard(issue) if issue.pull is None else self._unread(issue.pull)
        found += [
            f"worktree {path.name} is left, {self._job(path.name)}"
            for path in stage.mirror.trees
            if not self._kept(path.name)
        ]
        if not stage.disk.whole(stage.token):
            found.append("the state file does not read as it was meant, or holds the token")
        return found

    def _unanswered(self) -> Iterator[str]:
        """Each command of somebody who might is answered; one that is a day old only while its pull request is open."""
        robot, now = self.stage.oracle.robot, self.stage.now()
        for asked in self.stage.oracle.asked.values():
            comment, issue = asked.comment, asked.comment.issue
            late = issue.state != "open" and now - comment.created_at > TOO_OLD
            if not asked.allowed or asked.void or asked.edited is not None or comment.deleted or late:
                continue
            later = (c for c in self.stage.oracle.cancels if c.issue is issue and c.created_at > comment.created_at)
            if any(c.user is comment.user and not c.deleted for c in later):
                continue  # taken back by the same person, perhaps before anybody looked
            heard = any(reaction.user is robot for reaction in comment.reactions)
            # Who may not ask is told so once on each pull request; so is who asks while an attempt is under way.
            words = (f"-{comment.id} ", f":denied-{comment.user.id if comment.user else 0} ", "is already under way")
            if not heard and not any(word in c.body for c in issue.comments if c.user is robot for word in words):
                yield f"#{issue.number}: {comment.body!r} of {comment.created_at} was not answered"

    def _unheard(self, issue: Issue) -> Iterator[str]:
        """Each issue that somebody labelled has a pull request, or a comment that says why not."""
        wishes = [e for e in issue.events if self._is(e, "labeled", "ready")]
        names = {label.name for label in issue.labels}
        withdrawn = not wishes or self._withdrawn(issue, wishes[-1])
        # Closed just before the memory was lost: nothing shows the daemon that it was its own.
        if IN_PROGRESS in names and not (self.stage.forgot and (withdrawn or issue.state != "open")):
            yield f"#{issue.number} is still called {IN_PROGRESS}"
        if withdrawn or issue.state != "open":
            return
        pulls = [p for p in self.stage.repo.thing.pulls if p.head_ref == f"feature/issue-{issue.number}"]
        said = any(
            WHY_NOT.search(comment.body.split("\n")[0]) or "may not ask any more" in comment.body
            for comment in self._ours(issue)
        )
        if not pulls and not said and NEEDS_HUMAN not in names:
            yield f"#{issue.number} was labelled and never answered: {[c.body[:200] for c in self._ours(issue)]}"

    def _is(self, event: Event, what: str, label: str) -> bool:
        return event.event == what and event.label is not None and event.label.name == label

    def _withdrawn(self, issue: Issue, wish: Event) -> bool:
        robot = self.stage.oracle.robot
        later = [e for e in issue.events if e.id > wish.id and e.actor is not robot]
        return any(e.event == "closed" or e.event == "unlabeled" for e in later)

    def _unread(self, pull: Pull) -> Iterator[str]:
        """Each open head has its review, or a comment that says why not."""
        if pull.issue.state != "open" or pull.draft or self.stage.forgot:
            return
        reviewed = any(r.user is self.stage.oracle.robot and r.commit_id == pull.head_sha for r in pull.reviews)
        said = any(f":failed-{pull.head_sha}" in comment.body for comment in self._ours(pull.issue))
        if not reviewed and not said:
            yield f"#{pull.number}: {pull.head_sha[:8]} has no review: {[c.body[:200] for c in self._ours(pull.issue)]}"

    def _job(self, name: str) -> Job | None:
        number = name.removeprefix("issue-")
        return next((j for j in self.stage.jobs if j.kind is Kind.IMPLEMENT and str(j.number) == number), None)

    def _kept(self, name: str) -> bool:
        """Of a failed attempt, the worktree waits for the person who was told; later it is collected."""
        job = self._job(name)
        return self.stage.forgot or (job is not None and job.phase != "finish")
