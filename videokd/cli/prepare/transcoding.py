"""Common part of `resize` and `convert`: re-encoding of a folder of videos into a new folder."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from videokd.cli.common import path_argument
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from videokd.curation.encode_spec import EncodeSpec
    from videokd.curation.transcode_tree import Written


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --input, --output, --crf, --gop, --jobs and --deadline."""
    parser.add_argument(
        "--input", required=True, type=path_argument, metavar="DIR", help="of the videos"
    )
    parser.add_argument(
        "--output", required=True, type=path_argument, metavar="DIR", help="same tree, new"
    )
    parser.add_argument("--crf", type=int, default=20, help="quality: 0 best; default 20")
    parser.add_argument(
        "--gop",
        type=int,
        default=12,
        metavar="FRAMES",
        help="most frames between key frames: fewer make random access quicker, files larger",
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 = one per core")
    parser.add_argument(
        "--deadline", type=float, default=1800.0, metavar="SEC", help="longest time for one video"
    )


def transcode_folder(args: argparse.Namespace, spec: "EncodeSpec", console: Console) -> int:
    """Write the videos that are not written yet and list the failed ones; return 1 if any failed.

    Args:
        args: Parsed arguments of ``add_common_arguments``.
        spec: Encoding options.
        console: Console of the progress bar.
    """
    from videokd.curation.transcode_tree import TreeTranscoder
    from videokd.data.lists.formats.finding import describe_other_files
    from videokd.engine.stop import StopRequest, ignore_signals
    from videokd.pipeline.progress import progress_bar
    from videokd.utils.env import num_available_cores

    if args.jobs < 0 or args.deadline <= 0:
        raise InputError(
            f"--jobs must be >= 0 and --deadline > 0, got {args.jobs} and {args.deadline:g}"
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
        worker_init=ignore_signals,
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
    # A file name that is not valid UTF-8 cannot be printed unchanged.
    text = line.encode("utf-8", "backslashreplace").decode("utf-8")
    console.print(text, highlight=False, markup=False, soft_wrap=True)
