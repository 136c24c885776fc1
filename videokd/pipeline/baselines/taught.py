"""Students of teachers other than the joint teacher, with the steps of MLFD's students."""

from functools import partial

from videokd.pipeline.baselines.joint import shared_at_cost
from videokd.pipeline.method import Method
from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.stages import Setup, joint_inputs, reference_student
from videokd.pipeline.students import (
    Teacher,
    distilled_training,
    group_students,
    own_start,
    trained_teacher,
)
from videokd.pipeline.training import Training


def own_logits(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B4: the logits of the student's own expert."""
    return [
        _student(setup, "B4", name, method, trained_teacher(setup, method.experts[name]))
        for name in setup.names
    ]


def own_levels(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B4F: the own expert's levels and logits, taught as T*'s are."""
    return [
        _student(
            setup,
            "B4F",
            name,
            method,
            trained_teacher(setup, method.experts[name], setup.tasks.expert_shapes(name)),
        )
        for name in setup.names
    ]


def averaged_experts(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B5: the averaged logits of all experts.

    Each expert has a linear head that is fitted on the student's dataset first.
    """
    trainings = []
    for name in setup.names:
        teacher = _ensemble(setup, name, method)
        trainings += [
            teacher,
            _student(setup, "B5", name, method, trained_teacher(setup, teacher)),
        ]
    return trainings


def untrained_teacher(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B7, the control: a joint teacher that is not trained."""
    trainings = []
    for name in setup.names:
        reference = reference_student(setup, name)
        heads = (name,) if setup.cfg.JOINT.SCOPE == "target" else setup.names
        untrained = {
            key: setup.fingerprints.network("EXPERTS", key, is_random=True)
            for key in setup.builder.fused_experts
        }
        teacher = Teacher(
            partial(setup.builder.untrained_teacher, reference, heads),
            {**joint_inputs(setup, reference), "untrained": untrained, "heads": heads},
            setup.builder.expert_clips(),
            shapes=setup.tasks.fused_shapes(reference),
        )
        trainings.append(_student(setup, "B7", name, method, teacher))
    return trainings


def jointly_trained_teacher(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B9: the teacher is B2 at the cost of the experts and T*."""
    total = setup.meter.of_chain(*method.joints.values())
    trainings = []
    for names in group_students(setup):
        budget = total * len(names) / len(setup.names)
        network = shared_at_cost(setup, "B9_teacher", names, budget, is_tested=False)
        trainings.append(network)
        for name in names:
            teacher = trained_teacher(setup, network, setup.tasks.fused_shapes(name))
            trainings.append(_student(setup, "B9", name, method, teacher))
    return trainings


def all_experts(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B10: the levels of all experts, one projector each, and no T*.

    The logits are those of the student's own expert. This is the direct teaching by several
    teachers of UNIC (Sariyildiz et al. 2024).
    """
    trainings = []
    for name in setup.names:
        fused = dict.fromkeys([name, *setup.builder.fused_experts])
        experts = {key: method.experts[key] for key in fused}
        teacher = Teacher(
            partial(setup.builder.expert_group, experts, name),
            {key: training.fingerprint for key, training in experts.items()},
            join_clips([setup.builder.clip("EXPERTS", key) for key in experts]),
            tuple(experts.values()),
            {key: setup.tasks.expert_shapes(key) for key in experts},
        )
        trainings.append(_student(setup, "B10", name, method, teacher))
    return trainings


def _student(setup: Setup, key: str, name: str, method: Method, teacher: Teacher) -> Training:
    start = own_start(setup, name, method.experts)
    return distilled_training(setup, key, name, teacher=teacher, start=start)


def _ensemble(setup: Setup, name: str, method: Method) -> Training:
    builder = setup.builder
    fused = {key: method.experts[key] for key in builder.fused_experts}
    return Training(
        key="B5_teachers",
        stage="baselines",
        folder=f"baselines/B5_teachers/{name}",
        tested_on=(),
        **setup.fingerprints.fields(
            (name,),
            [setup.cfg.STUDENTS[name]],
            ensemble={key: training.fingerprint for key, training in fused.items()},
        ),
        clips=builder.expert_clips(),
        build_model=partial(builder.ensemble, fused, name),
        build_task=setup.tasks.ensemble,
        needs=tuple(fused.values()),
    )
