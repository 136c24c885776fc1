"""Checkpoints written in the background: the training waits only for a copy of its state."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from torch import Tensor

from videokd.engine.checkpoint import Checkpoint, CheckpointFolder


class CheckpointWriter:
    """Background writer of checkpoints, one at a time, in its own thread.

    As a context manager, it waits for the last write at the end.

    Args:
        folder: Folder of the checkpoints.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait()
        elif not issubclass(kind, KeyboardInterrupt):  # Ctrl-C does not wait
            # The error that ended the training matters more than a failed checkpoint.
            self._join()

    def save(self, checkpoint: Checkpoint, *, best_step: int | None = None) -> None:
        """Copy ``checkpoint`` to host memory and start to write it.

        After this returns, the tensors of ``checkpoint`` may change. A write in progress is waited
        for, so that there is at most one copy.

        Args:
            checkpoint: Checkpoint to write.
            best_step: See ``CheckpointFolder.save``.

        Raises:
            RunError: The previous write failed.
        """
        self.wait()
        own = Checkpoint(
            **{name: _copy_to_host(getattr(checkpoint, name)) for name in vars(checkpoint)}
        )
        # As a daemon thread, it may be killed with an interrupted training in the middle of a
        # write. Only an unfinished folder is left, which the next checkpoint deletes.
        self._thread = threading.Thread(
            target=self._write, args=(own, best_step), name="checkpoint writer", daemon=True
        )
        self._thread.start()

    def raise_if_failed(self) -> None:
        """Raise the RunError of a failed write, without waiting; call it at every step."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until the current write is finished.

        Raises:
            RunError: The write failed.
        """
        self._join()
        self.raise_if_failed()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, checkpoint: Checkpoint, best_step: int | None) -> None:
        try:
            self._folder.save(checkpoint, best_step=best_step)
        except BaseException as error:  # re-raised in the training's thread
            self._error = error


def _copy_to_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copy_to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy_to_host(item) for item in value)
    return value
