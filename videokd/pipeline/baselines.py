"""Baselines for the comparison with MLFD (METHOD), one function each.

B1 is the student alone. B2 is trained jointly with one head per dataset, B3 with one head for all
classes. B4 is distilled from its own expert's logits, and B5 from the average of all experts, each
with a linear head fitted on the dataset. B7 is distilled from an untrained joint teacher. B6 is the
joint teacher and the experts, which are rows of every result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.stages import (
    Setup,
    classifier_training,
    distilled_from,
    distilled_training,
    joint_inputs,
    reference_student,
)
from videokd.pipeline.training import Training
from videokd.utils.io import sha256_json


def baseline_trainings(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    """Return the trainings of the baselines that the config names.

    Args:
        setup: The experiment.
        experts: Dataset name -> the training of its expert.
    """
    return [
        training
        for key, baseline in BASELINES.items()
        if key in setup.cfg.BASELINES
        for training in baseline.make(setup, experts)
    ]


def expert_is_student(setup: Setup, name: str) -> bool:
    """Return whether a dataset's expert and its student alone are the same training."""
    return bool(setup.cfg.EXPERTS[name] == setup.cfg.STUDENTS[name])


def _students_alone(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    # A student with the architecture and training of its expert is that expert.
    return [
        classifier_training(setup, "STUDENTS", name, key="B1", stage="baselines")
        for name in setup.names
        if not expert_is_student(setup, name)
    ]


def _one_head_per_dataset(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    return _shared(setup, "B2", setup.builder.shared_student)


def _one_head(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    return _shared(setup, "B3", setup.builder.joined_student, is_joined=True)


def _shared(
    setup: Setup, key: str, build: Callable[[str], nn.Module], **inputs: Any
) -> list[Training]:
    # Students of the same architecture share one jointly trained network.
    owners: dict[str, list[str]] = {}
    for name in setup.names:
        owners.setdefault(sha256_json(setup.cfg.STUDENTS[name]), []).append(name)
    builder, fingerprints = setup.builder, setup.fingerprints
    weights = fingerprints.loss_weights(setup.names)
    return [
        Training(
            key=key,
            stage="baselines",
            folder=f"baselines/{key}/{'-'.join(names)}",
            tested_on=tuple(names),
            **fingerprints.fields(
                setup.names,
                setup.cfg.STUDENTS[names[0]],
                **fingerprints.network("STUDENTS", names[0]),
                **inputs,
                loss_weights=weights,
            ),
            clips=join_clips([builder.clip("STUDENTS", names[0])]),
            build_model=partial(build, names[0]),
            build_task=partial(builder.classification_task, weights=weights),
            load_initial=partial(builder.load_initial, section="STUDENTS", dataset=names[0]),
        )
        for names in owners.values()
    ]


def _own_expert(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    return [distilled_from(setup, "B4", name, teacher=experts[name]) for name in setup.names]


def _averaged_experts(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    trainings = []
    for name in setup.names:
        teacher = _ensemble(setup, name, experts)
        trainings += [teacher, distilled_from(setup, "B5", name, teacher=teacher)]
    return trainings


def _ensemble(setup: Setup, name: str, experts: Mapping[str, Training]) -> Training:
    builder = setup.builder
    fused = {key: experts[key] for key in builder.fused_experts}
    return Training(
        key="B5_teachers",
        stage="baselines",
        folder=f"baselines/B5_teachers/{name}",
        tested_on=(),
        **setup.fingerprints.fields(
            (name,),
            setup.cfg.STUDENTS[name],
            ensemble={key: training.fingerprint for key, training in fused.items()},
        ),
        clips=builder.expert_clips(),
        build_model=partial(builder.ensemble, fused, name),
        build_task=builder.ensemble_task,
        needs=tuple(fused.values()),
    )


def _untrained_teacher(setup: Setup, experts: Mapping[str, Training]) -> list[Training]:
    trainings = []
    for name in setup.names:
        reference = reference_student(setup, name)
        heads = (name,) if setup.cfg.JOINT.SCOPE == "target" else setup.names
        untrained = {
            key: setup.fingerprints.network("EXPERTS", key, is_random=True)
            for key in setup.builder.fused_experts
        }
        inputs = {**joint_inputs(setup, reference), "untrained": untrained, "heads": heads}
        trainings.append(
            distilled_training(
                setup,
                "B7",
                name,
                build_teacher=partial(setup.builder.untrained_teacher, reference, heads),
                teacher_inputs=inputs,
                teacher_clips=setup.builder.expert_clips(),
                reference=reference,
            )
        )
    return trainings


@dataclass(frozen=True)
class Baseline:
    """Row of the result table that is compared with MLFD's students."""

    title: str
    make: Callable[[Setup, Mapping[str, Training]], list[Training]]
    """Function from the experiment and the experts' trainings, by dataset, to the trainings."""


# Value of the key BASELINES -> baseline, in the order of the result table.
BASELINES: Mapping[str, Baseline] = {
    "B1": Baseline("student alone", _students_alone),
    "B2": Baseline("trained jointly", _one_head_per_dataset),
    "B3": Baseline("jointly, one head", _one_head),
    "B4": Baseline("own expert's logits", _own_expert),
    "B5": Baseline("averaged experts' logits", _averaged_experts),
    "B7": Baseline("untrained T* (control)", _untrained_teacher),
}
