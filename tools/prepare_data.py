"""Prepare datasets: generate the embedded ones, count the real ones' lists.

python tools/prepare_data.py demo --output data/demo
python tools/prepare_data.py count --format ucf101 --annotations DIR --split 1
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from videokd.data.formats import count_hmdb51, count_ucf101
from videokd.data.synthetic import PROFILES
from videokd.engine.stop import StopRequest
from videokd.pipeline.cli import make_console, run_tool
from videokd.utils.log import setup_logging


def main(arguments: Sequence[str]) -> int:
    """Parse, do one command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="generate the three embedded datasets")
    demo.add_argument("--output", default="data/demo")
    demo.add_argument("--profile", default="demo", choices=sorted(PROFILES))
    count = commands.add_parser("count", help="count the videos of the official lists")
    count.add_argument("--format", required=True, choices=("ucf101", "hmdb51"))
    count.add_argument("--annotations", required=True, type=Path)
    count.add_argument("--split", type=int, default=1, choices=(1, 2, 3))
    args = parser.parse_args(arguments)
    # Imported here: --help and a wrong key answer at once, and the processes that generate and
    # decode videos, which import this file again, stay small.
    from videokd.pipeline.prepare import generate_synthetic

    console = make_console()
    setup_logging(console)
    if args.command == "demo":
        with StopRequest() as stop:
            generate_synthetic(args.output, args.profile, console, stop)
        console.print(f"embedded datasets: {args.output}")
    else:
        counter = count_ucf101 if args.format == "ucf101" else count_hmdb51
        counts = counter(args.annotations, split=args.split)
        console.print(" ".join(f"{key}={value}" for key, value in counts.items()), highlight=False)
    return 0


if __name__ == "__main__":
    run_tool(main)
