"""Checkpoints written in the background: the training waits for a copy of its state, no longer."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from torch import Tensor

from videokd.engine.checkpoint import Checkpoint, CheckpointFolder


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread of its own.

    Use as a context manager: at its end the last write is waited for.

    Args:
        folder: Where they are written.
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
        elif not issubclass(kind, KeyboardInterrupt):  # which asks not to wait
            # What ended the training matters more than a checkpoint that failed too.
            self._join()

    def save(self, checkpoint: Checkpoint, *, best_step: int | None = None) -> None:
        """Copy ``checkpoint`` to the host's memory and begin to write it.

        When this returns, what the checkpoint was made of may change. The write before is waited
        for: there is one copy at most.

        Args:
            checkpoint: What to write.
            best_step: See ``CheckpointFolder.save``.

        Raises:
            RunError: The write before failed.
        """
        self.wait()
        own = Checkpoint(
            **{name: _copy_to_host(getattr(checkpoint, name)) for name in vars(checkpoint)}
        )
        # A daemon: an interrupted training may end in the middle of a write, which leaves nothing
        # but a folder that the next checkpoint deletes.
        self._thread = threading.Thread(
            target=self._write, args=(own, best_step), name="checkpoint writer", daemon=True
        )
        self._thread.start()

    def raise_if_failed(self) -> None:
        """Raise the RunError of a write that failed. Does not wait: call it at every step."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            RunError: It could not be written.
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
        except BaseException as error:  # kept for the training's own thread
            self._error = error


def _copy_to_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copy_to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy_to_host(item) for item in value)
    return value
