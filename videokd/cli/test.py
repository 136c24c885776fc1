"""Evaluate one trained model with several clips and crops per test video; print its accuracies.

videokd test --config-file configs/demo/mlfd.yaml --model students/UCF \
    --checkpoint runs/demo/students/UCF/model.safetensors TEST.NUM_ENSEMBLE_VIEWS 10

Nothing is written to the run directory.
"""

import argparse
from collections.abc import Sequence

from videokd.cli.common import (
    add_config_arguments,
    load_config_of,
    path_argument,
)
from videokd.engine.stop import StopRequest
from videokd.utils.log import make_console, setup_logging


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, load the model, print its accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_config_arguments(parser)
    parser.add_argument("--model", required=True, help="like experts/UCF, joint, students/UCF")
    parser.add_argument(
        "--checkpoint", type=path_argument, help="safetensors file; default: the run's own"
    )
    args = parser.parse_intermixed_args(arguments)
    cfg = load_config_of(args)
    # Imported late: --help and wrong keys answer at once, and the processes that generate and
    # decode videos, which import this file again, stay small.
    from videokd.pipeline.run import open_ranks, prepare_run
    from videokd.pipeline.scoring import predict_split

    console = make_console()
    setup_logging(console)
    with open_ranks(cfg) as ranks, StopRequest() as stop:
        run = prepare_run(cfg, console, stop, frames_of=("test",), ranks=ranks)
        training = run.plan.find(args.model)
        if args.checkpoint:
            model = run.plan.builder.load_checkpoint(training, args.checkpoint)
        else:
            model = run.plan.load_model(training)
        for name in training.tested_on:
            scores = predict_split(run, training, model.to(run.device), name).scores()
            numbers = "  ".join(f"{key} {value:.2f}" for key, value in scores.items())
            console.print(f"{training.folder} on {name}: {numbers}", highlight=False)
    return 0
