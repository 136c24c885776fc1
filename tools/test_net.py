"""``videokd test``, for a checkout."""

from videokd.cli.common import run_tool
from videokd.cli.test import main

if __name__ == "__main__":
    run_tool(main)
