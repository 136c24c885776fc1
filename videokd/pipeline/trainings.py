"""The trainings of METHOD's three stages. The baselines are in ``baselines.py``."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.models.classifier import VideoClassifier
from videokd.pipeline.fingerprint import Fingerprints
from videokd.pipeline.model_builder import ModelBuilder, join_clips
from videokd.pipeline.training import Training

# Keys of DISTILL that affect logit distillation, and keys that only affect speed.
LOGIT_KEYS = (
    *("W_KD", "W_CE", "TEMPERATURE", "LOGIT_LOSS", "STANDARDISE_LOGITS", "DKD_ALPHA", "DKD_BETA"),
    *("DIST_BETA", "DIST_GAMMA", "TEACHING", "TEACHER_DROP", "CLIPS"),
)
_TIME_KEYS = ("CACHE_GIB",)
_JOINT_TIME_KEYS = ("BASE_LR", "MAX_EPOCH", "SHAPES_FROM", "EXPERTS")


class TrainingMaker:
    """Builder of the ``Training`` objects of a config.

    Args:
        cfg: The whole config.
        names: The datasets, in the order of DATASETS.
        fingerprints: Schedules and fingerprint inputs.
        builder: Builder of models and tasks.
        load_model: Function from a training to its trained model.
    """

    def __init__(
        self,
        cfg: CfgNode,
        names: tuple[str, ...],
        *,
        fingerprints: Fingerprints,
        builder: ModelBuilder,
        load_model: Callable[[Training], nn.Module],
    ) -> None:
        self.cfg = cfg
        self.names = names
        self.fingerprints = fingerprints
        self.builder = builder
        self.load_model = load_model

    def expert(self, name: str) -> Training:
        """Return the training of a dataset's expert."""
        return self.alone("experts", "experts", f"experts/{name}", "EXPERTS", name)

    def alone(self, key: str, stage: str, folder: str, section: str, name: str) -> Training:
        """Return the training of a network of ``section`` on the labels of its dataset only.

        An expert with TRAIN False is used as loaded: its training has no steps.
        """
        network, node = self.fingerprints.network(section, name), self.cfg[section][name]
        if node.TRAIN:
            fields = self.fingerprints.fields((name,), node, **network)
        else:
            fields = self.fingerprints.ready_made(name, **network)
        return Training(
            key=key,
            stage=stage,
            folder=folder,
            tested_on=(name,),
            **fields,
            clips=join_clips([self.builder.clip(section, name)]),
            make_model=lambda: self.builder.classifier(section, name),
            make_task=lambda model: self.builder.classification_task(model, {name: 1.0}),
            load_initial=self.builder.initial_weights(section, name),
        )

    def joints(self, experts: dict[str, Training]) -> dict[str, Training]:
        """Return dataset name -> its joint teacher: one for all, or one each if SCOPE is "target".

        Args:
            experts: Dataset name -> the training of its expert.
        """
        if self.cfg.JOINT.SCOPE == "target":
            return {
                name: self._joint(f"joint/{name}", (name,), experts, reference=name)
                for name in self.names
            }
        reference = self.builder.reference_student()
        joint = self._joint("joint", self.names, experts, reference=reference)
        return dict.fromkeys(self.names, joint)

    def joint_inputs(self, reference: str) -> dict[str, Any]:
        """Return the fingerprint inputs of a joint teacher beside its experts and its schedule."""
        joint = {k: v for k, v in self.cfg.JOINT.items() if k not in _JOINT_TIME_KEYS}
        architecture = self.builder.architecture("STUDENTS", reference)
        clip = self.fingerprints.clip_keys("STUDENTS", reference)
        return {"joint": joint, "student": {**asdict(architecture), **clip}}

    def student(self, name: str, joint: Training) -> Training:
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
        return name if is_target else self.builder.reference_student()

    def distilled(
        self,
        key: str,
        folder: str,
        name: str,
        *,
        make_teacher: Callable[[], nn.Module],
        teacher: Any,
        teacher_clips: ClipSet,
        needs: tuple[Training, ...],
        reference: str | None,
    ) -> Training:
        """Return the training of a student with a teacher.

        Args:
            key: Row of the result table.
            folder: Folder of the training, relative to the run directory.
            name: The student's dataset.
            make_teacher: Function that returns the teacher with its weights.
            teacher: Fingerprint inputs of the teacher's weights.
            teacher_clips: Clip specs of the teacher.
            needs: Trainings that must be finished before.
            reference: See ``ModelBuilder.student_task``; None to distil logits only.
        """
        distill = self.cfg.DISTILL
        keys = LOGIT_KEYS if reference is None else [k for k in distill if k not in _TIME_KEYS]

        def make_task(model: VideoClassifier) -> nn.Module:
            return self.builder.student_task(model, make_teacher(), name, reference)

        return Training(
            key=key,
            stage="students" if key == "students" else "baselines",
            folder=folder,
            tested_on=(name,),
            **self.fingerprints.fields(
                self.builder.taught_on(name),
                self.cfg.STUDENTS[name],
                **self.fingerprints.network("STUDENTS", name),
                distill={k: distill[k] for k in keys},
                teacher=teacher,
            ),
            make_model=lambda: self.builder.classifier("STUDENTS", name),
            make_task=make_task,
            load_initial=self.builder.initial_weights("STUDENTS", name),
            needs=needs,
            clips=join_clips([self.builder.clip("STUDENTS", name)]),
            task_clips=self.builder.taught_clips(name, teacher_clips),
        )

    def load_classifier(self, training: Training) -> VideoClassifier:
        """Return the trained model of an expert."""
        model = self.load_model(training)
        assert isinstance(model, VideoClassifier)
        return model

    def _joint(
        self, folder: str, heads: tuple[str, ...], experts: dict[str, Training], *, reference: str
    ) -> Training:
        fused = {name: experts[name] for name in self.builder.fused_experts}
        weights = self.fingerprints.loss_weights(heads)
        # A single head gets the weight 1, so that LOSS_WEIGHT does not change its fingerprint.
        weights = weights if len(heads) > 1 else dict.fromkeys(heads, 1.0)
        is_tuned = self.cfg.JOINT.FINE_TUNE != "none"
        return Training(
            key="joint",
            stage="joint",
            folder=folder,
            tested_on=heads,
            **self.fingerprints.fields(
                heads,
                self.cfg.JOINT,
                **self.joint_inputs(reference),
                loss_weights=weights,
                experts={name: training.fingerprint for name, training in fused.items()},
            ),
            clips=self.builder.expert_clips(),
            make_model=lambda: self.builder.joint_teacher(
                {name: self.load_classifier(training) for name, training in fused.items()},
                reference,
                heads,
            ),
            make_task=lambda model: self.builder.classification_task(model, weights),
            needs=tuple(fused.values()),
            lr_scales={"model.experts": self.cfg.JOINT.FINE_TUNE_LR_SCALE} if is_tuned else {},
        )
