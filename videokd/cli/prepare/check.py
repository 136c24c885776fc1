"""`videokd prepare check`: decode every frame of the datasets and report problems."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.common import path_argument
from videokd.cli.prepare.common import (
    add_dataset_arguments,
    add_worker_arguments,
    check_worker_arguments,
    generate_videos,
    load_datasets,
)

if TYPE_CHECKING:
    from videokd.curation.examine import VideoReport
    from videokd.curation.findings import CheckedSplit
    from videokd.data.lists.index import VideoIndex
    from videokd.engine.stop import StopRequest

HELP = "read every frame of every video; report what is unusable, twice there, or leaks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the datasets, --output, --jobs and --deadline."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--output", required=True, type=path_argument, metavar="DIR", help="of the report"
    )
    add_worker_arguments(parser, deadline_sec=300.0)


def run(args: argparse.Namespace, console: Console) -> int:
    """Check the videos, write the report and print its path; return 1 if a problem was found."""
    from videokd.curation.findings import find_all
    from videokd.curation.report import CheckResult, summarise, write_report
    from videokd.data.lists.build import read_lists
    from videokd.engine.stop import StopRequest

    check_worker_arguments(args)
    cfg = load_datasets(args)
    with StopRequest() as stop:
        generate_videos(cfg, console, stop)
        indexes = {(d, s): i for d in cfg.DATASETS for s, i in read_lists(cfg, d).items()}
        reports = _survey(args, cfg.DATA.DECODER, indexes, console, stop)
        splits = _put_together(cfg, indexes, reports)
        # Clip lengths and sizes are known only with a config.
        needs = _find_needs(cfg) if args.config_file else {}
        result = CheckResult(splits, tuple(find_all(splits, **needs)))
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
) -> "dict[Path, dict[str, VideoReport]]":
    """Examine the videos that have no report in the output folder yet; root -> path -> report."""
    from videokd.curation.examine import Decode
    from videokd.curation.survey import Survey
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores

    # One file may be in several lists, and several datasets may have one root.
    videos: dict[Path, dict[str, None]] = {}
    journals: dict[Path, Path] = {}
    for (dataset, _), index in indexes.items():
        videos.setdefault(index.root, {}).update(dict.fromkeys(r.path for r in index.records))
        journals.setdefault(index.root, args.output / "videos" / f"{dataset}.jsonl")
    num_done = num_bad = 0
    reports = {}
    with progress_bar(console, "check videos", sum(map(len, videos.values()))) as bar:

        def note(path: str, report: "VideoReport") -> None:
            nonlocal num_done, num_bad
            num_done += 1
            num_bad += bool(report.problem)
            bar.update(num_done, f"{num_bad} bad")
            stop.raise_if_set()

        for root, paths in videos.items():
            survey = Survey(
                root,
                journals[root],
                Decode(decoder),
                method=f"decode {decoder}",
                num_workers=args.jobs or num_available_cores(),
                deadline_sec=args.deadline,
            )
            reports[root] = survey.run(paths, note)
    return reports


def _put_together(
    cfg: CfgNode,
    indexes: "Mapping[tuple[str, str], VideoIndex]",
    reports: "Mapping[Path, Mapping[str, VideoReport]]",
) -> "tuple[CheckedSplit, ...]":
    from videokd.curation.findings import CheckedSplit

    return tuple(
        CheckedSplit(
            dataset,
            split,
            cfg.DATASETS[dataset].FORMAT,
            cfg.DATASETS[dataset].SPLIT,
            index,
            tuple(reports[index.root][record.path] for record in index.records),
        )
        for (dataset, split), index in indexes.items()
    )
