"""Export a trained student to files that work without videokd.

videokd export --run runs/demo --dataset UCF --output exported/ucf
"""

import argparse
from collections.abc import Sequence

from videokd.cli.common import path_argument
from videokd.config import load_config, override_config
from videokd.engine.stop import StopRequest
from videokd.utils.errors import InputError
from videokd.utils.log import make_console, setup_logging
from videokd.utils.paths import escape_path


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, load the student, export it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True, type=path_argument, help="run directory")
    parser.add_argument("--dataset", required=True, help="whose student, as in DATASETS")
    parser.add_argument("--formats", nargs="+", choices=("pth", "safetensors", "onnx"))
    parser.add_argument("--output", required=True, type=path_argument, help="folder to write")
    args = parser.parse_args(arguments)
    config = args.run / "config.yaml"
    if not config.exists():
        raise InputError(f"{args.run} is not a run directory: it has no config.yaml")
    # Imported late: --help and wrong keys answer at once, and the processes that generate and
    # decode videos, which import this file again, stay small.
    from videokd.engine.training_file import read_calls
    from videokd.pipeline.experiment import export_training
    from videokd.pipeline.run import prepare_run

    console = make_console()
    setup_logging(console)
    # The student's training may have used other values than the run's first call.
    calls = read_calls(args.run).get(f"students/{args.dataset}", [])
    overrides = calls[-1]["overrides"] if calls else {}
    words = [word for key, value in overrides.items() for word in (key, value)]
    words += ["OUTPUT_DIR", escape_path(str(args.run))]
    cfg = override_config(load_config(config), words, source="the training's call")
    with StopRequest() as stop:
        run = prepare_run(cfg, console, stop, frames_of=())
        training = run.plan.find(f"students/{args.dataset}")
        formats = tuple(args.formats) if args.formats else None
        export_training(run, training, args.output, formats)
    return 0
