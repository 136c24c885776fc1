"""Config arguments and exit codes shared by the command-line tools.

Exit codes: 0 done; 1 failed; 2 wrong input from the user; 75 stopped by a signal with a checkpoint.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config import load_config
from videokd.engine.stop import EXIT_STOPPED, Stopped
from videokd.utils.errors import InputError, RunError, VideoError
from videokd.utils.lock import lock_folder
from videokd.utils.log import is_first_rank
from videokd.utils.paths import expand_path

# Options of PySlowFast, detectron2 and MMAction2.
_FOREIGN_OPTIONS = {
    ("--resume", "--resume-from", "--auto-resume"): (
        "the same command goes on from the last checkpoint in OUTPUT_DIR"
    ),
    ("--num-gpus", "--num_gpus", "--gpus", "--num_shards", "--num-machines"): (
        "start it with `torchrun --nproc-per-node N tools/train_net.py`, see docs/distributed.md"
    ),
    ("--work-dir",): "write OUTPUT_DIR DIR",
}

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
_EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report it


def run_tool(main: Callable[[Sequence[str]], int]) -> None:
    """Run a tool's ``main`` on the command-line arguments and exit with its return code.

    Expected failures print one line on stderr. A traceback means a defect.
    """
    # torch reads this variable when it is imported, which tools leave to main(). OpenMP threads
    # that spin while they wait make a step ten times slower as soon as another process uses the
    # same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended. Python's own flush must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _EXIT_BROKEN_PIPE
    except InputError as error:
        code = _complain(error, EXIT_WRONG_INPUT)
    except (RunError, VideoError, OSError) as error:
        code = _complain(error, EXIT_FAILED)
    except Stopped:
        if is_first_rank():
            sys.stderr.write("stopped; run the same command again to go on\n")
        code = EXIT_STOPPED
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def path_argument(text: str) -> Path:
    """Return the path of an option with ``~`` expanded; shells do not expand ``--option=~/x``."""
    try:
        return Path(expand_path(text))
    except InputError as error:
        # argparse hides the message of any other exception type.
        raise argparse.ArgumentTypeError(str(error)) from error


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-file`` (or ``--cfg``) and bare or ``--opts`` overrides to a parser."""
    parser.add_argument(
        *("--config-file", "--cfg"),
        required=True,
        type=path_argument,
        metavar="FILE",
        help="YAML config",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="config overrides, also KEY=VALUE",
    )
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="the same as bare overrides"
    )
    for words, answer in _FOREIGN_OPTIONS.items():
        parser.add_argument(
            *words, action=_NotNeeded, nargs="?", const=answer, help=argparse.SUPPRESS
        )


class _NotNeeded(argparse.Action):
    """Option of another training tool that videokd does not need."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Raise InputError with the replacement, which is the option's ``const``."""
        raise InputError(f"{self.option_strings[0]} is no option here: {self.const}")


def load_config_of(args: argparse.Namespace) -> CfgNode:
    """Return the frozen config of arguments parsed with ``add_config_arguments``."""
    return load_config(args.config_file, [*args.overrides, *args.opts])


@contextmanager
def own_run_directory(folder: Path) -> Iterator[None]:
    """Lock OUTPUT_DIR against other trainings while the body runs; reading stays possible.

    In a distributed training the first rank holds the lock for all ranks.

    Raises:
        InputError: Another process is using the directory.
    """
    if not is_first_rank():
        yield
        return
    with lock_folder(folder) as holder:
        if holder is not None:
            raise InputError(
                f"OUTPUT_DIR {folder} is in use by {holder}; wait for it, stop it, or choose "
                "another OUTPUT_DIR"
            )
        yield


def _complain(error: Exception, code: int) -> int:
    where = "" if is_first_rank() else f"rank {os.environ['RANK']}: "
    sys.stderr.write(f"{where}error: {error}\n")
    return code
