"""Trainings of METHOD's three stages, one function per stage; baselines are in ``baselines``.

The functions only describe trainings. Models and tasks are built by ``ModelBuilder`` when a
training starts.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.pipeline.fingerprint import Fingerprints
from videokd.pipeline.model_builder import ModelBuilder, join_clips
from videokd.pipeline.training import Training


@dataclass(frozen=True)
class Setup:
    """A config, and what turns it into trainings."""

    cfg: CfgNode
    names: tuple[str, ...]
    """Datasets, in the order of DATASETS."""
    builder: ModelBuilder
    fingerprints: Fingerprints


def expert_trainings(setup: Setup) -> dict[str, Training]:
    """Return dataset name -> the training of its expert."""
    return {
        name: classifier_training(setup, "EXPERTS", name, key="experts", stage="experts")
        for name in setup.names
    }


def joint_trainings(setup: Setup, experts: Mapping[str, Training]) -> dict[str, Training]:
    """Return dataset name -> its joint teacher: one for all, or one each if SCOPE is "target".

    Args:
        setup: The experiment.
        experts: Dataset name -> the training of its expert.
    """
    if setup.cfg.JOINT.SCOPE == "target":
        return {
            name: _joint_training(setup, f"joint/{name}", (name,), experts) for name in setup.names
        }
    return dict.fromkeys(setup.names, _joint_training(setup, "joint", setup.names, experts))


def student_trainings(setup: Setup, joints: Mapping[str, Training]) -> dict[str, Training]:
    """Return dataset name -> the training of its student.

    Args:
        setup: The experiment.
        joints: Dataset name -> the training of its joint teacher.
    """
    return {
        name: distilled_from(
            setup,
            "students",
            name,
            teacher=joints[name],
            reference=reference_student(setup, name),
        )
        for name in setup.names
    }


def classifier_training(setup: Setup, section: str, name: str, *, key: str, stage: str) -> Training:
    """Return the training of a network on the labels of its dataset only.

    An expert with TRAIN False is used as loaded: its training has no steps.

    Args:
        setup: The experiment.
        section: "EXPERTS" or "STUDENTS".
        name: Name of the network's dataset.
        key: Row of the result table.
        stage: Stage of the training.
    """
    builder, fingerprints, node = setup.builder, setup.fingerprints, setup.cfg[section][name]
    network = fingerprints.network(section, name)
    if node.TRAIN:
        fields = fingerprints.fields((name,), node, **network)
    else:
        fields = fingerprints.ready_made(name, **network)
    return Training(
        key=key,
        stage=stage,
        folder=f"{key}/{name}" if key == stage else f"{stage}/{key}/{name}",
        tested_on=(name,),
        **fields,
        clips=join_clips([builder.clip(section, name)]),
        build_model=partial(builder.classifier, section, name),
        build_task=partial(builder.classification_task, weights={name: 1.0}),
        load_initial=partial(builder.load_initial, section=section, dataset=name),
    )


def distilled_from(
    setup: Setup,
    key: str,
    name: str,
    *,
    teacher: Training,
    reference: str | None = None,
) -> Training:
    """Return the training of a student with a trained teacher.

    Args:
        setup: The experiment.
        key: Row of the result table.
        name: The student's dataset.
        teacher: Training of the teacher.
        reference: See ``ModelBuilder.student_task``; None to distil logits only.
    """
    return distilled_training(
        setup,
        key,
        name,
        build_teacher=partial(setup.builder.load, teacher),
        teacher_inputs=teacher.fingerprint,
        teacher_clips=teacher.clips,
        needs=(teacher,),
        reference=reference,
    )


def distilled_training(
    setup: Setup,
    key: str,
    name: str,
    *,
    build_teacher: Callable[[], nn.Module],
    teacher_inputs: Any,
    teacher_clips: ClipSet,
    needs: tuple[Training, ...] = (),
    reference: str | None = None,
) -> Training:
    """Return the training of a student with any teacher.

    Args:
        setup: The experiment.
        key: Row of the result table.
        name: The student's dataset.
        build_teacher: Function that returns the teacher with its weights.
        teacher_inputs: Fingerprint inputs of the teacher's weights.
        teacher_clips: Clip specs of the teacher.
        needs: Trainings that must be finished before.
        reference: See ``ModelBuilder.student_task``; None to distil logits only.
    """
    builder, fingerprints = setup.builder, setup.fingerprints
    is_main = key == "students"
    return Training(
        key=key,
        stage="students" if is_main else "baselines",
        folder=f"students/{name}" if is_main else f"baselines/{key}/{name}",
        tested_on=(name,),
        **fingerprints.fields(
            builder.taught_on(name),
            setup.cfg.STUDENTS[name],
            **fingerprints.network("STUDENTS", name),
            **fingerprints.distilled(has_features=reference is not None),
            teacher=teacher_inputs,
        ),
        build_model=partial(builder.classifier, "STUDENTS", name),
        build_task=partial(
            builder.student_task, build_teacher=build_teacher, dataset=name, reference=reference
        ),
        load_initial=partial(builder.load_initial, section="STUDENTS", dataset=name),
        needs=needs,
        clips=join_clips([builder.clip("STUDENTS", name)]),
        task_clips=builder.taught_clips(name, teacher_clips),
    )


def reference_student(setup: Setup, name: str) -> str:
    """Return the dataset whose student defines the level shapes of a joint teacher.

    Args:
        setup: The experiment.
        name: Dataset that the joint teacher is for.
    """
    if setup.cfg.JOINT.SCOPE == "target":
        return name
    chosen = str(setup.cfg.JOINT.SHAPES_FROM)
    return setup.names[0] if chosen == "first" else chosen


def joint_inputs(setup: Setup, reference: str) -> dict[str, Any]:
    """Return the fingerprint inputs of a joint teacher beside its experts and its schedule."""
    architecture = setup.builder.architecture("STUDENTS", reference)
    clip = setup.fingerprints.clip_keys("STUDENTS", reference)
    return {**setup.fingerprints.values("joint"), "student": {**asdict(architecture), **clip}}


def _joint_training(
    setup: Setup, folder: str, heads: tuple[str, ...], experts: Mapping[str, Training]
) -> Training:
    builder, fingerprints, joint = setup.builder, setup.fingerprints, setup.cfg.JOINT
    fused = {name: experts[name] for name in builder.fused_experts}
    reference = reference_student(setup, heads[0])
    weights = fingerprints.loss_weights(heads)
    # A single head gets the weight 1, so that LOSS_WEIGHT does not change its fingerprint.
    weights = weights if len(heads) > 1 else dict.fromkeys(heads, 1.0)
    is_tuned = joint.FINE_TUNE != "none"
    return Training(
        key="joint",
        stage="joint",
        folder=folder,
        tested_on=heads,
        **fingerprints.fields(
            heads,
            joint,
            **joint_inputs(setup, reference),
            loss_weights=weights,
            experts={name: training.fingerprint for name, training in fused.items()},
        ),
        clips=builder.expert_clips(),
        build_model=partial(builder.joint_teacher, fused, reference=reference, heads=heads),
        build_task=partial(builder.classification_task, weights=weights),
        needs=tuple(fused.values()),
        lr_scales={"model.experts": joint.FINE_TUNE_LR_SCALE} if is_tuned else {},
    )
