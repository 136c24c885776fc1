"""Interface between the training loop and the output of a task.

The loop calls ``task(batch, progress)`` with a ClipBatch on the task's device and the share of the
training that is done, step / num_steps in [0, 1).
"""

from typing import Protocol

from torch import Tensor


class StepOutput(Protocol):
    """Output of a task for one batch of B clips."""

    @property
    def loss(self) -> Tensor:
        """Scalar float32 loss to minimise."""

    @property
    def correct(self) -> Tensor:
        """(B,) bool: True where the model's top-1 class is the label."""

    @property
    def terms(self) -> dict[str, Tensor]:
        """Term name -> detached scalar, unweighted, for the log."""

    @property
    def counts(self) -> dict[str, Tensor]:
        """Term name -> scalar, number of clips that the term averages; B for missing terms."""
