"""Predict the classes of video files with an exported student.

    videokd predict --model runs/demo/export/UCF VIDEO [VIDEO ...]

A video that cannot be read is reported on stderr with the cause; the other videos are predicted.

Exit codes: 0 all videos predicted; 1 some videos failed; 2 wrong input (for example, no such
model).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from videokd.cli.common import EXIT_FAILED, path_argument
from videokd.utils.errors import VideoError

if TYPE_CHECKING:
    from videokd.export import Prediction


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=path_argument, required=True, help="folder with model.json")
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="put -- before paths that start with -"
    )
    parser.add_argument("--top-k", type=_positive, default=5, help="classes to show (5)")
    parser.add_argument(
        "--num-clips", type=_positive, default=0, help="along time (as in the test)"
    )
    parser.add_argument("--runtime", choices=("torch", "onnx"), default="torch")
    parser.add_argument("--json", action="store_true", help="one JSON object per line and video")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run the tool and return its exit code."""
    args = parse_args(argv)
    # Imported late: torch reads its thread settings at import, and --help stays fast.
    from videokd.export import Predictor

    predictor = Predictor(args.model, runtime=args.runtime, num_clips=args.num_clips)
    num_failed = 0
    for video in args.videos:
        try:
            prediction = predictor.predict(video, top_k=args.top_k)
        except VideoError as error:
            print(f"{error.path}: error: {error.cause}", file=sys.stderr, flush=True)
            num_failed += 1
        else:
            text = json.dumps(asdict(prediction)) if args.json else format_prediction(prediction)
            print(text, flush=True)
    return EXIT_FAILED if num_failed else 0


def format_prediction(prediction: "Prediction") -> str:
    """Return a line with the path, then one line per class with its probability in percent."""
    # A file name may not be valid text; invalid bytes are replaced.
    lines = [prediction.path.encode(errors="surrogateescape").decode(errors="replace")]
    for label, prob in zip(prediction.labels, prediction.probs, strict=True):
        lines.append(f"  {100 * prob:5.1f} %  {label}")
    return "\n".join(lines)


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be > 0, got {value}")
    return value
