"""Plan of an experiment: its trainings, their order and their folders."""

from collections.abc import Mapping
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import DatasetSplits
from videokd.engine.training_file import read_training_file
from videokd.pipeline.baselines import BASELINES, baseline_trainings
from videokd.pipeline.cost import CostMeter
from videokd.pipeline.fingerprint import Fingerprints
from videokd.pipeline.method import plan_method
from videokd.pipeline.model_builder import ModelBuilder
from videokd.pipeline.stages import Setup
from videokd.pipeline.task_builder import TaskBuilder
from videokd.pipeline.training import Training, TrainingFolders
from videokd.utils.errors import InputError


class ExperimentPlan:
    """All trainings of a config.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its splits, in the order of DATASETS.
        run: The run directory.
        store: See ``TrainingFolders``.
        is_dry: Whether models are built with fresh weights of the same shapes instead of loaded.

    Raises:
        InputError: An architecture is unknown or does not accept the clips, or a dataset does not
            fill a batch. The error is raised at once, not when its stage begins.
    """

    def __init__(
        self,
        cfg: CfgNode,
        datasets: Mapping[str, DatasetSplits],
        run: Path,
        *,
        store: Path | None = None,
        is_dry: bool = False,
    ) -> None:
        self._names = tuple(datasets)
        self._baselines = list(cfg.BASELINES)
        self.folders = TrainingFolders(run, store)
        class_names = {name: splits.train.class_names for name, splits in datasets.items()}
        self.builder = ModelBuilder(cfg, class_names, self.folders, is_dry=is_dry)
        for section in ("EXPERTS", "STUDENTS"):
            for name in self._names:
                self.builder.shapes(section, name)
        self.meter = CostMeter(cfg, datasets, self.builder)
        setup = Setup(
            cfg,
            self._names,
            self.builder,
            TaskBuilder(cfg, self.builder, self._names),
            Fingerprints(cfg, datasets),
            self.meter,
        )
        method = plan_method(setup)
        self._has_generalist = bool(method.generalists)
        self.trainings = [*method.trainings, *baseline_trainings(setup, method)]

    def path(self, training: Training) -> Path:
        """Return the folder of a training."""
        return self.folders.path(training)

    def is_finished(self, training: Training) -> bool:
        """Return whether a training is finished; see ``TrainingFolders``."""
        return self.folders.is_finished(training)

    def load_model(self, training: Training) -> nn.Module:
        """Build the model of a finished training with its weights; see ``ModelBuilder.load``."""
        return self.builder.load(training)

    def row(self, key: str) -> dict[str, Training]:
        """Return dataset name -> the training in row ``key`` of the result table.

        A student alone (B1) with the config of its expert is that expert; it is not trained twice.
        """
        found = {
            name: training
            for training in self.trainings
            if training.key == key
            for name in training.tested_on
        }
        if key == "B1":
            for name, training in self.row("experts").items():
                found.setdefault(name, training)
        return {name: found[name] for name in self._names if name in found}

    @property
    def rows(self) -> list[str]:
        """Keys of the result table's rows, in order."""
        baselines = [key for key in BASELINES if key in self._baselines]
        generalist = ["generalist"] if self._has_generalist else []
        return ["experts", *baselines, "joint", *generalist, "students"]

    def check_folders(self) -> None:
        """Check that all trainings begun in the run directory belong to this config.

        Raises:
            InputError: A folder holds another training.
        """
        for training in self.trainings:
            read_training_file(self.path(training), training.inputs)

    def find(self, folder: str) -> Training:
        """Return the training in ``folder`` of the run directory.

        Raises:
            InputError: No training has this folder.
        """
        for training in self.trainings:
            if training.folder == folder:
                return training
        known = ", ".join(training.folder for training in self.trainings)
        raise InputError(f"no model {folder!r} in this experiment; there are {known}")
