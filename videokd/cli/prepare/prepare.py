"""Prepare datasets: generate the demo data, count, index, check, resize, convert or preview videos.

python tools/prepare_data.py demo --output data/demo
python tools/prepare_data.py count --format ucf101 --annotations DIR --split-number 1
python tools/prepare_data.py index --config-file configs/demo/mlfd.yaml DATA.INDEX_DIR data/index
python tools/prepare_data.py check --root DIR --format ucf101 --annotations DIR --output DIR
python tools/prepare_data.py resize --input DIR --output DIR --short-side 256
python tools/prepare_data.py convert --input DIR --output DIR --to mp4
python tools/prepare_data.py preview --config-file configs/demo/mlfd.yaml --output clips.png
"""

import argparse
from collections.abc import Sequence

from videokd.cli.prepare import (
    check,
    convert,
    count,
    demo,
    index,
    preview,
    resize,
)
from videokd.utils.log import make_console, setup_logging

COMMANDS = {
    "demo": demo,
    "count": count,
    "index": index,
    "check": check,
    "resize": resize,
    "convert": convert,
    "preview": preview,
}


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments and run one command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP))
    args = parser.parse_args(arguments)
    console = make_console()
    setup_logging(console)
    return COMMANDS[args.command].run(args, console)
