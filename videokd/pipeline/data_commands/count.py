"""`prepare_data.py count`: count the videos of a dataset's official lists."""

import argparse
from pathlib import Path

from rich.console import Console

from videokd.data.formats import count_hmdb51, count_ucf101

HELP = "count the videos of the official lists; needs no videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --format, --annotations and --split."""
    parser.add_argument("--format", required=True, choices=("ucf101", "hmdb51"))
    parser.add_argument("--annotations", required=True, type=Path)
    parser.add_argument("--split", type=int, default=1, choices=(1, 2, 3))


def run(args: argparse.Namespace, console: Console) -> int:
    """Print `train=9537 test=3783 classes=101`."""
    counter = count_ucf101 if args.format == "ucf101" else count_hmdb51
    counts = counter(args.annotations, split=args.split)
    console.print(" ".join(f"{key}={value}" for key, value in counts.items()), highlight=False)
    return 0
