"""``videokd report``, for a checkout."""

from videokd.cli.common import run_tool
from videokd.cli.report import main

if __name__ == "__main__":
    run_tool(main)
