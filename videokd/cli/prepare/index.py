"""`prepare_data.py index`: scan the video files of datasets and store the result for trainings."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.prepare.which_datasets import add_dataset_arguments, load_datasets
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from videokd.data.lists.media import MediaTable
    from videokd.engine.stop import StopRequest

HELP = "scan every video once for its frames, rate, size and codec; keep it for trainings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the datasets, --output, --jobs and --deadline."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--output", default="", metavar="DIR", help="where to keep it; default DATA.INDEX_DIR"
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 = one per core")
    parser.add_argument(
        "--deadline", type=float, default=60.0, metavar="SEC", help="longest time for one video"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Scan new and changed files, write the indexes and print a summary."""
    from videokd.cli.prepare.index_summary import show_summary
    from videokd.engine.stop import StopRequest
    from videokd.pipeline.datasets import generate_synthetic

    cfg = _load(args)
    tables = {}
    with StopRequest() as stop:
        if cfg.SYNTHETIC.ROOT:
            node = cfg.SYNTHETIC
            generate_synthetic(node.ROOT, node.PROFILE, console, stop, seed=node.SEED)
        for name in cfg.DATASETS:
            tables[name] = _index_dataset(cfg, name, args, console, stop)
    show_summary(tables, console)
    console.print(f"index: {cfg.DATA.INDEX_DIR}", highlight=False, soft_wrap=True)
    return 0


def _load(args: argparse.Namespace) -> CfgNode:
    from videokd.config import override_config

    if args.jobs < 0 or args.deadline <= 0:
        raise InputError(
            f"--jobs must be >= 0 and --deadline > 0, got {args.jobs} and {args.deadline:g}"
        )
    cfg = load_datasets(args)
    if args.output:
        cfg = override_config(cfg, ["DATA.INDEX_DIR", args.output], source="--output")
    if not cfg.DATA.INDEX_DIR:
        raise InputError("DATA.INDEX_DIR is empty: set it in the config, or give --output DIR")
    return cfg


def _index_dataset(
    cfg: CfgNode, name: str, args: argparse.Namespace, console: Console, stop: "StopRequest"
) -> "MediaTable":
    from videokd.data.lists.build import index_folder, read_lists
    from videokd.data.lists.index_store import add_media, save_indexes
    from videokd.utils.io import write_csv

    indexes = read_lists(cfg, name)
    paths = dict.fromkeys(r.path for index in indexes.values() for r in index.records)
    files = _scan(cfg, name, list(paths), args, console, stop)
    bad = [(info.path, info.cause) for info in files if info.cause]
    write_csv(Path(cfg.DATA.INDEX_DIR) / name / "bad_videos.csv", ("path", "cause"), bad)
    scanned = {part: add_media(index, files) for part, index in indexes.items()}
    save_indexes(index_folder(cfg, name), scanned)
    return files


def _scan(
    cfg: CfgNode,
    name: str,
    paths: list[str],
    args: argparse.Namespace,
    console: Console,
    stop: "StopRequest",
) -> "MediaTable":
    from videokd.curation.scan import update_media
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores

    with progress_bar(console, f"scan {name}", len(paths)) as bar:

        def show(done: int, total: int) -> None:
            bar.update(done, "")
            stop.raise_if_set()

        return update_media(
            Path(cfg.DATA.INDEX_DIR) / name / "media",
            Path(cfg.DATASETS[name].ROOT),
            paths,
            num_processes=args.jobs or num_available_cores(),
            deadline_sec=args.deadline,
            on_progress=show,
        )
