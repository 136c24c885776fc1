"""Train, test, export and report an experiment, or run one of its stages.

    videokd train --config-file configs/demo/mlfd.yaml [KEY VALUE ...]
    torchrun --standalone --nproc-per-node 8 tools/train_net.py --config-file ...

Finished trainings in OUTPUT_DIR are skipped and interrupted ones resume: after Ctrl-C or a
preemption, run the same command again.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from videokd.cli.common import (
    add_config_arguments,
    load_config_of,
    own_run_directory,
)
from videokd.config.describe import describe_config, resolve_config
from videokd.engine.stop import StopRequest
from videokd.pipeline import STAGES
from videokd.utils.log import is_first_rank, log_duration, make_console, setup_logging

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, prepare the run, run its stages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_config_arguments(parser)
    parser.add_argument("--stage", default="all", choices=("all", *STAGES))
    parser.add_argument("--eval-only", action="store_true", help="the same as --stage test")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every key with its value, with explanations, and stop",
    )
    parser.add_argument("--dry-run", action="store_true", help="show sizes and steps and stop")
    args = parser.parse_intermixed_args(arguments)
    cfg = load_config_of(args)
    if args.print_config:
        # Imported late: the input of an ARCH and the options of a loss are known to their packages.
        from videokd.distill.build import check_losses
        from videokd.models.build import fill_model_inputs

        check_losses(cfg)
        sys.stdout.write(describe_config(resolve_config(fill_model_inputs(cfg)), cfg))
        return 0
    # Imported late: --help and wrong keys answer at once, and the processes that generate and
    # decode videos, which import this file again, stay small.
    from videokd.pipeline.dry_run import show_dry_run
    from videokd.pipeline.experiment import run_experiment, splits_of_stage
    from videokd.pipeline.run import open_ranks, open_run_directory, prepare_run
    from videokd.utils.env import command_line

    stage = "test" if args.eval_only else args.stage
    console = make_console()
    folder = Path(cfg.OUTPUT_DIR)
    # Locked before the log's first line and before minutes of video work. StopRequest follows
    # open_ranks: ranks that wait for each other do not handle signals, so until then a signal ends
    # them.
    own_directory = nullcontext() if args.dry_run else own_run_directory(folder)
    writes_log = is_first_rank() and not args.dry_run
    with own_directory, ExitStack() as stack:
        setup_logging(console, folder / "run.log" if writes_log else None)
        stack.enter_context(log_duration(f"command {command_line()}", logger=logger))
        ranks, stop = stack.enter_context(open_ranks(cfg)), stack.enter_context(StopRequest())
        with log_duration("prepare data", logger=logger):
            run = prepare_run(
                cfg,
                console,
                stop,
                is_dry=args.dry_run,
                frames_of=splits_of_stage(stage),
                ranks=ranks,
            )
        if args.dry_run:
            show_dry_run(run)
        else:
            open_run_directory(run)
            run_experiment(run, stage)
    return 0
