"""The trainings of METHOD's three stages. The baselines are in ``baselines.py``."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.models.classifier import VideoClassifier
from videokd.pipeline.fingerprint import Recipe
from videokd.pipeline.model_builder import Workshop, join_clips
from videokd.pipeline.unit import Unit

# Keys of DISTILL that affect logit distillation, and keys that only affect speed.
LOGIT_KEYS = (
    *("W_KD", "W_CE", "TEMPERATURE", "LOGIT_LOSS", "STANDARDISE_LOGITS", "DKD_ALPHA", "DKD_BETA"),
    *("DIST_BETA", "DIST_GAMMA", "TEACHING", "TEACHER_DROP", "CLIPS"),
)
_TIME_KEYS = ("CACHE_GIB",)
_JOINT_TIME_KEYS = ("BASE_LR", "MAX_EPOCH", "SHAPES_FROM", "EXPERTS")


class UnitMaker:
    """Builder of the ``Unit`` objects of a config.

    Args:
        cfg: The whole config.
        names: The datasets, in the order of DATASETS.
        recipe: Schedules and fingerprint inputs.
        workshop: Builder of models and tasks.
        load_model: Function from a training to its trained model.
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
        """Return the training of a dataset's expert."""
        return self.alone("experts", "experts", f"experts/{name}", "EXPERTS", name)

    def alone(self, key: str, stage: str, folder: str, section: str, name: str) -> Unit:
        """Return the training of a network of ``section`` on the labels of its dataset only.

        An expert with TRAIN False is used as loaded: its training has no steps.
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
        """Return dataset name -> its joint teacher: one for all, or one each if SCOPE is "target".

        Args:
            experts: Dataset name -> the training of its expert.
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
        """Return the fingerprint inputs of a joint teacher beside its experts and its schedule."""
        joint = {k: v for k, v in self.cfg.JOINT.items() if k not in _JOINT_TIME_KEYS}
        architecture = self.workshop.architecture("STUDENTS", reference)
        clip = self.recipe.clip_keys("STUDENTS", reference)
        return {"joint": joint, "student": {**asdict(architecture), **clip}}

    def student(self, name: str, joint: Unit) -> Unit:
        """Return the training of a dataset's student under its joint teacher."""
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
        """Return the dataset whose student defines the level shapes of a joint teacher.

        Args:
            name: Dataset that the joint teacher is for.
        """
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
        """Return the training of a student with a teacher.

        Args:
            key: Row of the result table.
            folder: Folder of the training, relative to the run directory.
            name: The student's dataset.
            make_teacher: Function that returns the teacher with its weights.
            teacher: Fingerprint inputs of the teacher's weights.
            teacher_clips: Clip specs of the teacher.
            needs: Trainings that must be finished before.
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
        # A single head gets the weight 1, so that LOSS_WEIGHT does not change its fingerprint.
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
