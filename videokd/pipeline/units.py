"""The units of a config: METHOD's three stages. Baselines are in ``baselines.py``."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.cutting import ClipSet
from videokd.models.classifier import VideoClassifier
from videokd.pipeline.recipe import Recipe
from videokd.pipeline.unit import Unit
from videokd.pipeline.workshop import Workshop, join_clips

# Of DISTILL: what logits are compared by, and what keeps time only.
LOGIT_KEYS = (
    *("W_KD", "W_CE", "TEMPERATURE", "LOGIT_LOSS", "STANDARDISE_LOGITS", "DKD_ALPHA", "DKD_BETA"),
    *("DIST_BETA", "DIST_GAMMA", "TEACHING", "TEACHER_DROP", "CLIPS"),
)
_TIME_KEYS = ("CACHE_GIB",)
_JOINT_TIME_KEYS = ("BASE_LR", "MAX_EPOCH", "SHAPES_FROM", "EXPERTS")


class UnitMaker:
    """Makes the units of a config.

    Args:
        cfg: The whole config.
        names: The datasets, in the order of DATASETS.
        recipe: Schedules and fingerprints.
        workshop: Builds models and tasks.
        load_model: Unit -> its trained model.
    """

    def __init__(
        self,
        cfg: CfgNode,
        names: tuple[str, ...],
        *,
        recipe: Recipe,
        workshop: Workshop,
        load_model: Callable[[Unit], nn.Module],
    ) -> None:
        self.cfg = cfg
        self.names = names
        self.recipe = recipe
        self.workshop = workshop
        self.load_model = load_model

    def expert(self, name: str) -> Unit:
        """Return the expert of a dataset."""
        return self.alone("experts", "experts", f"experts/{name}", "EXPERTS", name)

    def alone(self, key: str, stage: str, folder: str, section: str, name: str) -> Unit:
        """Return a network of ``section`` that is trained on its dataset's labels alone.

        An expert with TRAIN False is used as it is loaded: a training of no steps.
        """
        network, node = self.recipe.network(section, name), self.cfg[section][name]
        if node.TRAIN:
            fields = self.recipe.fields((name,), node, **network)
        else:
            fields = self.recipe.ready_made(name, **network)
        return Unit(
            key=key,
            stage=stage,
            folder=folder,
            tested_on=(name,),
            **fields,
            clips=join_clips([self.workshop.clip(section, name)]),
            make_model=lambda: self.workshop.classifier(section, name),
            make_task=lambda model: self.workshop.classification_task(model, {name: 1.0}),
            load_initial=self.workshop.initial_weights(section, name),
        )

    def joints(self, experts: dict[str, Unit]) -> dict[str, Unit]:
        """Return dataset name -> its joint teacher: the same one, or one each (scope target).

        Args:
            experts: Dataset name -> its expert.
        """
        if self.cfg.JOINT.SCOPE == "target":
            return {
                name: self._joint(f"joint/{name}", (name,), experts, reference=name)
                for name in self.names
            }
        reference = self.workshop.reference_student()
        joint = self._joint("joint", self.names, experts, reference=reference)
        return dict.fromkeys(self.names, joint)

    def joint_inputs(self, reference: str) -> dict[str, Any]:
        """Return what a joint teacher depends on beside its experts and its training."""
        joint = {k: v for k, v in self.cfg.JOINT.items() if k not in _JOINT_TIME_KEYS}
        architecture = self.workshop.architecture("STUDENTS", reference)
        clip = self.recipe.clip_keys("STUDENTS", reference)
        return {"joint": joint, "student": {**asdict(architecture), **clip}}

    def student(self, name: str, joint: Unit) -> Unit:
        """Return the student of a dataset that a joint teacher teaches."""
        return self.distilled(
            "students",
            f"students/{name}",
            name,
            make_teacher=lambda: self.load_model(joint),
            teacher=joint.fingerprint,
            teacher_clips=joint.clips,
            needs=(joint,),
            reference=self.reference(name),
        )

    def reference(self, name: str) -> str:
        """Return the dataset whose student has the shapes of the joint teacher of ``name``."""
        is_target = self.cfg.JOINT.SCOPE == "target"
        return name if is_target else self.workshop.reference_student()

    def distilled(
        self,
        key: str,
        folder: str,
        name: str,
        *,
        make_teacher: Callable[[], nn.Module],
        teacher: Any,
        teacher_clips: ClipSet,
        needs: tuple[Unit, ...],
        reference: str | None,
    ) -> Unit:
        """Return a student that is taught.

        Args:
            key: Row of the result table.
            folder: Of the unit.
            name: The student's dataset.
            make_teacher: Returns the teacher with its weights.
            teacher: What the teacher's weights depend on.
            teacher_clips: What the teacher takes.
            needs: What must be trained before.
            reference: See ``Workshop.student_task``; None to distil logits only.
        """
        distill = self.cfg.DISTILL
        keys = LOGIT_KEYS if reference is None else [k for k in distill if k not in _TIME_KEYS]

        def make_task(model: VideoClassifier) -> nn.Module:
            return self.workshop.student_task(model, make_teacher(), name, reference)

        return Unit(
            key=key,
            stage="students" if key == "students" else "baselines",
            folder=folder,
            tested_on=(name,),
            **self.recipe.fields(
                self.workshop.taught_on(name),
                self.cfg.STUDENTS[name],
                **self.recipe.network("STUDENTS", name),
                distill={k: distill[k] for k in keys},
                teacher=teacher,
            ),
            make_model=lambda: self.workshop.classifier("STUDENTS", name),
            make_task=make_task,
            load_initial=self.workshop.initial_weights("STUDENTS", name),
            needs=needs,
            clips=join_clips([self.workshop.clip("STUDENTS", name)]),
            task_clips=self.workshop.taught_clips(name, teacher_clips),
        )

    def load_classifier(self, unit: Unit) -> VideoClassifier:
        """Return the trained model of an expert."""
        model = self.load_model(unit)
        assert isinstance(model, VideoClassifier)
        return model

    def _joint(
        self, folder: str, heads: tuple[str, ...], experts: dict[str, Unit], *, reference: str
    ) -> Unit:
        fused = {name: experts[name] for name in self.workshop.fused_experts}
        weights = self.recipe.loss_weights(heads)
        # One weight says nothing.
        weights = weights if len(heads) > 1 else dict.fromkeys(heads, 1.0)
        is_tuned = self.cfg.JOINT.FINE_TUNE != "none"
        return Unit(
            key="joint",
            stage="joint",
            folder=folder,
            tested_on=heads,
            **self.recipe.fields(
                heads,
                self.cfg.JOINT,
                **self.joint_inputs(reference),
                loss_weights=weights,
                experts={name: unit.fingerprint for name, unit in fused.items()},
            ),
            clips=self.workshop.expert_clips(),
            make_model=lambda: self.workshop.joint_teacher(
                {name: self.load_classifier(unit) for name, unit in fused.items()},
                reference,
                heads,
            ),
            make_task=lambda model: self.workshop.classification_task(model, weights),
            needs=tuple(fused.values()),
            lr_scales={"model.experts": self.cfg.JOINT.FINE_TUNE_LR_SCALE} if is_tuned else {},
        )
