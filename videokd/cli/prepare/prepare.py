"""Prepare datasets: generate the demo data, count, index, check, convert or preview videos.

videokd prepare demo --output data/demo
videokd prepare count --format ucf101 --annotations DIR --split-number 1
videokd prepare index --config-file configs/demo/mlfd.yaml DATA.INDEX_DIR data/index
videokd prepare check --root DIR --format ucf101 --annotations DIR --output DIR
videokd prepare convert --input DIR --output DIR --short-side 256 --to mp4
videokd prepare preview --config-file configs/demo/mlfd.yaml --output clips.png
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console

from videokd.cli.common import path_argument
from videokd.cli.prepare import check, convert, index, preview
from videokd.data.lists.formats.read import FORMATS, count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.synthetic import PROFILES
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text
from videokd.utils.log import make_console, setup_logging

_KEYS = ("train", "val", "test", "classes", "missing")


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=path_argument, default="data/demo", metavar="DIR")
    parser.add_argument("--profile", default="demo", choices=sorted(PROFILES))


def _generate_demo(args: argparse.Namespace, console: Console) -> int:
    """Generate the datasets that do not exist yet."""
    from videokd.engine.stop import StopRequest
    from videokd.pipeline.datasets import generate_synthetic

    with StopRequest() as stop:
        generate_synthetic(str(args.output), args.profile, console, stop)
    console.print(f"embedded datasets: {args.output}")
    return 0


def _add_count_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument(
        "--annotations", type=path_argument, help="folder of the lists; for all formats but folder"
    )
    parser.add_argument(
        "--split-number", type=int, default=1, choices=(1, 2, 3), help="as DATASETS.<NAME>.SPLIT"
    )
    parser.add_argument(
        "--root",
        type=path_argument,
        help="folder of the videos: also count the listed ones it lacks",
    )
    parser.add_argument(
        "--missing",
        type=path_argument,
        metavar="FILE",
        help="write the paths that --root lacks, one a line",
    )
    parser.add_argument("--separator", default=DatasetSpec.separator, help="of path and label")
    parser.add_argument("--group-pattern", default="", help="expression of a video's source")


def _count(args: argparse.Namespace, console: Console) -> int:
    """Print `train=9537 test=3783 classes=101`, and `missing=12` if --root is given."""
    spec = DatasetSpec(
        args.format,
        root=args.root,
        annotations=args.annotations,
        split_number=args.split_number,
        separator=args.separator,
        group_pattern=args.group_pattern,
    )
    if args.missing is not None and args.root is None:
        raise InputError("--missing needs --root, the folder that the videos are looked for in")
    missing: list[str] = []
    if FORMATS[args.format].needs_annotations and args.root is not None:
        indexes = find_dataset(spec, name=args.format)
        counts = {s: len(index) + len(index.missing) for s, index in indexes.items()}
        counts["classes"] = next(iter(indexes.values())).num_classes
        missing = [path for index in indexes.values() for path in index.missing]
        counts["missing"] = len(missing)
    else:
        counts = count_dataset(spec)
    keys = [key for key in _KEYS if key in counts or key in ("train", "test")]
    fields = [f"{key}={counts.get(key, 'absent')}" for key in keys]
    if args.missing is not None:
        atomic_write_text(args.missing, "".join(f"{path}\n" for path in missing))
    console.print(" ".join(fields), highlight=False)
    return 0


class _Command(NamedTuple):
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Console], int]


_COMMANDS = {
    "demo": _Command("generate the three embedded datasets", _add_demo_arguments, _generate_demo),
    "count": _Command(
        "count the videos of the lists; needs no videos", _add_count_arguments, _count
    ),
    **{
        module.__name__.rpartition(".")[2]: _Command(module.HELP, module.add_arguments, module.run)
        for module in (index, check, convert, preview)
    },
}


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments and run one command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help))
    args = parser.parse_args(arguments)
    console = make_console()
    setup_logging(console)
    return _COMMANDS[args.command].run(args, console)
