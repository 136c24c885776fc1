"""Logging set-up: short lines on the terminal, all lines in ``run.log``.

Lines of level DEBUG go only to the file.
"""

import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.logging import RichHandler


def setup_logging(console: Console, log_file: Path | None = None) -> None:
    """Send the package's log to ``console`` and, if given, to ``log_file`` (appended).

    Args:
        console: The console that also draws the progress bars, so that lines do not break them.
        log_file: Usually ``OUTPUT_DIR/run.log``.
    """
    logger = logging.getLogger("videokd")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(RichHandler(logging.INFO, console=console, show_path=False, markup=False))
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def show(console: Console, content: RenderableType, *, logger: logging.Logger) -> None:
    """Print text or a table on the terminal, and write it to the log file."""
    console.print(content, soft_wrap=isinstance(content, str))
    # Fixed width and no colours: the terminal may be narrow or silent.
    text = io.StringIO()
    plain = Console(file=text, width=120, color_system=None)
    plain.print(content, soft_wrap=isinstance(content, str))
    logger.debug("%s%s", "" if isinstance(content, str) else "\n", text.getvalue().rstrip())


@contextmanager
def log_duration(title: str, *, logger: logging.Logger) -> Iterator[None]:
    """Log start and end of the body to the log file, with its duration and any error."""
    logger.debug("%s: started", title)
    start = time.monotonic()
    try:
        yield
    except BaseException as error:
        name, text = type(error).__name__, str(error)
        cause = f"{name}: {text}" if text else name
        logger.debug("%s: ended after %.1f s: %s", title, time.monotonic() - start, cause)
        raise
    logger.debug("%s: finished in %.1f s", title, time.monotonic() - start)


class _LogFile(logging.FileHandler):
    """File handler that drops lines on an OSError, such as a full disk, without a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Ignore an OSError: the line is on the terminal, and other writes to the disk raise."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def is_first_rank() -> bool:
    """Return whether this process has rank 0, the rank that writes files."""
    return os.environ.get("RANK", "0") == "0"


def make_console() -> Console:
    """Return a tool's console, 120 columns wide when the output is not a terminal.

    In a distributed run only the first rank prints.
    """
    if not is_first_rank():
        return Console(quiet=True)
    console = Console()
    return console if console.is_terminal else Console(width=120)
