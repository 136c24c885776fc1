"""`prepare_data.py count`: count the listed videos of a dataset, and the missing ones."""

import argparse

from rich.console import Console

from videokd.cli.common import path_argument
from videokd.data.lists.formats.read import FORMATS, count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text

HELP = "count the videos of the lists; needs no videos"


_KEYS = ("train", "val", "test", "classes", "missing")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a dataset, and --missing."""
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


def run(args: argparse.Namespace, console: Console) -> int:
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
