"""Execution of a study's jobs by one or several cooperating processes.

The processes communicate only through the folders of the trainings: a finished training has
is_finished in ``training.json``, a running one is locked, a failed one has ``failure.json``. A lock
ends with its process, so no job is lost or done twice.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from videokd.pipeline.run import Run
from videokd.pipeline.scoring import is_scored, score_training
from videokd.pipeline.train import run_training
from videokd.pipeline.training import Training
from videokd.study.jobs import Job
from videokd.utils.errors import InputError, RunError, VideoError
from videokd.utils.io import read_json, write_json
from videokd.utils.lock import lock_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Action:
    """One kind of work on a job, and the check that it is done."""

    verb: str
    do: Callable[[Run, Training], None]
    is_done: Callable[[Run, Training], bool]


def training_action() -> Action:
    """Return the action that trains jobs."""
    return Action("trained", run_training, lambda run, training: run.plan.is_finished(training))


def scoring_action(split: str) -> Action:
    """Return the action that scores jobs on "val" or "test"."""
    return Action(
        "scored",
        lambda run, training: score_training(run, training, split),
        lambda run, training: is_scored(run, training, split),
    )


@contextmanager
def lock_training(folder: Path) -> Iterator[bool]:
    """Lock a training's folder while the body runs; yield False if another process holds it."""
    with lock_folder(folder) as holder:
        yield holder is None


def read_failure(folder: Path, token: str) -> str | None:
    """Return the cause of a training's failure in the tool call ``token``, or None."""
    path = folder / "failure.json"
    if not path.exists():
        return None
    failure = read_json(path)
    return str(failure["cause"]) if failure["token"] == token else None


def do_jobs(
    jobs: Sequence[Job],
    actions: tuple[Action, Action],
    *,
    token: str,
    check: Callable[[], None],
    poll_sec: float = 1.0,
) -> None:
    """Train all jobs, then score those that are shown; return when no job is left.

    Jobs of other processes are waited for, and taken over if such a process ends early.

    Args:
        jobs: Jobs in an order in which each follows the jobs that it needs.
        actions: Training and scoring.
        token: Id of this tool call; jobs that failed in it are not tried again.
        check: Called often; raises to stop.
        poll_sec: Seconds between checks of jobs in other processes.

    Raises:
        Stopped: From ``check`` or from a training.
    """
    train, score = actions
    failed = _run_until_done(jobs, train, token=token, check=check, poll_sec=poll_sec)
    shown = [replace(job, needs=()) for job in jobs if job.is_shown and job.folder not in failed]
    _run_until_done(shown, score, token=token, check=check, poll_sec=poll_sec)


def _run_until_done(
    jobs: Sequence[Job], action: Action, *, token: str, check: Callable[[], None], poll_sec: float
) -> set[Path]:
    """Do all jobs; return the folders of failed jobs and of jobs that need a failed job."""
    still_open = {job.folder: job for job in jobs}
    failed: set[Path] = set()
    while still_open:
        outcome = ""
        for folder, job in list(still_open.items()):
            check()
            if action.is_done(job.run, job.training):
                del still_open[folder]
            elif read_failure(folder, token) is not None or not failed.isdisjoint(job.needs):
                failed.add(folder)
                del still_open[folder]
            elif still_open.keys().isdisjoint(job.needs):
                outcome = _try(job, action, token)
            if outcome:
                num_done = sum(action.is_done(j.run, j.training) for j in still_open.values())
                num_done += len(jobs) - len(still_open) - len(failed)
                logger.info("%s; %s: %d of %d", outcome, action.verb, num_done, len(jobs))
                break  # restart: an earlier job may be ready by now
        if still_open and not outcome:
            time.sleep(poll_sec)
    return failed


def _try(job: Job, action: Action, token: str) -> str:
    """Do a job and return a line on the result; "" if another process has or had the job."""
    with lock_training(job.folder) as is_mine:
        # Another process may have finished the job between the check and the lock.
        if not is_mine or action.is_done(job.run, job.training):
            return ""
        if read_failure(job.folder, token) is not None:
            return ""
        start = time.monotonic()
        try:
            action.do(job.run, job.training)
        except (InputError, RunError, VideoError) as error:
            write_json(job.folder / "failure.json", {"token": token, "cause": str(error)})
            return f"{job} FAILED in {job.folder}: {error}"
        (job.folder / "failure.json").unlink(missing_ok=True)
        return f"{job} {action.verb} in {time.monotonic() - start:.1f} s"
