"""`prepare_data.py check`: decode every frame of the datasets and report problems."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.common import path_argument
from videokd.cli.prepare.which_datasets import add_dataset_arguments, load_datasets
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from videokd.curation.doctor import CheckedPart, VideoPath, VideoReport
    from videokd.data.lists.index import VideoIndex
    from videokd.engine.stop import StopRequest

HELP = "read every frame of every video; report what is unusable, twice there, or leaks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the datasets, --output, --jobs and --deadline."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--output", required=True, type=path_argument, metavar="DIR", help="of the report"
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 = one per core")
    parser.add_argument(
        "--deadline", type=float, default=300.0, metavar="SEC", help="longest time for one video"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Check the videos, write the report and print its path; return 1 if a problem was found."""
    from videokd.curation.doctor import CheckResult, find_all, summarise, write_report
    from videokd.data.lists.build import read_lists
    from videokd.engine.stop import StopRequest
    from videokd.pipeline.datasets import generate_synthetic

    if args.jobs < 0 or args.deadline <= 0:
        raise InputError(
            f"--jobs must be >= 0 and --deadline > 0, got {args.jobs} and {args.deadline:g}"
        )
    cfg = load_datasets(args)
    with StopRequest() as stop:
        if cfg.SYNTHETIC.ROOT:
            node = cfg.SYNTHETIC
            generate_synthetic(node.ROOT, node.PROFILE, console, stop, seed=node.SEED)
        indexes = {(d, p): i for d in cfg.DATASETS for p, i in read_lists(cfg, d).items()}
        reports = _survey(args, cfg.DATA.DECODER, indexes, console, stop)
        parts = _put_together(cfg, indexes, reports)
        # Clip lengths and sizes are known only with a config.
        needs = _find_needs(cfg) if args.config_file else {}
        result = CheckResult(parts, tuple(find_all(parts, **needs)))
        write_report(args.output, result)
    console.print(summarise(result), highlight=False, soft_wrap=True)
    console.print(f"report: {args.output / 'report.md'}", highlight=False, soft_wrap=True)
    return 0 if result.is_ok else 1


def _find_needs(cfg: CfgNode) -> dict[str, int]:
    """Return the requirements of the longest clip: frames of a video, and px of its short side."""
    from videokd.data.build import build_clip_spec

    networks = [*cfg.EXPERTS.values(), *cfg.STUDENTS.values()]
    return {
        "num_clip_frames": max(
            build_clip_spec(cfg, node).sampling.num_window_frames for node in networks
        ),
        "short_side": cfg.DATA.SHORT_SIDE,
    }


def _survey(
    args: argparse.Namespace,
    decoder: str,
    indexes: "Mapping[tuple[str, str], VideoIndex]",
    console: Console,
    stop: "StopRequest",
) -> "dict[VideoPath, VideoReport]":
    """Examine the videos that have no report in the output folder yet."""
    from videokd.curation.doctor import Examine, Survey, VideoPath, VideoReport
    from videokd.engine.stop import ignore_signals
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores

    args.output.mkdir(parents=True, exist_ok=True)
    survey = Survey(
        Examine(decoder),
        args.output / "videos.jsonl",
        method=decoder,
        num_workers=args.jobs or num_available_cores(),
        deadline_sec=args.deadline,
        worker_init=ignore_signals,
    )
    # One file may be in several lists.
    videos = dict.fromkeys(video for index in indexes.values() for video in _list_files(index))
    reports = survey.recall(videos)
    if reports:
        console.print(f"{len(reports)} of {len(videos)} videos are known from an earlier check")
    num_bad = sum(bool(report.problem) for report in reports.values())

    with progress_bar(console, "check videos", len(videos)) as bar:

        def note(video: VideoPath, report: VideoReport) -> None:
            nonlocal num_bad
            reports[video] = report
            num_bad += bool(report.problem)
            bar.update(len(reports), f"{num_bad} bad")
            stop.raise_if_set()

        survey.run([video for video in videos if video not in reports], note)
    return reports


def _put_together(
    cfg: CfgNode,
    indexes: "Mapping[tuple[str, str], VideoIndex]",
    reports: "Mapping[VideoPath, VideoReport]",
) -> "tuple[CheckedPart, ...]":
    from videokd.curation.doctor import CheckedPart

    return tuple(
        CheckedPart(
            dataset,
            part,
            cfg.DATASETS[dataset].FORMAT,
            cfg.DATASETS[dataset].SPLIT,
            index,
            tuple(reports[video] for video in _list_files(index)),
        )
        for (dataset, part), index in indexes.items()
    )


def _list_files(index: "VideoIndex") -> "list[VideoPath]":
    from videokd.curation.doctor import VideoPath

    # The working directory of a worker may differ from that of this process.
    root = str(index.root.absolute())
    return [VideoPath(root, record.path) for record in index.records]
