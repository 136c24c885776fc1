"""Receivers of the lines of ``metrics.jsonl``: the terminal log, TensorBoard and Weights & Biases.

The packages of the last two are optional. All their values are in ``metrics.jsonl`` too.
"""

import importlib
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from videokd.engine.meters import MEASURED
from videokd.utils.errors import InputError, how_to_install
from videokd.utils.io import atomic_write_text

logger = logging.getLogger(__name__)

LOGGERS = ("tensorboard", "wandb")
VAL_TOP1 = "val_top1_"
"""Prefix of the fields of an evaluation; the name of a dataset follows."""


class MetricsReceiver(Protocol):
    """Receiver of the lines of one training's log."""

    def begin(self, start_step: int) -> None:
        """Drop lines after ``start_step``; called before ``write``."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line, which holds ``step``; other values are left out."""

    def close(self) -> None:
        """Close files and connections."""


class ValidationLines:
    """One log line per evaluation: the top-1 accuracy on the validation split of each dataset.

    Args:
        title: Name of the training.
    """

    def __init__(self, title: str) -> None:
        self._title = title

    def begin(self, start_step: int) -> None:
        """Do nothing: earlier lines of the log are kept."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Log the line if it is the line of an evaluation."""
        scores = {k.removeprefix(VAL_TOP1): v for k, v in values.items() if k.startswith(VAL_TOP1)}
        if scores:
            text = ", ".join(f"{name} {value:.1f} %" for name, value in scores.items())
            logger.info("%s: step %d: val top-1 %s", self._title, values["step"], text)

    def close(self) -> None:
        """Do nothing."""


def check_loggers(names: Sequence[str]) -> None:
    """Check that the loggers' packages are installed, before a long training starts.

    Raises:
        InputError: A logger's package is not installed.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"TRAIN.LOGGERS {name} cannot be used ({error}); {how_to_install(name)}, or take "
                f"{name} out of TRAIN.LOGGERS"
            ) from error


def make_loggers(names: Sequence[str], folder: Path, title: str) -> tuple[MetricsReceiver, ...]:
    """Build the additional loggers of one training.

    Args:
        names: Names from ``LOGGERS``.
        folder: Folder of the training, where both loggers keep their files.
        title: Name of the run in Weights & Biases; TensorBoard uses the name of the folder.

    Raises:
        InputError: A logger's package is not installed.
    """
    check_loggers(names)
    made: dict[str, MetricsReceiver] = {
        "tensorboard": TensorBoardLogger(folder),
        "wandb": WandbLogger(folder, title),
    }
    return tuple(made[name] for name in names)


def group_of(name: str) -> str:
    """Return the group of a field in the loggers: speed, val or train."""
    if name in MEASURED:
        return "speed"
    return "val" if name.startswith("val_") else "train"


class TensorBoardLogger:
    """TensorBoard log with one event file per start of the training, all in its folder.

    TensorBoard shows the files as one run, without the steps that a resumed training repeats. Each
    line is in the file when ``write`` returns, before a checkpoint covers its step.

    Args:
        folder: Folder of the training.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def begin(self, start_step: int) -> None:
        """Start a new file, which hides the steps after ``start_step`` of earlier files."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        self._writer = SummaryWriter(str(self._folder), purge_step=start_step + 1)

    def write(self, values: Mapping[str, Any]) -> None:
        """Append the numbers of a line, tagged by group."""
        for name, number in _numbers(values).items():
            self._writer.add_scalar(f"{group_of(name)}/{name}", number, values["step"])
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandbLogger:
    """One run of Weights & Biases per training, also over restarts.

    wandb's own environment variables set the project (default ``videokd``), offline mode and other
    options. wandb ignores repeated steps, because it has them already.

    Args:
        folder: Folder of the training; it also stores the id of the run.
        title: Name of the run. Its group is the folder above the folders that the title names.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._run: Any = None

    def begin(self, start_step: int) -> None:
        """Start the run, or resume it."""
        import wandb

        if self._run is not None:
            return
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "videokd"),
            group=self._folder.resolve().parents[self._title.count("/")].name,
            name=self._title,
            dir=str(self._folder),
            id=self._id(),
            resume="allow",
        )

    def write(self, values: Mapping[str, Any]) -> None:
        """Log the numbers of a line at its step, tagged by group."""
        numbers = {f"{group_of(name)}/{name}": x for name, x in _numbers(values).items()}
        self._run.log(numbers, step=values["step"])

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _id(self) -> str:
        path = self._folder / "wandb_id.txt"
        if not path.exists():
            atomic_write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding="utf-8")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {n: x for n, x in values.items() if isinstance(x, int | float)}
    return {name: float(value) for name, value in numbers.items() if name != "step"}
