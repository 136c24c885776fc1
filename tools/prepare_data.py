"""``videokd prepare``, for a checkout."""

from videokd.cli.common import run_tool
from videokd.cli.prepare.prepare import main

if __name__ == "__main__":
    run_tool(main)
