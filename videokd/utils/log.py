"""Logging set-up: short lines on the terminal, everything in ``run.log``."""

import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler


def setup_logging(console: Console, log_file: Path | None = None) -> None:
    """Send the package's log to ``console`` and, when given, to ``log_file`` (appended).

    Args:
        console: The console that also draws the progress bars, so that lines do not break them.
        log_file: Usually ``OUTPUT_DIR/run.log``.
    """
    logger = logging.getLogger("videokd")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RichHandler(console=console, show_path=False, markup=False))
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


class _LogFile(logging.FileHandler):
    """Loses a line rather than the terminal's order when the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Leave out what cannot be written: the terminal has it, and what matters raises."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
