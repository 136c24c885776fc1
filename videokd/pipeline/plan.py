"""What is trained in an experiment, in which order, from what, and where it is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import DatasetParts
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.engine.checkpoint import load_weights
from videokd.models.classifier import VideoClassifier
from videokd.pipeline.workshop import Workshop
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_json


@dataclass(frozen=True)
class Unit:
    """One training: a model, its task, and the folder that keeps it."""

    key: str
    """Row of the result table: experts, joint, students, B1, B2, B4."""
    stage: str
    """One of ``videokd.pipeline.cli.STAGES``."""
    folder: str
    """Relative to the run directory, like "experts/UCF"."""
    trained_on: tuple[str, ...]
    """Datasets, in the order of the batches' ``dataset_ids``."""
    tested_on: tuple[str, ...]
    num_epochs: int
    base_lr: float
    fingerprint: str
    """Hash of everything that its weights depend on."""
    make_model: Callable[[], nn.Module] = field(repr=False)
    """The model with initial weights."""
    make_task: Callable[[Any], nn.Module] = field(repr=False)
    """model -> task."""


class ExperimentPlan:
    """All units of a config.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its parts, in the order of DATASETS.
        run: The run directory.
    """

    def __init__(self, cfg: CfgNode, datasets: Mapping[str, DatasetParts], run: Path) -> None:
        self._cfg = cfg
        self._datasets = datasets
        self._run = run
        self._names = tuple(datasets)
        self.workshop = Workshop(cfg, {n: parts.num_classes for n, parts in datasets.items()})
        self.units = self._make_units()

    def folders(self, key: str) -> dict[str, str]:
        """Return dataset name -> folder of the model that stands in row ``key`` of the table.

        A student alone (B1) of an expert's architecture is that expert; it is not trained twice.
        """
        found = {
            name: unit.folder for unit in self.units if unit.key == key for name in unit.tested_on
        }
        if key == "B1":
            for name in self._names:
                found.setdefault(name, f"experts/{name}")
        return found

    def keys(self) -> list[str]:
        """Return the rows of the result table, in order."""
        baselines = [key for key in ("B1", "B2", "B4") if key in self._cfg.BASELINES]
        return ["experts", *baselines, "joint", "students"]

    def load_model(self, unit: Unit) -> nn.Module:
        """Build the model of a unit that is trained, with its weights.

        Raises:
            InputError: It is not trained yet.
        """
        model = unit.make_model()
        path = self._run / unit.folder / "model.safetensors"
        if not path.exists():
            raise InputError(
                f"{self._run / unit.folder} is not trained yet; run --stage {unit.stage} first"
            )
        load_weights(model, path)
        return model

    def find(self, folder: str) -> Unit:
        """Return the unit kept in ``folder``.

        Raises:
            InputError: There is none.
        """
        for unit in self.units:
            if unit.folder == folder:
                return unit
        known = ", ".join(unit.folder for unit in self.units)
        raise InputError(f"no model {folder!r} in this experiment; there are {known}")

    def _make_units(self) -> list[Unit]:
        units = [self._expert(name) for name in self._names]
        units.append(self._joint({unit.trained_on[0]: unit for unit in units}))
        experts = {unit.trained_on[0]: unit for unit in units[:-1]}
        joint = units[-1]
        units += [self._student(name, joint) for name in self._names]
        if "B1" in self._cfg.BASELINES:
            units += [self._alone(n) for n in self._names if not self._expert_is_student(n)]
        if "B2" in self._cfg.BASELINES:
            units += self._shared_students()
        if "B4" in self._cfg.BASELINES:
            units += [self._logit_student(name, experts[name]) for name in self._names]
        return units

    def _expert(self, name: str) -> Unit:
        return self._classifier_unit("experts", "experts", f"experts/{name}", "EXPERTS", name)

    def _alone(self, name: str) -> Unit:
        folder = f"baselines/B1/{name}"
        return self._classifier_unit("B1", "baselines", folder, "STUDENTS", name)

    def _classifier_unit(
        self, key: str, stage: str, folder: str, section: str, name: str
    ) -> Unit:
        node = self._cfg[section][name]
        return Unit(
            key=key,
            stage=stage,
            folder=folder,
            trained_on=(name,),
            tested_on=(name,),
            num_epochs=self._cfg.SOLVER.MAX_EPOCH,
            base_lr=node.BASE_LR or self._cfg.SOLVER.BASE_LR,
            fingerprint=self._fingerprint(name, model=node),
            make_model=lambda: self.workshop.classifier(section, name),
            make_task=lambda model: ClassificationTask(model, {name: 1.0}),
        )

    def _joint(self, experts: Mapping[str, Unit]) -> Unit:
        node = self._cfg.JOINT
        reference = self._cfg.STUDENTS[self.workshop.reference_student()]
        return Unit(
            key="joint",
            stage="joint",
            folder="joint",
            trained_on=self._names,
            tested_on=self._names,
            num_epochs=node.MAX_EPOCH or self._cfg.SOLVER.MAX_EPOCH,
            base_lr=node.BASE_LR or self._cfg.SOLVER.BASE_LR,
            fingerprint=self._fingerprint(
                *self._names,
                joint=node,
                student=reference,
                experts=[unit.fingerprint for unit in experts.values()],
            ),
            make_model=lambda: self.workshop.joint_teacher(
                {name: self._load_classifier(unit) for name, unit in experts.items()}
            ),
            make_task=lambda model: ClassificationTask(model, self._loss_weights()),
        )

    def _student(self, name: str, joint: Unit) -> Unit:
        return self._distilled("students", "students", f"students/{name}", name, joint)

    def _logit_student(self, name: str, expert: Unit) -> Unit:
        return self._distilled("B4", "baselines", f"baselines/B4/{name}", name, expert)

    def _distilled(self, key: str, stage: str, folder: str, name: str, teacher: Unit) -> Unit:
        node = self._cfg.STUDENTS[name]
        is_joint = teacher.key == "joint"

        def make_task(model: VideoClassifier) -> nn.Module:
            return StudentTask(
                model,
                self.load_model(teacher),
                dataset=name,
                weights=self.workshop.distill_weights(),
                projectors=self.workshop.projectors(name) if is_joint else None,
            )

        return Unit(
            key=key,
            stage=stage,
            folder=folder,
            trained_on=(name,),
            tested_on=(name,),
            num_epochs=self._cfg.SOLVER.MAX_EPOCH,
            base_lr=node.BASE_LR or self._cfg.SOLVER.BASE_LR,
            fingerprint=self._fingerprint(
                name, model=node, distill=self._cfg.DISTILL, teacher=teacher.fingerprint
            ),
            make_model=lambda: self.workshop.classifier("STUDENTS", name),
            make_task=make_task,
        )

    def _shared_students(self) -> list[Unit]:
        # Students of one architecture share one jointly trained network.
        owners: dict[str, list[str]] = {}
        for name in self._names:
            owners.setdefault(sha256_json(self._cfg.STUDENTS[name]), []).append(name)
        units = []
        for names in owners.values():
            first = names[0]
            node = self._cfg.STUDENTS[first]
            units.append(
                Unit(
                    key="B2",
                    stage="baselines",
                    folder=f"baselines/B2/{'_'.join(names)}",
                    trained_on=self._names,
                    tested_on=tuple(names),
                    num_epochs=self._cfg.SOLVER.MAX_EPOCH,
                    base_lr=node.BASE_LR or self._cfg.SOLVER.BASE_LR,
                    fingerprint=self._fingerprint(*self._names, model=node),
                    make_model=lambda first=first: self.workshop.shared_student(first),
                    make_task=lambda model: ClassificationTask(model, self._loss_weights()),
                )
            )
        return units

    def _load_classifier(self, unit: Unit) -> VideoClassifier:
        model = self.load_model(unit)
        assert isinstance(model, VideoClassifier)
        return model

    def _loss_weights(self) -> dict[str, float]:
        return {name: self._cfg.DATASETS[name].LOSS_WEIGHT for name in self._names}

    def _expert_is_student(self, name: str) -> bool:
        return bool(self._cfg.EXPERTS[name] == self._cfg.STUDENTS[name])

    def _fingerprint(self, *trained_on: str, **parts: Any) -> str:
        data = {k: v for k, v in self._cfg.DATA.items() if not k.startswith("FRAME_CACHE")}
        return sha256_json(
            {
                "seed": self._cfg.SEED,
                "data": data,
                "solver": self._cfg.SOLVER,
                "batch_size": self._cfg.TRAIN.BATCH_SIZE,
                "train": {n: self._datasets[n].train.digest() for n in trained_on},
                "weights": {n: self._cfg.DATASETS[n].LOSS_WEIGHT for n in trained_on},
                **parts,
            }
        )
