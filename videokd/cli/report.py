"""Write the report of a run: one HTML page that needs no network.

    videokd report runs/demo [--output report.html]

The report can be written again at any time, also for an unfinished run.
"""

import argparse
from collections.abc import Sequence

from videokd.cli.common import path_argument


def main(argv: Sequence[str]) -> int:
    """Run the tool and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=path_argument, metavar="RUN", help="run directory")
    parser.add_argument(
        "--output", type=path_argument, metavar="FILE", help="default: RUN/report.html"
    )
    args = parser.parse_args(argv)
    from videokd.report.page import write_report  # imports torch, which --help does without

    print(write_report(args.run, args.output))
    return 0
