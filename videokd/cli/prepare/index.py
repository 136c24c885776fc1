"""`videokd prepare index`: scan the video files of datasets and store the result for trainings."""

import argparse
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.prepare.common import (
    add_dataset_arguments,
    add_worker_arguments,
    check_worker_arguments,
    generate_videos,
    load_datasets,
    printable,
)
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from videokd.curation.examine import VideoReport
    from videokd.engine.stop import StopRequest

HELP = "scan every video once for its frames, rate, size and codec; keep it for trainings"

_NUM_COMMON = 3
_NUM_NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the datasets, --output, --jobs and --deadline."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--output", default="", metavar="DIR", help="where to keep it; default DATA.INDEX_DIR"
    )
    add_worker_arguments(parser, deadline_sec=60.0)


def run(args: argparse.Namespace, console: Console) -> int:
    """Scan new and changed files, write the indexes and print a summary."""
    from videokd.engine.stop import StopRequest

    cfg = _load(args)
    reports = {}
    with StopRequest() as stop:
        generate_videos(cfg, console, stop)
        for name in cfg.DATASETS:
            reports[name] = _index_dataset(cfg, name, args, console, stop)
    show_summary(reports, console)
    console.print(f"index: {cfg.DATA.INDEX_DIR}", highlight=False, soft_wrap=True)
    return 0


def _load(args: argparse.Namespace) -> CfgNode:
    from videokd.config import override_config

    check_worker_arguments(args)
    cfg = load_datasets(args)
    if args.output:
        cfg = override_config(cfg, ["DATA.INDEX_DIR", args.output], source="--output")
    if not cfg.DATA.INDEX_DIR:
        raise InputError("DATA.INDEX_DIR is empty: set it in the config, or give --output DIR")
    return cfg


def _index_dataset(
    cfg: CfgNode, name: str, args: argparse.Namespace, console: Console, stop: "StopRequest"
) -> "dict[str, VideoReport]":
    from videokd.curation.examine import probe
    from videokd.curation.survey import Survey, add_reports
    from videokd.data.lists.build import index_folder, read_lists
    from videokd.data.lists.index_store import save_indexes
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores
    from videokd.utils.io import write_csv

    indexes = read_lists(cfg, name)
    paths = dict.fromkeys(r.path for index in indexes.values() for r in index.records)
    folder = Path(cfg.DATA.INDEX_DIR) / name
    survey = Survey(
        Path(cfg.DATASETS[name].ROOT),
        folder / "videos.jsonl",
        probe,
        method="probe",
        num_workers=args.jobs or num_available_cores(),
        deadline_sec=args.deadline,
    )
    num_done = 0
    with progress_bar(console, f"scan {name}", len(paths)) as bar:

        def note(path: str, report: "VideoReport") -> None:
            nonlocal num_done
            num_done += 1
            bar.update(num_done, "")
            stop.raise_if_set()

        reports = survey.run(paths, note)
    bad = [(path, report.cause) for path, report in reports.items() if report.problem]
    write_csv(folder / "bad_videos.csv", ("path", "cause"), bad)
    scanned = {split: add_reports(index, reports) for split, index in indexes.items()}
    save_indexes(index_folder(cfg, name), scanned)
    return reports


def show_summary(reports: "Mapping[str, Mapping[str, VideoReport]]", console: Console) -> None:
    """Print a table of the datasets, and the reasons of unusable files.

    Args:
        reports: Dataset name -> path -> report.
        console: Output console.
    """
    from rich.markup import escape
    from rich.table import Table

    columns = ("videos", "GiB", "hours", "frames", "fps", "size", "codec", "cannot be used")
    table = Table("", *columns)
    for name, own in reports.items():
        table.add_row(name, *map(escape, _describe(list(own.values()))))
    console.print(table)
    for name, own in reports.items():
        for line in _describe_problems(own):
            console.print(f"{name}: {line}", highlight=False, markup=False, soft_wrap=True)


def _describe(reports: "list[VideoReport]") -> list[str]:
    good = [report for report in reports if report.num_frames]
    frames = [report.num_frames for report in good]
    return [
        f"{len(reports)}",
        f"{sum(report.num_bytes for report in reports) / 2**30:.2f}",
        f"{sum(report.duration_sec for report in good) / 3600:.2f}",
        f"{min(frames)} / {median(frames):g} / {max(frames)}" if frames else "-",
        _describe_common(f"{report.fps:.5g}" for report in good),
        _describe_common(f"{report.width}x{report.height}" for report in good),
        _describe_common(f"{report.container}/{report.codec}" for report in good),
        f"{len(reports) - len(good)}",
    ]


def _describe_common(values: Iterable[Hashable]) -> str:
    counts = Counter(values)
    common = [f"{value} ({count})" for value, count in counts.most_common(_NUM_COMMON)]
    rest = len(counts) - len(common)
    return "\n".join([*common, *([f"{rest} others"] if rest else [])]) or "-"


def _describe_problems(reports: "Mapping[str, VideoReport]") -> Iterable[str]:
    num_counted = sum(report.is_counted for report in reports.values())
    if num_counted:
        yield f"the frames of {num_counted} videos had to be counted by decoding"
    bad = [(path, report.cause) for path, report in reports.items() if not report.num_frames]
    causes = Counter(cause for _, cause in bad)
    first = {cause: path for path, cause in reversed(bad)}
    for cause, count in causes.most_common(_NUM_NAMED):
        yield f"{count} cannot be used: {cause} (first: {printable(first[cause])})"
    if len(causes) > _NUM_NAMED:
        yield f"{len(causes) - _NUM_NAMED} other causes"
