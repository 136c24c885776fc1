"""Selection of a command's datasets: all of a config, or one described by arguments."""

import argparse

from fvcore.common.config import CfgNode

from videokd.cli.common import load_config_of, path_argument
from videokd.utils.errors import InputError


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
    from videokd.config import override_config
    from videokd.config.defaults import TEMPLATES, default_config

    if bool(args.config_file) == bool(args.root):
        raise InputError("say which videos: either --config-file FILE or --root DIR")
    if args.config_file:
        return load_config_of(args)
    cfg = default_config()
    # A config needs a network for each dataset.
    for section in ("DATASETS", "EXPERTS", "STUDENTS"):
        cfg[section][args.name] = TEMPLATES[section]()
    node = cfg.DATASETS[args.name]
    node.FORMAT, node.ROOT, node.SPLIT = args.format, str(args.root), args.split_number
    node.ANNOTATIONS = str(args.annotations or "")
    return override_config(cfg, [*args.overrides, *args.opts], source="the command line")
