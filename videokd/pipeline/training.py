"""One training: its model, task, data and inputs, and the folder of its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.engine.training_file import read_training_file
from videokd.utils.io import sha256_json


@dataclass(frozen=True)
class Training:
    """One training: a model, its task and its folder."""

    key: str
    """Row of the result table, such as experts, joint, students or B1; or B5_teachers."""
    stage: str
    """One of ``videokd.pipeline.TRAINING_STAGES``."""
    folder: str
    """Path relative to the run directory, for example "experts/UCF"."""
    trained_on: tuple[str, ...]
    """Datasets, in the order of the batches' ``dataset_ids``."""
    tested_on: tuple[str, ...]
    clips: ClipSet
    """Clip specs of the model."""
    num_epochs: int
    num_steps_per_epoch: int
    base_lr: float
    inputs: dict[str, Any] = field(repr=False)
    """Everything that the weights depend on, as plain JSON values."""
    build_model: Callable[[], nn.Module] = field(repr=False)
    """Builds the model with random weights."""
    build_task: Callable[[Any], nn.Module] = field(repr=False)
    """Builds the task of a model."""
    needs: tuple["Training", ...] = field(default=(), repr=False)
    """Trainings that must be finished before."""
    task_clips: ClipSet | None = None
    """Clip specs of student and teacher; None when there is no teacher."""
    load_initial: Callable[[Any], None] = field(default=lambda model: None, repr=False)
    """Loads the initial weights into the model; does nothing for random weights.

    Separate from ``build_model``, because a model that receives trained weights needs no download.
    """
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    """Prefix of the task's parameter names -> factor of their learning rate."""

    @property
    def num_steps(self) -> int:
        """Total number of steps."""
        return self.num_epochs * self.num_steps_per_epoch

    @property
    def fingerprint(self) -> str:
        """Hash of ``inputs``."""
        return sha256_json(self.inputs)


@dataclass(frozen=True)
class TrainingFolders:
    """Folders of the trainings of an experiment."""

    run: Path
    """The run directory."""
    store: Path | None = None
    """Folder of trainings keyed by fingerprint, so that experiments share equal trainings; None
    keeps trainings in the run directory."""

    def path(self, training: Training) -> Path:
        """Return the folder of a training."""
        if self.store is None:
            return self.run / training.folder
        return self.store / training.fingerprint[:16]

    def is_finished(self, training: Training) -> bool:
        """Return whether a training is finished.

        Raises:
            InputError: The folder holds another training.
        """
        return bool(read_training_file(self.path(training), training.inputs)["is_finished"])
