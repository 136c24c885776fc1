"""Plan of an experiment: its trainings, their order and their folders."""

from collections.abc import Mapping
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from videokd.config.validate import BASELINES
from videokd.data.build import DatasetParts
from videokd.engine.checkpoint import load_weights
from videokd.engine.training_file import read_stage
from videokd.pipeline.baselines import make_baselines
from videokd.pipeline.fingerprint import Recipe
from videokd.pipeline.model_builder import Workshop
from videokd.pipeline.unit import Unit
from videokd.pipeline.units import UnitMaker
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
        self.workshop = Workshop(
            cfg, {name: parts.train.class_names for name, parts in datasets.items()}
        )
        for section in ("EXPERTS", "STUDENTS"):
            for name in self._names:
                self.workshop.shapes(section, name)
        maker = UnitMaker(
            cfg,
            self._names,
            recipe=Recipe(cfg, datasets),
            workshop=self.workshop,
            load_model=self.load_model,
        )
        experts = {name: maker.expert(name) for name in self._names}
        joints = maker.joints(experts)
        self.units = [
            *experts.values(),
            *{unit.folder: unit for unit in joints.values()}.values(),
            *(maker.student(name, joints[name]) for name in self._names),
            *make_baselines(maker, experts),
        ]

    def path(self, unit: Unit) -> Path:
        """Return the folder of a training."""
        if self._store is None:
            return self._run / unit.folder
        return self._store / unit.fingerprint[:16]

    def row(self, key: str) -> dict[str, Unit]:
        """Return dataset name -> the training in row ``key`` of the result table.

        A student alone (B1) with the config of its expert is that expert; it is not trained twice.
        """
        found = {name: unit for unit in self.units if unit.key == key for name in unit.tested_on}
        if key == "B1":
            for name, unit in self.row("experts").items():
                found.setdefault(name, unit)
        return {name: found[name] for name in self._names if name in found}

    @property
    def rows(self) -> list[str]:
        """Keys of the result table's rows, in order."""
        baselines = [key for key in BASELINES if key in self._baselines]
        return ["experts", *baselines, "joint", "students"]

    def load_model(self, unit: Unit) -> nn.Module:
        """Build the model of a finished training with its weights.

        Raises:
            InputError: The training is not finished, or its folder holds another config.
        """
        if self._is_dry:
            return unit.make_model()
        folder = self.path(unit)
        if not self.is_finished(unit):
            raise InputError(f"{folder} is not trained yet; run --stage {unit.stage} first")
        return self.load_checkpoint(unit, folder / "model.safetensors")

    def load_checkpoint(self, unit: Unit, path: Path) -> nn.Module:
        """Build the model of a training with the weights of a file.

        Raises:
            InputError: The file cannot be read, or has another architecture or other classes.
        """
        model = unit.make_model()
        load_weights(model, path, self.workshop.head_classes(model))
        return model

    def is_finished(self, unit: Unit) -> bool:
        """Return whether a training is finished.

        Raises:
            InputError: The folder holds another training.
        """
        return bool(read_stage(self.path(unit), unit.inputs)["is_finished"])

    def check_folders(self) -> None:
        """Check that all trainings begun in the run directory belong to this config.

        Raises:
            InputError: A folder holds another training.
        """
        for unit in self.units:
            read_stage(self.path(unit), unit.inputs)

    def find(self, folder: str) -> Unit:
        """Return the training in ``folder`` of the run directory.

        Raises:
            InputError: No training has this folder.
        """
        for unit in self.units:
            if unit.folder == folder:
                return unit
        known = ", ".join(unit.folder for unit in self.units)
        raise InputError(f"no model {folder!r} in this experiment; there are {known}")
