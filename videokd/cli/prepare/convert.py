"""`prepare_data.py convert`: convert videos to another container, codec or frame rate."""

import argparse

from rich.console import Console

from videokd.cli.prepare.transcoding import add_common_arguments, transcode_folder

HELP = "write videos anew in another container, codec or frame rate (without sound)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders, --to, --codec, --fps and the common encoding options."""
    add_common_arguments(parser)
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


def run(args: argparse.Namespace, console: Console) -> int:
    """Convert the videos; odd heights and widths lose their last line, other sizes stay."""
    from videokd.curation.encode_spec import EncodeSpec

    spec = EncodeSpec(
        codec=args.codec,
        extension="" if args.to == "keep" else f".{args.to}",
        fps=args.fps,
        crf=args.crf,
        gop_frames=args.gop,
    )
    return transcode_folder(args, spec, console)
