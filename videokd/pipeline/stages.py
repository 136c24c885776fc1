"""Trainings of experts and joint teachers (METHOD, stages 1 and 2); see ``students`` for stage 3.

The functions only describe trainings. Models and tasks are built by ``ModelBuilder`` when a
training starts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from fvcore.common.config import CfgNode

from videokd.pipeline.cost import CostMeter
from videokd.pipeline.fingerprint import Fingerprints
from videokd.pipeline.model_builder import ModelBuilder, join_clips
from videokd.pipeline.task_builder import TaskBuilder
from videokd.pipeline.training import Training


@dataclass(frozen=True)
class Setup:
    """A config, and what turns it into trainings."""

    cfg: CfgNode
    names: tuple[str, ...]
    """Datasets, in the order of DATASETS."""
    builder: ModelBuilder
    tasks: TaskBuilder
    fingerprints: Fingerprints
    meter: CostMeter


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


def classifier_training(
    setup: Setup, section: str, name: str, *, key: str, stage: str, num_epochs: int = 0
) -> Training:
    """Return the training of a network on the labels of its dataset only.

    An expert with TRAIN False is used as loaded: its training has no steps.

    Args:
        setup: The experiment.
        section: "EXPERTS" or "STUDENTS".
        name: Name of the network's dataset.
        key: Row of the result table.
        stage: Stage of the training.
        num_epochs: Epochs; 0 for those of the config.
    """
    builder, fingerprints, node = setup.builder, setup.fingerprints, setup.cfg[section][name]
    network = fingerprints.network(section, name)
    if node.TRAIN:
        fields = fingerprints.fields((name,), [node], num_epochs=num_epochs, **network)
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
        build_task=partial(setup.tasks.classification, weights={name: 1.0}),
        load_initial=partial(builder.load_initial, section=section, dataset=name),
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
            [joint],
            **joint_inputs(setup, reference),
            loss_weights=weights,
            experts={name: training.fingerprint for name, training in fused.items()},
        ),
        clips=builder.expert_clips(),
        build_model=partial(builder.joint_teacher, fused, reference=reference, heads=heads),
        build_task=partial(setup.tasks.classification, weights=weights),
        needs=tuple(fused.values()),
        lr_scales={"model.experts": joint.FINE_TUNE_LR_SCALE} if is_tuned else {},
    )
