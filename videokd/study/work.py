"""Worker processes that run the jobs of a study.

The processes communicate only through the folders of the trainings: a finished training has
is_finished in ``training.json``, a running one is locked, a failed one has ``failure.json``. A lock
ends with its process, so no job is lost or done twice. Several calls of the command cooperate in
the same way.
"""

import logging
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.engine.stop import EXIT_STOPPED, Stopped, StopRequest
from videokd.pipeline.scoring import is_scored, score_training
from videokd.pipeline.train import run_training
from videokd.study.finished import Finished
from videokd.study.study import Job, Study, Variant, make_study
from videokd.utils.env import num_available_cores
from videokd.utils.errors import InputError, RunError, VideoError
from videokd.utils.io import read_json, write_json
from videokd.utils.lock import lock_folder
from videokd.utils.log import make_console, setup_logging

logger = logging.getLogger(__name__)

LOG_NAME = "study.log"

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}


def run_jobs(
    cfg: CfgNode,
    study: Study,
    split: str,
    finished: Finished,
    *,
    num_processes: int,
    stop: StopRequest,
) -> dict[Path, str]:
    """Train and score all jobs of a study in worker processes.

    The workers are spawned, so the calling script needs ``if __name__ == "__main__"``.

    Args:
        cfg: The study's config.
        study: Study of that config.
        split: "val" or "test", the split to score.
        finished: What the study was made with.
        num_processes: Number of workers, each with the loader processes and threads of the config.
        stop: Stop request; signals are forwarded to the workers.

    Returns:
        Folder of each failed training -> cause.

    Raises:
        Stopped: A signal arrived and the workers wrote checkpoints.
        RunError: All workers ended early with an error code.
    """
    _check_cores(study, num_processes)
    token = uuid.uuid4().hex
    context = get_context("spawn")
    workers: list[BaseProcess] = []
    # A signal that arrives before a worker can handle it stays pending until then.
    with _blocked_signals():
        for number in range(num_processes):
            arguments = (cfg, study.variants, split, finished, token)
            worker = context.Process(target=_work, args=arguments, name=f"worker-{number}")
            worker.start()
            workers.append(worker)
    _wait(workers, stop)
    codes = [worker.exitcode for worker in workers]
    # A worker that exits with 0 has seen all jobs finished, even if other workers failed.
    if stop.is_set or (0 not in codes and EXIT_STOPPED in codes):
        raise Stopped
    if 0 not in codes:
        raise RunError(
            f"all workers ended early, with codes {codes}; {cfg.OUTPUT_DIR}/{LOG_NAME} may hold "
            "the cause; run the same command again to resume"
        )
    if any(codes):
        logger.warning("workers ended with codes %s; the others did their work", codes)
    failures = {job.folder: read_failure(job.folder, token) for job in study.jobs}
    return {folder: cause for folder, cause in failures.items() if cause is not None}


def _check_cores(study: Study, num_processes: int) -> None:
    run = next(iter(study.runs.values()))
    # This process has as many torch threads as each worker will have.
    num_wanted = num_processes * (run.num_workers + torch.get_num_threads())
    if num_wanted > num_available_cores():
        logger.warning(
            "%d threads and loader workers on %d cores: slow; lower --jobs, "
            "DATA_LOADER.NUM_THREADS or NUM_WORKERS",
            num_wanted,
            num_available_cores(),
        )


def _wait(workers: list[BaseProcess], stop: StopRequest) -> None:
    is_forwarded = False
    try:
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(timeout=0.2)
            if stop.is_set and not is_forwarded:
                is_forwarded = True
                for worker in workers:
                    worker.terminate()
    finally:
        # After a second Ctrl-C or a defect, leave no worker behind.
        for worker in workers:
            if worker.is_alive():
                worker.kill()


def _work(
    cfg: CfgNode, variants: tuple[Variant, ...], split: str, finished: Finished, token: str
) -> None:
    setup_logging(make_console(), Path(cfg.OUTPUT_DIR) / LOG_NAME)
    parent = parent_process()

    with StopRequest() as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

        def check() -> None:
            stop.raise_if_set()
            if parent is not None and not parent.is_alive():
                raise Stopped

        try:
            console = Console(quiet=True, force_terminal=False)
            study = make_study(cfg, variants, console, stop, split=split, finished=finished)
            do_jobs(study.jobs, train_and_score(split), token=token, check=check)
        except Stopped:
            sys.exit(EXIT_STOPPED)


@contextmanager
def _blocked_signals() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@dataclass(frozen=True)
class Work:
    """Work on a job, and the check that it is done."""

    do: Callable[[Job], None]
    is_done: Callable[[Job], bool]


def train_and_score(split: str) -> Work:
    """Return the work that trains a job and scores it on "val" or "test" if a table shows it."""

    def do(job: Job) -> None:
        run_training(job.run, job.training)
        if job.is_shown:
            score_training(job.run, job.training, split)

    def is_done(job: Job) -> bool:
        is_trained = job.run.plan.is_finished(job.training)
        return is_trained and (not job.is_shown or is_scored(job.run, job.training, split))

    return Work(do, is_done)


def read_failure(folder: Path, token: str) -> str | None:
    """Return the cause of a training's failure in the tool call ``token``, or None."""
    path = folder / "failure.json"
    if not path.exists():
        return None
    failure = read_json(path)
    return str(failure["cause"]) if failure["token"] == token else None


def do_jobs(
    jobs: Sequence[Job],
    work: Work,
    *,
    token: str,
    check: Callable[[], None],
    poll_sec: float = 1.0,
) -> None:
    """Do all jobs; return when no job is left.

    A job that needs a failed one is left out. Jobs of other processes are waited for, and taken
    over if such a process ends early.

    Args:
        jobs: Jobs in an order in which each follows the jobs that it needs.
        work: What is done for each.
        token: Id of this tool call; jobs that failed in it are not tried again.
        check: Called often; raises to stop.
        poll_sec: Seconds between checks of jobs in other processes.

    Raises:
        Stopped: From ``check`` or from a training.
    """
    still_open = {job.folder: job for job in jobs}
    failed: set[Path] = set()
    while still_open:
        outcome = ""
        for folder, job in list(still_open.items()):
            check()
            if work.is_done(job):
                del still_open[folder]
            elif read_failure(folder, token) is not None or not failed.isdisjoint(job.needs):
                failed.add(folder)
                del still_open[folder]
            elif still_open.keys().isdisjoint(job.needs):
                outcome = _try(job, work, token)
            if outcome:
                num_open = sum(not work.is_done(j) for j in still_open.values())
                num_done = len(jobs) - num_open - len(failed)
                logger.info("%s; %d of %d done", outcome, num_done, len(jobs))
                break  # restart: an earlier job may be ready by now
        if still_open and not outcome:
            time.sleep(poll_sec)


def _try(job: Job, work: Work, token: str) -> str:
    """Do a job and return a line on the result; "" if another process has or had the job."""
    with lock_folder(job.folder) as holder:
        # Another process may have finished the job between the check and the lock.
        if holder is not None or work.is_done(job):
            return ""
        if read_failure(job.folder, token) is not None:
            return ""
        start = time.monotonic()
        try:
            work.do(job)
        except (InputError, RunError, VideoError) as error:
            write_json(job.folder / "failure.json", {"token": token, "cause": str(error)})
            return f"{job} FAILED in {job.folder}: {error}"
        (job.folder / "failure.json").unlink(missing_ok=True)
        return f"{job}: {time.monotonic() - start:.1f} s"
