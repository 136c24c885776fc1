"""Train and compare the variants of a config over several seeds; equal trainings run only once.

    videokd study --config-file configs/demo/study.yaml --seeds 0 1 2 3 4 --jobs 2
    videokd study --config-file configs/demo/study.yaml --seeds 0 1 2 3 4 \
        --split test --output docs/results/demo

The first command trains and scores on the held-out videos, on which choices are made. The second
scores on the test split and writes docs/results/demo.json, .md and pictures. Finished trainings are
skipped and interrupted ones resume. Start the same command again in another terminal to add
workers.
"""

import argparse
import logging
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from videokd.cli.common import (
    EXIT_FAILED,
    add_config_arguments,
    load_config_of,
    path_argument,
)
from videokd.engine.stop import Stopped, StopRequest
from videokd.utils.errors import InputError, RunError
from videokd.utils.log import make_console, setup_logging, show

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, plan the study, run its jobs, write the results."""
    start = time.monotonic()
    args = _parse(arguments)
    cfg = load_config_of(args)
    # Imported late: --help and wrong keys answer at once, and the processes that generate and
    # decode videos, which import this file again, stay small.
    from videokd.study.finished import Finished
    from videokd.study.output import finished_path, write_output
    from videokd.study.plan_table import training_table, variant_table
    from videokd.study.study import make_study, read_variants
    from videokd.study.work import LOG_NAME, run_jobs

    variants = read_variants(cfg, args.seeds, args.variants)
    console = make_console()
    setup_logging(console, Path(cfg.OUTPUT_DIR) / LOG_NAME)
    with StopRequest() as stop:
        finished = Finished.read(finished_path(args.output)) if args.output else Finished()
        study = make_study(cfg, variants, console, stop, split=args.split, finished=finished)
        for table in (training_table(study, finished), variant_table(study)):
            show(console, table, logger=logger)
        if args.plan:
            return 0

        def write(*, with_analysis: bool) -> None:
            if args.output is None:
                return
            write_output(
                cfg,
                study,
                args.split,
                args.output,
                finished,
                command=shlex.join(["videokd", "study", *arguments]),
                wall_sec=time.monotonic() - start,
                with_analysis=with_analysis,
            )
            console.print(f"results: {args.output}.md", soft_wrap=True)

        try:
            failures = run_jobs(
                cfg, study, args.split, finished, num_processes=args.jobs, stop=stop
            )
        except (Stopped, RunError):
            with suppress(InputError):  # nothing is complete yet
                write(with_analysis=False)
            raise
        for job in study.jobs:
            if job.folder in failures:
                logger.error("%s failed in %s: %s", job, job.folder, failures[job.folder])
        write(with_analysis=not args.no_analysis)
    return EXIT_FAILED if failures else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_config_arguments(parser)
    parser.add_argument("--seeds", nargs="+", type=int, required=True, metavar="SEED")
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="NAME", help="some of VARIANTS; default: all"
    )
    parser.add_argument(
        "--split",
        default="val",
        choices=("val", "test"),
        help="val (default): the held-out part, for choices; test: to be read once, at the end",
    )
    parser.add_argument(
        "--plan", action="store_true", help="print the trainings and their cost, and stop"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes")
    parser.add_argument(
        "--output", type=path_argument, help="write OUTPUT.json, OUTPUT.md and OUTPUT/"
    )
    parser.add_argument(
        "--no-analysis", action="store_true", help="leave out the sections on features and errors"
    )
    args = parser.parse_intermixed_args(arguments)
    if args.jobs < 1:
        raise InputError(f"--jobs must be >= 1, got {args.jobs}")
    return args
