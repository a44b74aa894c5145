"""One job from its phase to its end, with the one catch at the edge.

Guaranteed: a job's trouble stays its own. What a person should know becomes one comment of the story; what
passes by itself is tried again after 10 s·2ⁿ, at most 300 s, five times; after that the story says so and
ends. A stop of the daemon leaves the record as it is: the next start goes on from the phase.
"""

from __future__ import annotations

import errno
import os
import types
from pathlib import Path

from structlog.contextvars import bound_contextvars

from orchestrator import history, texts
from orchestrator.decide.schedule import crashes
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.run import GitError
from orchestrator.git.trouble import lacks_room
from orchestrator.github.shut import ISSUES_OFF, Shut, absent, lack
from orchestrator.github.transport import ApiError, Moved, Unknown
from orchestrator.jobs import implement, merge, review, tidy
from orchestrator.jobs.desk import Desk
from orchestrator.log import get, of_job
from orchestrator.patience import LONGEST
from orchestrator.record import Job, Kind, Status
from orchestrator.status import outcome

STORIES: dict[Kind, types.ModuleType] = {Kind.IMPLEMENT: implement, Kind.REVIEW: review, Kind.MERGE: merge}
FAILURES = 5
MISSES = 2  # times that something is looked for again before a 404 is believed
CRASHES = 5  # deaths of the daemon with a job under way, within ten minutes, after which it is given up
NO_ROOM = 60.0  # seconds
_DENIES = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_MIRROR = frozenset(("run", "commit", "push", "post", "gate"))
_WITH_GIT = _IN_THE_MIRROR | {"prepare"}
BACK_OFF = 10.0
BACK_OFF_MOST = 300.0


def perform(desk: Desk) -> None:
    """Run the job until it is done, parked, waits, or the daemon stops. Never raises."""
    try:
        _perform(desk)
    except Retry as trouble:
        # Not even the record could be written (disk full): the daemon begins nothing until it can.
        get(**of_job(desk.key)).warning("job_lost", reason=str(trouble))
    except Exception:  # noqa: BLE001 - logged whole
        get(**of_job(desk.key)).exception("job_lost")
        desk.clock.wait(BACK_OFF_MOST, desk.stop)  # so that the next start is no hot loop


def _perform(desk: Desk) -> None:
    log = get()
    with bound_contextvars(**of_job(desk.key)):
        try:
            log.info("job_started", phase=desk.job.phase or "start")
            _tell(desk)
            job = desk.job
            log.info("job_ended", status=job.status.value, reason=job.reason)
            if job.status in (Status.DONE, Status.PARKED):
                told = {"at": desk.clock.now(), "item": job.key, "attempt": job.attempt, "ended": job.status.value}
                history.append(desk.history, {**told, "outcome": outcome(job), "cost_usd": job.cost_usd})
        except Stopped as stopped:
            log.info("job_stopped", reason=str(stopped))
        except (Retry, Unknown, Moved, ApiError) as trouble:
            # Met by the story's own end, a refusal or a cancellation: said again later.
            _later(desk, _retry(desk, trouble))
        except Exception as bug:
            log.exception("job_broke")
            _later(desk, Retry(f"{type(bug).__name__}: {bug}"))


def _tell(desk: Desk) -> None:
    """The story from where the record stands, with its own ways to end badly."""
    story = STORIES[desk.job.kind]
    try:
        _end_of_crash_loop(desk)
        _with_a_whole_mirror(desk)
        _phases(desk, story)
    except Stopped as stopped:
        if desk.halt.is_set():
            raise
        following = story.cancelled(desk, str(stopped))
        if following:
            _phases(desk, story, following)
    except Refused as refused:
        _fail(desk, story, refused)
    except (Retry, Unknown, Moved) as trouble:
        _later(desk, _retry(desk, trouble))
    except Missing as lack:
        # Of the repository or the machine (a token that git refuses, a program that is gone): everybody's.
        _shut(desk, str(lack))
    except (OSError, GitError) as trouble:
        if lacks_room(trouble):
            _later(
                desk, Retry(f"The machine has no room left: {trouble}", NO_ROOM)
            )  # the machine's fault, not the item's
        elif _is_denied(desk, trouble):
            _shut(desk, f"{trouble}. Mend the rights of {desk.place.folder} and of what is in it.")
        elif isinstance(trouble, OSError):
            raise
        else:
            _fail(desk, story, Refused(str(trouble)))
    except ApiError as error:
        if why := _whole(desk, error):
            _later(desk, _retry(desk, Shut(why)))
        elif error.status == 404 and desk.job.failures < MISSES:
            # What a list or an answer has just shown may be missing for a moment (octokit.js#900).
            _later(desk, Retry(str(error)))
        else:
            _fail(desk, story, Refused(str(error)))


