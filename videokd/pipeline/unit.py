"""One training of an experiment: what is trained on what, from what, and where it is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from videokd.data.cutting import ClipSet
from videokd.utils.io import sha256_json


@dataclass(frozen=True)
class Unit:
    """One training: a model, its task, and the folder that keeps it."""

    key: str
    """Row of the result table: experts, joint, students, B1 ... B7; or B5_teachers."""
    stage: str
    """One of ``videokd.pipeline.cli.STAGES``."""
    folder: str
    """Relative to the run directory, like "experts/UCF"."""
    trained_on: tuple[str, ...]
    """Datasets, in the order of the batches' ``dataset_ids``."""
    tested_on: tuple[str, ...]
    clips: ClipSet
    """What is cut of each moment for its model."""
    num_epochs: int
    num_steps_per_epoch: int
    base_lr: float
    inputs: dict[str, Any] = field(repr=False)
    """Everything that its weights depend on, as plain JSON values."""
    make_model: Callable[[], nn.Module] = field(repr=False)
    """The model with random weights."""
    make_task: Callable[[Any], nn.Module] = field(repr=False)
    """model -> task."""
    needs: tuple["Unit", ...] = field(default=(), repr=False)
    """What must be trained before."""
    task_clips: ClipSet | None = None
    """What is cut of each moment for its training; None for ``clips``, where nobody teaches."""
    load_initial: Callable[[Any], None] | None = field(default=None, repr=False)
    """Loads into that model what its training begins from; None for random weights.

    Apart from making it: a trained model is made too, and nothing should be downloaded for that."""
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    """Prefix of the task's parameter names -> factor on their learning rate."""

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.num_epochs * self.num_steps_per_epoch

    @property
    def fingerprint(self) -> str:
        """Hash of ``inputs``."""
        return sha256_json(self.inputs)
