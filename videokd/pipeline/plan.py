"""What is trained in an experiment, in which order, from what, and where it is kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import DatasetParts, build_batch_plan
from videokd.data.synthetic.generate import GENERATOR_VERSION
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.engine.checkpoint import load_weights
from videokd.models.classifier import VideoClassifier
from videokd.pipeline.stage import read_stage
from videokd.pipeline.unit import Unit
from videokd.pipeline.workshop import Workshop
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_json

# Where frames are kept, which videos are held out (their digest says it) and how many may be
# missing: no weight depends on these.
_NOT_LEARNT_FROM = ("FRAME_CACHE", "FRAME_CACHE_MAX_GIB", "VAL_FRACTION", "MAX_BAD_FRACTION")


class ExperimentPlan:
    """All units of a config.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its parts, in the order of DATASETS.
        run: The run directory.

    Raises:
        InputError: An unknown architecture, one that does not take the clips, or a dataset that
            does not fill a batch: at once and not when the stage is reached.
    """

    def __init__(self, cfg: CfgNode, datasets: Mapping[str, DatasetParts], run: Path) -> None:
        self._cfg = cfg
        self._datasets = datasets
        self._run = run
        self._names = tuple(datasets)
        self.workshop = Workshop(cfg, {n: parts.num_classes for n, parts in datasets.items()})
        for section in ("EXPERTS", "STUDENTS"):
            for name in self._names:
                self.workshop.shapes(section, name)
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

    @property
    def rows(self) -> list[str]:
        """Keys of the result table's rows, in order."""
        baselines = [key for key in ("B1", "B2", "B4") if key in self._cfg.BASELINES]
        return ["experts", *baselines, "joint", "students"]

    def load_model(self, unit: Unit) -> nn.Module:
        """Build the model of a unit that is trained, with its weights.

        Raises:
            InputError: It is not trained yet, or from another config.
        """
        folder = self._run / unit.folder
        if not read_stage(folder, unit.inputs)["is_finished"]:
            raise InputError(f"{folder} is not trained yet; run --stage {unit.stage} first")
        model = unit.make_model()
        load_weights(model, folder / "model.safetensors")
        return model

    def check_folders(self) -> None:
        """Check that what is trained in the run directory, or was begun, is of this config.

        Raises:
            InputError: A folder holds something else.
        """
        for unit in self.units:
            read_stage(self._run / unit.folder, unit.inputs)

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

    def _classifier_unit(self, key: str, stage: str, folder: str, section: str, name: str) -> Unit:
        node = self._cfg[section][name]
        return Unit(
            key=key,
            stage=stage,
            folder=folder,
            trained_on=(name,),
            tested_on=(name,),
            **self._schedule((name,), node.BASE_LR, node.MAX_EPOCH),
            inputs=self._inputs(
                (name,), node.BASE_LR, node.MAX_EPOCH, **self._network(section, name)
            ),
            make_model=lambda: self.workshop.classifier(section, name),
            make_task=lambda model: ClassificationTask(model, {name: 1.0}),
        )

    def _joint(self, experts: Mapping[str, Unit]) -> Unit:
        node = self._cfg.JOINT
        reference = self.workshop.architecture("STUDENTS", self.workshop.reference_student())
        schedule = (self._names, node.BASE_LR, node.MAX_EPOCH)
        return Unit(
            key="joint",
            stage="joint",
            folder="joint",
            trained_on=self._names,
            tested_on=self._names,
            **self._schedule(*schedule),
            inputs=self._inputs(
                *schedule,
                joint={k: node[k] for k in ("LEVELS", "WIDTH", "DROPOUT")},
                loss_weights=self._loss_weights(),
                student=asdict(reference),
                experts={name: unit.fingerprint for name, unit in experts.items()},
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
        node, distill = self._cfg.STUDENTS[name], self._cfg.DISTILL
        is_joint = teacher.key == "joint"
        used = distill if is_joint else {k: distill[k] for k in ("W_KD", "W_CE", "TEMPERATURE")}

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
            **self._schedule((name,), node.BASE_LR, node.MAX_EPOCH),
            inputs=self._inputs(
                (name,),
                node.BASE_LR,
                node.MAX_EPOCH,
                **self._network("STUDENTS", name),
                distill=used,
                teacher=teacher.fingerprint,
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
                    folder=f"baselines/B2/{'-'.join(names)}",
                    trained_on=self._names,
                    tested_on=tuple(names),
                    **self._schedule(self._names, node.BASE_LR, node.MAX_EPOCH),
                    inputs=self._inputs(
                        self._names,
                        node.BASE_LR,
                        node.MAX_EPOCH,
                        **self._network("STUDENTS", first),
                        loss_weights=self._loss_weights(),
                    ),
                    make_model=partial(self.workshop.shared_student, first),
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

    def _schedule(
        self, trained_on: tuple[str, ...], base_lr: float, max_epoch: int = 0
    ) -> dict[str, Any]:
        parts = [self._datasets[name] for name in trained_on]
        return {
            "num_epochs": max_epoch or self._cfg.SOLVER.MAX_EPOCH,
            "num_steps_per_epoch": build_batch_plan(self._cfg, parts).num_steps_per_epoch,
            "base_lr": base_lr or self._cfg.SOLVER.BASE_LR,
        }

    def _network(self, section: str, name: str) -> dict[str, Any]:
        node = {
            k: v for k, v in self._cfg[section][name].items() if k not in ("BASE_LR", "MAX_EPOCH")
        }
        # The place seeds the initial weights.
        return {"model": node, "place": self._names.index(name)}

    def _inputs(
        self, trained_on: tuple[str, ...], base_lr: float, max_epoch: int = 0, **parts: Any
    ) -> dict[str, Any]:
        cfg = self._cfg
        synthetic = {"generator": GENERATOR_VERSION} if cfg.SYNTHETIC.ROOT else {}
        inputs = {
            "SEED": cfg.SEED,
            "DATA": {k: v for k, v in cfg.DATA.items() if k not in _NOT_LEARNT_FROM},
            "SOLVER": {k: v for k, v in cfg.SOLVER.items() if k not in ("BASE_LR", "MAX_EPOCH")},
            "TRAIN.BATCH_SIZE": cfg.TRAIN.BATCH_SIZE,
            "trained_on": trained_on,
            "videos": {name: self._datasets[name].train.digest() for name in trained_on},
            **synthetic,
            **self._schedule(trained_on, base_lr, max_epoch),
            **parts,
        }
        # As it will be read back: without tuples and config nodes.
        plain: dict[str, Any] = json.loads(json.dumps(inputs))
        return plain
