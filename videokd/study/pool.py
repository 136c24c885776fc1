"""Worker processes that run the jobs of a study."""

import logging
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.engine.stop import EXIT_STOPPED, Stopped, StopRequest
from videokd.study.jobs import Study, make_study
from videokd.study.variants import Variant
from videokd.study.work import do_jobs, read_failure, scoring_action, training_action
from videokd.utils.env import num_available_cores
from videokd.utils.errors import RunError
from videokd.utils.log import make_console, setup_logging

logger = logging.getLogger(__name__)

LOG_NAME = "study.log"

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}


def run_jobs(
    cfg: CfgNode, study: Study, split: str, *, num_processes: int, stop: StopRequest
) -> dict[Path, str]:
    """Train and score all jobs of a study in worker processes.

    The workers are spawned, so the calling script needs ``if __name__ == "__main__"``.

    Args:
        cfg: The study's config.
        study: Study of that config.
        split: "val" or "test", the split to score.
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
            arguments = (cfg, study.variants, split, token)
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
    is_told = False
    try:
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(timeout=0.2)
            if stop.is_set and not is_told:
                is_told = True
                for worker in workers:
                    worker.terminate()
    finally:
        # After a second Ctrl-C or a defect, leave no worker behind.
        for worker in workers:
            if worker.is_alive():
                worker.kill()


def _work(cfg: CfgNode, variants: tuple[Variant, ...], split: str, token: str) -> None:
    setup_logging(make_console(), Path(cfg.OUTPUT_DIR) / LOG_NAME)
    parent = parent_process()

    with StopRequest() as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

        def check() -> None:
            stop.raise_if_set()
            if parent is not None and not parent.is_alive():
                raise Stopped

        try:
            study = make_study(cfg, variants, Console(quiet=True, force_terminal=False), stop)
            actions = (training_action(), scoring_action(split))
            do_jobs(study.jobs, actions, token=token, check=check)
        except Stopped:
            sys.exit(EXIT_STOPPED)


@contextmanager
def _blocked_signals() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
