"""`videokd prepare convert`: write videos anew: smaller, faster to read, in another container."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from videokd.cli.common import path_argument
from videokd.cli.prepare.common import (
    add_worker_arguments,
    check_worker_arguments,
    printable,
)

if TYPE_CHECKING:
    from videokd.curation.transcode_tree import Written


HELP = "write videos anew: short side, key frames, container, codec, frame rate (without sound)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders and the encoding options."""
    parser.add_argument(
        "--input", required=True, type=path_argument, metavar="DIR", help="of the videos"
    )
    parser.add_argument(
        "--output", required=True, type=path_argument, metavar="DIR", help="same tree, new"
    )
    parser.add_argument(
        "--short-side",
        type=int,
        default=0,
        metavar="PX",
        help="even; smaller videos keep their size; default 0 keeps all sizes",
    )
    parser.add_argument(
        "--to",
        choices=("keep", "mp4", "mkv", "webm", "mov", "avi"),
        default="keep",
        help="container; keep: that of the video where it can hold the codec",
    )
    parser.add_argument("--codec", choices=("h264", "vp9"), default="h264")
    parser.add_argument(
        "--fps",
        type=float,
        default=0.0,
        help="frames per second; 0 keeps all frames and their times",
    )
    parser.add_argument("--crf", type=int, default=20, help="quality: 0 best; default 20")
    parser.add_argument(
        "--gop",
        type=int,
        default=12,
        metavar="FRAMES",
        help="most frames between key frames: fewer make random access quicker, files larger",
    )
    add_worker_arguments(parser, deadline_sec=1800.0)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the videos that are not written yet and list the failed ones; return 1 if any failed.

    Odd heights and widths lose their last line.
    """
    from videokd.curation.encode_spec import EncodeSpec
    from videokd.curation.transcode_tree import TreeTranscoder
    from videokd.data.lists.formats.finding import describe_other_files
    from videokd.engine.stop import StopRequest
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores

    check_worker_arguments(args)
    spec = EncodeSpec(
        codec=args.codec,
        extension="" if args.to == "keep" else f".{args.to}",
        short_side=args.short_side,
        fps=args.fps,
        crf=args.crf,
        gop_frames=args.gop,
    )
    tree = TreeTranscoder(args.input, args.output, spec)
    pending = tree.pending()
    num_known = len(tree.paths) - len(pending)
    if num_known:
        console.print(f"{num_known} of {len(tree.paths)} videos are written already")
    results = tree.run(
        pending,
        num_workers=args.jobs or num_available_cores(),
        deadline_sec=args.deadline,
    )
    written: list[Written] = []
    num_failed = 0
    with (
        StopRequest() as stop,
        progress_bar(console, "write videos", len(tree.paths)) as bar,
        closing(results),
    ):
        for result in results:
            written.append(result)
            num_failed += bool(result.cause)
            bar.update(num_known + len(written), f"{num_failed} failed")
            stop.raise_if_set()
    _report(args.output, written, tree.renamed, console)
    if tree.others:
        _show_line(console, f"files left out: {describe_other_files(tree.others)}")
    if tree.links:
        _show_line(console, f"links left out: {len(tree.links)}, e.g. {tree.links[0]}")
    return 1 if num_failed else 0


def _report(
    folder: Path,
    written: "list[Written]",
    renamed: list[tuple[str, str]],
    console: Console,
) -> None:
    from videokd.utils.io import write_csv

    failed = [(one.path, one.cause) for one in written if one.cause]
    old_mib = sum(one.num_old_bytes for one in written) / 2**20
    new_mib = sum(one.num_new_bytes for one in written) / 2**20
    num_written = len(written) - len(failed)
    lines = [f"{num_written} videos written, {old_mib:.1f} -> {new_mib:.1f} MiB"]
    write_csv(folder / "bad_videos.csv", ("path", "cause"), failed)
    if failed:
        lines.append(f"{len(failed)} videos cannot be written: {folder / 'bad_videos.csv'}")
    if renamed:
        write_csv(folder / "renamed.csv", ("old", "new"), renamed)
        lines.append(
            f"{len(renamed)} videos have another extension, like {renamed[0][0]} -> "
            f"{renamed[0][1]}: lists that name files must be changed, see {folder / 'renamed.csv'}"
        )
    for line in lines:
        _show_line(console, line)


def _show_line(console: Console, line: str) -> None:
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