def _is_denied(desk: Desk, trouble: OSError | GitError) -> bool:
    """The folder of the repository, or something in it, cannot be used as it is."""
    folder = desk.place.folder
    if isinstance(trouble, GitError):
        said = trouble.stderr.lower()
        return str(folder).lower() in said and any(os.strerror(number).lower() in said for number in _DENIES)
    named = trouble.filename
    path = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else Path("/")
    folders = {folder, folder.resolve()}
    in_its_place = path in folders and trouble.errno == errno.EEXIST
    return in_its_place or (
        not folders.isdisjoint((path, *path.parents)) and trouble.errno in (*_DENIES, errno.ENOTDIR)
    )


def _whole(desk: Desk, error: ApiError) -> str:
    """Why the repository takes nothing, where that is what a no means; GitHub is asked."""
    if error.status not in (403, 404, 410):
        return ""
    try:
        about = desk.api.facts()
    except ApiError as gone:
        return absent(gone.status, gone.message)
    if about.repo.id != desk.place.repo.id:
        raise Moved(f"another repository is called {desk.job.repo} now")
    if desk.job.kind is Kind.IMPLEMENT and not about.has_issues:
        return ISSUES_OFF
    return lack(desk.job.repo, about)


def _shut(desk: Desk, reason: str) -> None:
    """No other job of the repository tries, until one that is let in finds out that it can."""
    desk.place.standing.shut(reason, desk.clock.now())
    _later(desk, Retry(reason, LONGEST))


def _end_of_crash_loop(desk: Desk) -> None:
    times = crashes(desk.job, desk.clock.now())
    if times >= CRASHES and not _outcome_open(desk.job):
        raise Refused(texts.crash_loop(times))


def _with_a_whole_mirror(desk: Desk) -> None:
    """What was found damaged in the midst of a story is made anew; what was in work in it begins again."""
    if desk.mirror.damaged:
        desk.mirror.ensure()
        if desk.job.phase in _IN_THE_MIRROR:
            desk.keep(phase="prepare")


def _fail(desk: Desk, story: types.ModuleType, refused: Refused) -> None:
    following = story.fail(desk, refused)
    if following:
        _phases(desk, story, following)


def _phases(desk: Desk, story: types.ModuleType, phase: str = "") -> None:
    following = phase or desk.job.phase or next(iter(story.PHASES))
    while following:
        desk.keep(status=Status.RUNNING, phase=following, reason="")
        get().debug("phase", phase=following)
        done, following = following, story.PHASES[following](desk) or ""
        if done in _WITH_GIT:
            desk.place.standing.opened()
        desk.soon(failures=0)


def _retry(desk: Desk, trouble: Exception) -> Retry:
    if isinstance(trouble, (Shut, Moved)):
        desk.place.standing.doubt()
    return trouble if isinstance(trouble, Retry) else Retry(str(trouble))


def _later(desk: Desk, trouble: Retry) -> None:
    """Wait and try the same phase again; after too many failures the story ends with a sentence."""
    try:
        job = desk.job
        failures = job.failures if trouble.after is not None else job.failures + 1
        if failures > FAILURES and not _outcome_open(job):
            _fail(desk, STORIES[job.kind], Refused(texts.gave_up(str(trouble))))
            return
        after = trouble.after if trouble.after is not None else min(BACK_OFF * 2 ** (failures - 1), BACK_OFF_MOST)
        _wait(desk, trouble, failures, after)
    except Stopped:
        get().info("job_forgotten")
    except (Retry, Unknown, Moved) as error:
        # Even saying so could not reach GitHub, so it is no fault of the item: once more, later.
        _wait(desk, _retry(desk, error), FAILURES, BACK_OFF_MOST)
    except Exception as bug:  # noqa: BLE001 - logged whole
        get().exception("job_parked")
        desk.keep(status=Status.PARKED, reason=f"{trouble}; and then {bug}")


def _wait(desk: Desk, trouble: Retry, failures: int, after: float) -> None:
    desk.keep(status=Status.WAITING, failures=failures, not_before=desk.clock.now() + after, reason=str(trouble))
    get().warning("job_waits", reason=str(trouble), seconds=after)


def _outcome_open(job: Job) -> bool:
    """A merge was asked of GitHub and nobody has read yet what became of it: that is never given up."""
    return job.kind is Kind.MERGE and tidy.ANNOUNCED in job.effects and not job.merge_sha
