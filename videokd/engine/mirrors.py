"""Where the lines of ``metrics.jsonl`` are shown too: the log, TensorBoard, Weights & Biases.

The packages of the last two are optional. None holds anything that ``metrics.jsonl`` does not.
"""

import importlib
import logging
import os
import time
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
"""Prefix of an evaluation's numbers; a dataset's name follows."""


class Mirror(Protocol):
    """Takes the lines of one training's log."""

    def begin(self, start_step: int) -> None:
        """Drop what is known of later steps than ``start_step``; called before ``write``."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Take a line, which holds ``step``; what is no number is left out."""

    def close(self) -> None:
        """Let go of files and connections."""


class ValidationLines:
    """One log line per evaluation: the top-1 on the held-out part of each dataset.

    Args:
        title: Name of the training.
    """

    def __init__(self, title: str) -> None:
        self._title = title

    def begin(self, start_step: int) -> None:
        """Do nothing: lines of the log stay."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Log the line if it is of an evaluation."""
        scores = {k.removeprefix(VAL_TOP1): v for k, v in values.items() if k.startswith(VAL_TOP1)}
        if scores:
            text = ", ".join(f"{name} {value:.1f} %" for name, value in scores.items())
            logger.info("%s: step %d: val top-1 %s", self._title, values["step"], text)

    def close(self) -> None:
        """Do nothing."""


def check_loggers(names: Sequence[str]) -> None:
    """Say before hours are spent that a package is missing.

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


def make_mirrors(names: Sequence[str], folder: Path, title: str) -> tuple[Mirror, ...]:
    """Make the mirrors of one training.

    Args:
        names: Of ``LOGGERS``.
        folder: The training's; both keep their files in it.
        title: What Weights & Biases shows as the run's name. TensorBoard shows the folder's.

    Raises:
        InputError: As ``check_loggers``.
    """
    check_loggers(names)
    made: dict[str, Mirror] = {
        "tensorboard": TensorBoardMirror(folder),
        "wandb": WandbMirror(folder, title),
    }
    return tuple(made[name] for name in names)


def group_of(name: str) -> str:
    """Return the group that a number of the log is shown in: speed, val or train."""
    if name in MEASURED:
        return "speed"
    return "val" if name.startswith("val_") else "train"


class TensorBoardMirror:
    """One event file per start of the training, in its folder; all are one run of TensorBoard.

    The first event of a file tells TensorBoard to forget the steps that the training does again.
    Every line is in the file when ``write`` returns, before a checkpoint says that its step is
    done: torch's own writer would keep it for minutes, and lose it where the process is killed.

    Args:
        folder: The training's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder

    def begin(self, start_step: int) -> None:
        """Begin a file; steps after ``start_step`` of earlier files are not shown any more."""
        # TensorBoard reads the files of a folder in the order of their names.
        number = len(list(self._folder.glob("events.out.tfevents.*")))
        self._path = self._folder / f"events.out.tfevents.{number:010d}.videokd"
        started = {"status": 1}  # tensorflow.SessionLog.START
        self._append({"file_version": "brain.Event:2"})
        self._append({"step": start_step + 1, "session_log": started})

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line's numbers, by their groups."""
        numbers = _numbers(values)
        shown = [{"tag": f"{group_of(n)}/{n}", "simple_value": x} for n, x in numbers.items()]
        self._append({"step": values["step"], "summary": {"value": shown}})

    def close(self) -> None:
        """Nothing is open: lines are rare."""

    def _append(self, fields: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        event = Event(wall_time=time.time(), **fields)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Whole in one call: a process that is killed leaves all of the record or nothing.
        with self._path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


class WandbMirror:
    """One run of Weights & Biases per training, also over restarts.

    Project, offline mode and the like are set by wandb's own environment variables; the project is
    ``videokd`` where none is set. Steps that are done again are ignored by wandb, which has them.

    Args:
        folder: The training's; the run's id is kept in it.
        title: The run's name; its group is the folder above those that the title names.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._run: Any = None

    def begin(self, start_step: int) -> None:
        """Begin the run, or go on with it."""
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
        """Log a line's numbers at its step, by their groups."""
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
