"""Arguments shared by the commands: selection of the datasets, number and deadline of workers."""

import argparse
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.common import load_config_of, path_argument
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from videokd.engine.stop import StopRequest


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config-file, --root, --format, --annotations, --split-number, --name and overrides."""
    what = parser.add_argument_group("the videos: those of a config, or one dataset")
    what.add_argument(
        *("--config-file", "--cfg"), type=path_argument, metavar="FILE", help="YAML config"
    )
    what.add_argument("--root", type=path_argument, metavar="DIR", help="folder of the videos")
    what.add_argument("--format", default="folder", help="as DATASETS.<NAME>.FORMAT")
    what.add_argument(
        "--annotations", type=path_argument, metavar="DIR", help="folder of the lists"
    )
    what.add_argument(
        "--split-number", type=int, default=1, help="as DATASETS.<NAME>.SPLIT: 1, 2 or 3"
    )
    what.add_argument("--name", default="VIDEOS", help="what configs call it")
    what.add_argument("overrides", nargs="*", default=[], metavar="KEY VALUE")
    what.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE")


def load_datasets(args: argparse.Namespace) -> CfgNode:
    """Return the frozen config of arguments parsed with ``add_dataset_arguments``.

    Raises:
        InputError: The arguments have both a config and a folder, or neither.
    """
    from videokd.config import default_config, named_node, override_config

    if bool(args.config_file) == bool(args.root):
        raise InputError("say which videos: either --config-file FILE or --root DIR")
    if args.config_file:
        return load_config_of(args)
    cfg = default_config()
    # A config needs a network for each dataset.
    for section in ("DATASETS", "EXPERTS", "STUDENTS"):
        cfg[section][args.name] = named_node(section)
    node = cfg.DATASETS[args.name]
    node.FORMAT, node.ROOT, node.SPLIT = args.format, str(args.root), args.split_number
    node.ANNOTATIONS = str(args.annotations or "")
    return override_config(cfg, [*args.overrides, *args.opts], source="the command line")


def generate_videos(cfg: CfgNode, console: Console, stop: "StopRequest") -> None:
    """Generate the embedded datasets of a config, if it uses them."""
    from videokd.pipeline.datasets import generate_synthetic

    node = cfg.SYNTHETIC
    if node.ROOT:
        generate_synthetic(node.ROOT, node.PROFILE, console, stop, seed=node.SEED)


def add_worker_arguments(parser: argparse.ArgumentParser, *, deadline_sec: float) -> None:
    """Add --jobs and --deadline."""
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 = one per core")
    parser.add_argument(
        "--deadline",
        type=float,
        default=deadline_sec,
        metavar="SEC",
        help="longest time for one video",
    )


def check_worker_arguments(args: argparse.Namespace) -> None:
    """Raise InputError if --jobs or --deadline is out of range."""
    if args.jobs < 0 or args.deadline <= 0:
        raise InputError(
            f"--jobs must be >= 0 and --deadline > 0, got {args.jobs} and {args.deadline:g}"
        )


def printable(text: str) -> str:
    """Return a text that can be printed, even if it names a file that is not valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
