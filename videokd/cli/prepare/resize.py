"""`prepare_data.py resize`: make the videos of a folder smaller and faster to read."""

import argparse

from rich.console import Console

from videokd.cli.prepare.transcoding import add_common_arguments, transcode_folder

HELP = "write videos anew with a short side and key frames close together (H.264, without sound)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders, --short-side and the common encoding options."""
    add_common_arguments(parser)
    parser.add_argument(
        "--short-side",
        type=int,
        default=256,
        metavar="PX",
        help="even; videos that are smaller keep their size",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Resize the videos; the extension changes only if the container cannot hold H.264 (.webm)."""
    from videokd.curation.encode_spec import EncodeSpec

    spec = EncodeSpec(short_side=args.short_side, crf=args.crf, gop_frames=args.gop)
    return transcode_folder(args, spec, console)
