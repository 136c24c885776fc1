"""What is trained in an experiment, in which order, and where it is kept."""

from collections.abc import Mapping
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from videokd.config.validate import BASELINES
from videokd.data.build import DatasetParts
from videokd.engine.checkpoint import load_weights
from videokd.pipeline.baselines import make_baselines
from videokd.pipeline.recipe import Recipe
from videokd.pipeline.stage import read_stage
from videokd.pipeline.unit import Unit
from videokd.pipeline.units import UnitMaker
from videokd.pipeline.workshop import Workshop
from videokd.utils.errors import InputError


class ExperimentPlan:
    """All units of a config.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its parts, in the order of DATASETS.
        run: The run directory.
        store: Where units are kept by their fingerprint, so that experiments that have a unit in
            common train it once; None keeps them in the run directory.
        is_dry: Models are not loaded but built with fresh weights, which have the same shapes.

    Raises:
        InputError: An unknown architecture, one that does not take the clips, or a dataset that
            does not fill a batch: at once and not when the stage is reached.
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
        """Return the folder that keeps a unit."""
        if self._store is None:
            return self._run / unit.folder
        return self._store / unit.fingerprint[:16]

    def row(self, key: str) -> dict[str, Unit]:
        """Return dataset name -> the unit that stands in row ``key`` of the table.

        A student alone (B1) of an expert's architecture is that expert; it is not trained twice.
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
        """Build the model of a unit that is trained, with its weights.

        Raises:
            InputError: It is not trained yet, or from another config.
        """
        if self._is_dry:
            return unit.make_model()
        folder = self.path(unit)
        if not self.is_finished(unit):
            raise InputError(f"{folder} is not trained yet; run --stage {unit.stage} first")
        return self.load_checkpoint(unit, folder / "model.safetensors")

    def load_checkpoint(self, unit: Unit, path: Path) -> nn.Module:
        """Build the model of a unit with the weights of a file.

        Raises:
            InputError: The file cannot be read, or is of another architecture or other classes.
        """
        model = unit.make_model()
        load_weights(model, path, self.workshop.head_classes(model))
        return model

    def is_finished(self, unit: Unit) -> bool:
        """Say whether a unit is trained.

        Raises:
            InputError: Its folder holds something else.
        """
        return bool(read_stage(self.path(unit), unit.inputs)["is_finished"])

    def check_folders(self) -> None:
        """Check that what is trained in the run directory, or was begun, is of this config.

        Raises:
            InputError: A folder holds something else.
        """
        for unit in self.units:
            read_stage(self.path(unit), unit.inputs)

    def find(self, folder: str) -> Unit:
        """Return the unit kept in ``folder`` of a run directory.

        Raises:
            InputError: There is none.
        """
        for unit in self.units:
            if unit.folder == folder:
                return unit
        known = ", ".join(unit.folder for unit in self.units)
        raise InputError(f"no model {folder!r} in this experiment; there are {known}")
