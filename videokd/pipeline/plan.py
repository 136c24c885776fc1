"""Plan of an experiment: its trainings, their order and their folders."""

from collections.abc import Mapping
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from videokd.config.validate import BASELINES
from videokd.data.build import DatasetParts
from videokd.engine.checkpoint import load_weights
from videokd.engine.training_file import read_training_file
from videokd.pipeline.baselines import make_baselines
from videokd.pipeline.fingerprint import Fingerprints
from videokd.pipeline.model_builder import ModelBuilder
from videokd.pipeline.training import Training
from videokd.pipeline.trainings import TrainingMaker
from videokd.utils.errors import InputError


class ExperimentPlan:
    """All trainings of a config.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its splits, in the order of DATASETS.
        run: The run directory.
        store: Folder of trainings keyed by fingerprint, so that experiments share equal trainings;
            None keeps trainings in the run directory.
        is_dry: Whether models are built with fresh weights of the same shapes instead of loaded.

    Raises:
        InputError: An architecture is unknown or does not accept the clips, or a dataset does not
            fill a batch. The error is raised at once, not when its stage begins.
    """

    def __init__(
        self,
        cfg: CfgNode,
        datasets: Mapping[str, DatasetParts],
        run: Path,
        *,
        store: Path | None = None,
        is_dry: bool = False,
    ) -> None:
        self._run = run
        self._is_dry = is_dry
        self._store = store
        self._names = tuple(datasets)
        self._baselines = list(cfg.BASELINES)
        self.builder = ModelBuilder(
            cfg, {name: parts.train.class_names for name, parts in datasets.items()}
        )
        for section in ("EXPERTS", "STUDENTS"):
            for name in self._names:
                self.builder.shapes(section, name)
        maker = TrainingMaker(
            cfg,
            self._names,
            fingerprints=Fingerprints(cfg, datasets),
            builder=self.builder,
            load_model=self.load_model,
        )
        experts = {name: maker.expert(name) for name in self._names}
        joints = maker.joints(experts)
        self.trainings = [
            *experts.values(),
            *{training.folder: training for training in joints.values()}.values(),
            *(maker.student(name, joints[name]) for name in self._names),
            *make_baselines(maker, experts),
        ]

    def path(self, training: Training) -> Path:
        """Return the folder of a training."""
        if self._store is None:
            return self._run / training.folder
        return self._store / training.fingerprint[:16]

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
        return ["experts", *baselines, "joint", "students"]

    def load_model(self, training: Training) -> nn.Module:
        """Build the model of a finished training with its weights.

        Raises:
            InputError: The training is not finished, or its folder holds another config.
        """
        if self._is_dry:
            return training.make_model()
        folder = self.path(training)
        if not self.is_finished(training):
            raise InputError(f"{folder} is not trained yet; run --stage {training.stage} first")
        return self.load_checkpoint(training, folder / "model.safetensors")

    def load_checkpoint(self, training: Training, path: Path) -> nn.Module:
        """Build the model of a training with the weights of a file.

        Raises:
            InputError: The file cannot be read, or has another architecture or other classes.
        """
        model = training.make_model()
        load_weights(model, path, self.builder.head_classes(model))
        return model

    def is_finished(self, training: Training) -> bool:
        """Return whether a training is finished.

        Raises:
            InputError: The folder holds another training.
        """
        return bool(read_training_file(self.path(training), training.inputs)["is_finished"])

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
