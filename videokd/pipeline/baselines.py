"""Baselines for the comparison with MLFD (METHOD): B1 to B5 and B7.

B1 is the student alone. B2 is trained jointly with one head per dataset, B3 with one head for all
classes. B4 is distilled from its own expert's logits, and B5 from the average of all experts, each
with a linear head fitted on the dataset. B7 is distilled from an untrained joint teacher. B6 is the
joint teacher and the experts, which are rows of every result.
"""

from functools import partial
from typing import Any

from torch import nn

from videokd.distill.build import build_cache
from videokd.distill.ensemble import EnsembleTask
from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.training import Training
from videokd.pipeline.trainings import TrainingMaker
from videokd.utils.io import sha256_json


def make_baselines(maker: TrainingMaker, experts: dict[str, Training]) -> list[Training]:
    """Return the trainings of the baselines that the config names.

    Args:
        maker: Builder of the config's trainings.
        experts: Dataset name -> the training of its expert.
    """
    wanted, names = maker.cfg.BASELINES, maker.names
    trainings: list[Training] = []
    if "B1" in wanted:
        # A student with the architecture and training of its expert is that expert.
        trainings += [
            maker.alone("B1", "baselines", f"baselines/B1/{name}", "STUDENTS", name)
            for name in names
            if not expert_is_student(maker, name)
        ]
    if "B2" in wanted:
        trainings += _shared(maker, "B2")
    if "B3" in wanted:
        trainings += _shared(maker, "B3")
    if "B4" in wanted:
        trainings += [_own_expert(maker, name, experts[name]) for name in names]
    if "B5" in wanted:
        for name in names:
            teacher = _ensemble(maker, name, experts)
            trainings += [teacher, _averaged_experts(maker, name, teacher)]
    if "B7" in wanted:
        trainings += [_untrained(maker, name) for name in names]
    return trainings


def expert_is_student(maker: TrainingMaker, name: str) -> bool:
    """Return whether a dataset's expert and its student alone are the same training."""
    return bool(maker.cfg.EXPERTS[name] == maker.cfg.STUDENTS[name])


def _shared(maker: TrainingMaker, key: str) -> list[Training]:
    # Students of the same architecture share one jointly trained network.
    owners: dict[str, list[str]] = {}
    for name in maker.names:
        owners.setdefault(sha256_json(maker.cfg.STUDENTS[name]), []).append(name)
    build = {"B2": maker.builder.shared_student, "B3": maker.builder.joined_student}[key]
    weights = maker.fingerprints.loss_weights(maker.names)
    trainings = []
    for names in owners.values():
        inputs: dict[str, Any] = maker.fingerprints.network("STUDENTS", names[0])
        if key == "B3":
            inputs["is_joined"] = True
        trainings.append(
            Training(
                key=key,
                stage="baselines",
                folder=f"baselines/{key}/{'-'.join(names)}",
                tested_on=tuple(names),
                **maker.fingerprints.fields(
                    maker.names, maker.cfg.STUDENTS[names[0]], **inputs, loss_weights=weights
                ),
                clips=join_clips([maker.builder.clip("STUDENTS", names[0])]),
                make_model=partial(build, names[0]),
                make_task=lambda model: maker.builder.classification_task(model, weights),
                load_initial=maker.builder.initial_weights("STUDENTS", names[0]),
            )
        )
    return trainings


def _own_expert(maker: TrainingMaker, name: str, expert: Training) -> Training:
    return maker.distilled(
        "B4",
        f"baselines/B4/{name}",
        name,
        make_teacher=lambda: maker.load_model(expert),
        teacher=expert.fingerprint,
        teacher_clips=expert.clips,
        needs=(expert,),
        reference=None,
    )


def _ensemble(maker: TrainingMaker, name: str, experts: dict[str, Training]) -> Training:
    fused = {key: experts[key] for key in maker.builder.fused_experts}

    def make_model() -> nn.Module:
        loaded = {key: maker.load_classifier(training) for key, training in fused.items()}
        return maker.builder.ensemble(loaded, name)

    return Training(
        key="B5_teachers",
        stage="baselines",
        folder=f"baselines/B5_teachers/{name}",
        tested_on=(),
        **maker.fingerprints.fields(
            (name,),
            maker.cfg.STUDENTS[name],
            ensemble={key: training.fingerprint for key, training in fused.items()},
        ),
        clips=maker.builder.expert_clips(),
        make_model=make_model,
        make_task=lambda model: EnsembleTask(model, cache=build_cache(maker.cfg.DISTILL)),
        needs=tuple(fused.values()),
    )


def _averaged_experts(maker: TrainingMaker, name: str, teacher: Training) -> Training:
    return maker.distilled(
        "B5",
        f"baselines/B5/{name}",
        name,
        make_teacher=lambda: maker.load_model(teacher),
        teacher=teacher.fingerprint,
        teacher_clips=teacher.clips,
        needs=(teacher,),
        reference=None,
    )


def _untrained(maker: TrainingMaker, name: str) -> Training:
    reference = maker.reference(name)
    heads = (name,) if maker.cfg.JOINT.SCOPE == "target" else maker.names
    experts = {
        key: maker.fingerprints.network("EXPERTS", key, is_random=True)
        for key in maker.builder.fused_experts
    }
    return maker.distilled(
        "B7",
        f"baselines/B7/{name}",
        name,
        make_teacher=lambda: maker.builder.untrained_teacher(reference, heads),
        teacher_clips=maker.builder.expert_clips(),
        teacher={**maker.joint_inputs(reference), "untrained": experts, "heads": heads},
        needs=(),
        reference=reference,
    )
