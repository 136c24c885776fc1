"""The ``videokd`` command: ``videokd train|test|predict|export|prepare|study|report|models``."""

import importlib
import sys
from collections.abc import Sequence

from videokd.cli.common import run_tool
from videokd.utils.errors import InputError

# Name -> (module, one-line help). A module is imported when its command is called.
COMMANDS = {
    "train": ("videokd.cli.train", "train, test, export and report an experiment"),
    "test": ("videokd.cli.test", "evaluate one trained model"),
    "predict": ("videokd.cli.predict", "classify video files with an exported student"),
    "export": ("videokd.cli.export", "export a trained student"),
    "prepare": ("videokd.cli.prepare.prepare", "generate, index, check or convert datasets"),
    "study": ("videokd.cli.study", "compare variants of a config over several seeds"),
    "report": ("videokd.cli.report", "write the HTML report of a run"),
    "models": ("videokd.cli.models", "list the architectures"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named by the first argument with the other arguments.

    Raises:
        InputError: There is no such command.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise InputError(f"command must be one of {', '.join(COMMANDS)}, got {name!r}")
    module = importlib.import_module(COMMANDS[name][0])
    # argparse shows this as the program's name, and training.json records it.
    sys.argv[:2] = [f"videokd {name}"]
    code: int = module.main(rest)
    return code


def run() -> None:
    """Entry point of the console script."""
    run_tool(main)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: videokd COMMAND ...", "", *lines, "", "videokd COMMAND --help\n"])
