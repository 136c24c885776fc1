"""The commands of tools/prepare_data.py, one module each.

A module has HELP, `add_arguments(parser)` and `run(args, console) -> exit code`. Heavy imports
belong inside `run`: --help answers at once, and the processes that decode videos stay small.
"""

from videokd.pipeline.data_commands import (
    check,
    count,
    demo,
    index,
)

COMMANDS = {
    "demo": demo,
    "count": count,
    "index": index,
    "check": check,
}

__all__ = ["COMMANDS"]
