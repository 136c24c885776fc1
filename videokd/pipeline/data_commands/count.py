"""`prepare_data.py count`: count the videos of a dataset's lists, and those that are missing."""

import argparse

from rich.console import Console

from videokd.data.formats import FORMATS, DatasetSpec, count_dataset, read_dataset
from videokd.pipeline.cli import path_argument
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text

HELP = "count the videos of the lists; needs no videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --format, --annotations, --split, --root, --missing, --separator, --group-pattern."""
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument(
        "--annotations", type=path_argument, help="folder of the lists; for all formats but folder"
    )
    parser.add_argument("--split", type=int, default=DatasetSpec.split, choices=(1, 2, 3))
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
    """Print `train=9537 test=3783 classes=101`, and `missing=12` where there is a root."""
    spec = DatasetSpec(
        args.format,
        root=args.root,
        annotations=args.annotations,
        split=args.split,
        separator=args.separator,
        group_pattern=args.group_pattern,
    )
    if args.missing is not None and args.root is None:
        raise InputError("--missing needs --root, the folder that the videos are looked for in")
    counts = count_dataset(spec)
    fields = [f"{key}={counts.get(key, 'absent')}" for key in ("train", "test", "classes")]
    if FORMATS[args.format].needs_annotations and args.root is not None:
        subsets = [subset for subset in ("train", "test") if subset in counts]
        indices = [read_dataset(spec, name=args.format, subset=subset) for subset in subsets]
        missing = [path for index in indices for path in index.missing]
        fields.append(f"missing={len(missing)}")
        if args.missing is not None:
            atomic_write_text(args.missing, "".join(f"{path}\n" for path in missing))
    console.print(" ".join(fields), highlight=False)
    return 0
