"""Students of teachers other than the joint teacher, with the steps of MLFD's students.

A teacher of all datasets teaches as T* does, a generalist first if MLFD has one. A teacher of one
dataset teaches its student for as many steps.
"""

from collections.abc import Mapping
from functools import partial

from videokd.pipeline.baselines.joint import shared_at_cost
from videokd.pipeline.method import Method
from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.stages import Setup, joint_inputs, reference_student
from videokd.pipeline.students import (
    Teacher,
    distilled_training,
    generalist_training,
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
    teachers = {}
    for name in setup.names:
        reference = reference_student(setup, name)
        heads = (name,) if setup.cfg.JOINT.SCOPE == "target" else setup.names
        untrained = {
            key: setup.fingerprints.network("EXPERTS", key, is_random=True)
            for key in setup.builder.fused_experts
        }
        teachers[name] = Teacher(
            partial(setup.builder.untrained_teacher, reference, heads),
            {**joint_inputs(setup, reference), "untrained": untrained, "heads": heads},
            setup.builder.expert_clips(),
            shapes=setup.tasks.fused_shapes(reference),
        )
    groups = group_students(setup)
    return [t for names in groups for t in _taught_like_mlfd(setup, "B7", names, method, teachers)]


def jointly_trained_teacher(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B9: the teacher is B2 at the cost of the experts and T*."""
    total = setup.meter.of_chain(*method.joints.values())
    trainings = []
    for names in group_students(setup):
        budget = total * len(names) / len(setup.names)
        network = shared_at_cost(setup, "B9_teacher", names, budget, is_tested=False)
        teacher = trained_teacher(setup, network, setup.tasks.fused_shapes(names[0]))
        teachers = dict.fromkeys(names, teacher)
        trainings += [network, *_taught_like_mlfd(setup, "B9", names, method, teachers)]
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


def _taught_like_mlfd(
    setup: Setup,
    key: str,
    names: tuple[str, ...],
    method: Method,
    teachers: Mapping[str, Teacher],
) -> list[Training]:
    if not method.generalists:
        return [_student(setup, key, name, method, teachers[name]) for name in names]
    first = teachers[names[0]]
    generalist = generalist_training(setup, names, first, key=f"{key}_generalist")
    students = [
        distilled_training(setup, key, name, teacher=teachers[name], start=generalist)
        for name in names
    ]
    return [generalist, *students]


def _student(setup: Setup, key: str, name: str, method: Method, teacher: Teacher) -> Training:
    if method.generalists:
        steps = method.num_steps(name)
        return distilled_training(setup, key, name, teacher=teacher, num_steps=steps)
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
