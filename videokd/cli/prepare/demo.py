"""`prepare_data.py demo`: generate the three embedded datasets."""

import argparse

from rich.console import Console

from videokd.cli.common import path_argument
from videokd.synthetic import PROFILES

HELP = "generate the three embedded datasets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --output and --profile."""
    parser.add_argument("--output", type=path_argument, default="data/demo", metavar="DIR")
    parser.add_argument("--profile", default="demo", choices=sorted(PROFILES))


def run(args: argparse.Namespace, console: Console) -> int:
    """Generate the datasets that do not exist yet."""
    from videokd.engine.stop import StopRequest
    from videokd.pipeline.datasets import generate_synthetic

    with StopRequest() as stop:
        generate_synthetic(str(args.output), args.profile, console, stop)
    console.print(f"embedded datasets: {args.output}")
    return 0
