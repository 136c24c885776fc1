"""Commands of tools/prepare_data.py, one module each.

A module has HELP, `add_arguments(parser)` and `run(args, console) -> exit code`. Heavy imports
belong inside `run`, so that --help is fast and the processes that decode videos stay small.
"""

from videokd.pipeline.data_commands import (
    check,
    convert,
    count,
    demo,
    index,
    preview,
    resize,
)

COMMANDS = {
    "demo": demo,
    "count": count,
    "index": index,
    "check": check,
    "resize": resize,
    "convert": convert,
    "preview": preview,
}

__all__ = ["COMMANDS"]
