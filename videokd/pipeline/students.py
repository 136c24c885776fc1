"""Trainings with a teacher: generalists, students, and the baselines that are distilled."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.models.levels import LevelShapes
from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.stages import Setup, reference_student
from videokd.pipeline.task_builder import TaughtShapes
from videokd.pipeline.training import Training
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_json


@dataclass(frozen=True)
class Teacher:
    """A teacher, as the training of its student needs it."""

    build: Callable[[], nn.Module]
    """Function that returns the teacher with its weights."""
    inputs: Any
    """Fingerprint inputs of its weights."""
    clips: ClipSet
    needs: tuple[Training, ...] = ()
    """Trainings that must be finished before."""
    shapes: TaughtShapes = None


def trained_teacher(setup: Setup, training: Training, shapes: LevelShapes | None = None) -> Teacher:
    """Return the model of a training as a teacher.

    Args:
        setup: The experiment.
        training: Training of the teacher.
        shapes: Shapes of the taught levels; None to distil logits only.
    """
    return Teacher(
        partial(setup.builder.load, training),
        training.fingerprint,
        training.clips,
        (training,),
        shapes,
    )


def generalist_trainings(
    setup: Setup, experts: Mapping[str, Training], joints: Mapping[str, Training]
) -> dict[str, Training]:
    """Return dataset name -> its generalist, if DISTILL.INIT is generalist; else nothing.

    A generalist is one network with a classifier per dataset, taught by the joint teacher on the
    clips of all datasets. Students with equal STUDENTS nodes share one.

    Args:
        setup: The experiment.
        experts: Dataset name -> the training of its expert.
        joints: Dataset name -> the training of its joint teacher.

    Raises:
        InputError: There are several joint teachers.
    """
    if setup.cfg.DISTILL.INIT != "generalist":
        return {}
    if setup.cfg.JOINT.SCOPE == "target":
        raise InputError(
            "DISTILL.INIT generalist needs one joint teacher of all datasets; set JOINT.SCOPE all"
        )
    found: dict[str, Training] = {}
    for names in group_students(setup):
        first, init = lead_of(setup, names), setup.cfg.GENERALIST.INIT
        sources = {"random": None, "expert": experts[first], "joint": joints[first]}
        start = _checked_start(setup, init, first, sources[init], key="GENERALIST.INIT")
        shapes = setup.tasks.fused_shapes(reference_student(setup, first))
        teacher = trained_teacher(setup, joints[first], shapes)
        found |= dict.fromkeys(names, generalist_training(setup, names, teacher, start=start))
    return {name: found[name] for name in setup.names}


def student_trainings(
    setup: Setup,
    experts: Mapping[str, Training],
    joints: Mapping[str, Training],
    generalists: Mapping[str, Training],
) -> dict[str, Training]:
    """Return dataset name -> the training of its student.

    Args:
        setup: The experiment.
        experts: Dataset name -> the training of its expert.
        joints: Dataset name -> the training of its joint teacher.
        generalists: Dataset name -> the training of its generalist; empty without generalists.
    """
    sources: dict[str, Mapping[str, Training]] = {
        "random": {},
        "expert": experts,
        "joint": joints,
        "generalist": generalists,
    }
    init = setup.cfg.DISTILL.INIT
    trainings = {}
    for name in setup.names:
        shapes = setup.tasks.fused_shapes(reference_student(setup, name))
        trainings[name] = distilled_training(
            setup,
            "students",
            name,
            teacher=trained_teacher(setup, joints[name], shapes),
            start=_checked_start(setup, init, name, sources[init].get(name)),
        )
    return trainings


def distilled_training(
    setup: Setup,
    key: str,
    name: str,
    *,
    teacher: Teacher,
    start: Training | None = None,
    num_steps: int = 0,
) -> Training:
    """Return the training of the student of one dataset.

    Args:
        setup: The experiment.
        key: Row of the result table.
        name: The student's dataset.
        teacher: Its teacher.
        start: Training whose weights the student starts from; None for the student's WEIGHTS.
        num_steps: Steps, rounded up to whole epochs, at the learning rate of the student alone; 0
            for the schedule of DISTILL.
    """
    is_main = key == "students"
    own = setup.cfg.STUDENTS[name]
    steps_per_epoch = setup.fingerprints.steps_per_epoch(setup.tasks.taught_on(name))
    return _distilled(
        setup,
        teacher,
        like=name,
        dataset=name,
        start=start,
        nodes=[own] if num_steps else [setup.cfg.DISTILL, own],
        num_epochs=math.ceil(num_steps / steps_per_epoch),
        names={
            "key": key,
            "stage": "students" if is_main else "baselines",
            "folder": f"students/{name}" if is_main else f"baselines/{key}/{name}",
            "tested_on": (name,),
        },
    )


def own_start(setup: Setup, name: str, experts: Mapping[str, Training]) -> Training | None:
    """Return what a student of another teacher starts from: its expert, or its WEIGHTS (None).

    If MLFD's students start from trained weights, those that they are compared with start from
    their experts where the networks are the same.
    """
    kinds = [setup.builder.architecture(part, name) for part in ("EXPERTS", "STUDENTS")]
    if setup.cfg.DISTILL.INIT == "random" or kinds[0] != kinds[1]:
        return None
    return experts[name]


def expert_start(setup: Setup, name: str, experts: Mapping[str, Training]) -> Training:
    """Return the training of a student's expert, after a check that their networks are the same.

    Raises:
        InputError: The networks differ.
    """
    _check_same_network(setup, name, "BASELINES B2W", "leave it out")
    return experts[name]


def group_students(setup: Setup) -> list[tuple[str, ...]]:
    """Return the datasets in groups with equal STUDENTS nodes, which can share one network."""
    groups: dict[str, list[str]] = {}
    for name in setup.names:
        groups.setdefault(sha256_json(setup.cfg.STUDENTS[name]), []).append(name)
    return [tuple(names) for names in groups.values()]


def lead_of(setup: Setup, names: Sequence[str]) -> str:
    """Return the dataset whose expert a network of all ``names`` starts from.

    It is the first whose expert the joint teacher fuses, or the first of all if it fuses none.
    """
    fused = [name for name in names if name in setup.builder.fused_experts]
    return (fused or names)[0]


def generalist_training(
    setup: Setup,
    names: tuple[str, ...],
    teacher: Teacher,
    *,
    key: str = "generalist",
    start: Training | None = None,
) -> Training:
    """Return the training of the generalist of students with equal STUDENTS nodes.

    Args:
        setup: The experiment.
        names: Datasets of these students.
        teacher: A teacher that classifies all datasets.
        key: Row of the result table; a generalist of another teacher is not tested.
        start: Training whose weights it starts from; None for the student's WEIGHTS.
    """
    is_main = key == "generalist"
    return _distilled(
        setup,
        teacher,
        like=lead_of(setup, names),
        dataset=None,
        start=start,
        nodes=[setup.cfg.GENERALIST, setup.cfg.STUDENTS[names[0]]],
        names={
            "key": key,
            "stage": "generalist" if is_main else "baselines",
            "folder": f"{'' if is_main else 'baselines/'}{key}/{'-'.join(names)}",
            "tested_on": names if is_main else (),
        },
    )


def _distilled(
    setup: Setup,
    teacher: Teacher,
    *,
    like: str,
    dataset: str | None,
    start: Training | None,
    nodes: list[Any],
    names: Mapping[str, Any],
    num_epochs: int = 0,
) -> Training:
    builder, fingerprints, tasks = setup.builder, setup.fingerprints, setup.tasks
    if dataset is None:
        build_model = partial(builder.shared_student, like)
    else:
        build_model = partial(builder.classifier, "STUDENTS", like)
    parts: dict[str, Any] = {"teacher": teacher.inputs}
    load_initial = partial(builder.load_initial, section="STUDENTS", dataset=like)
    needs = [*teacher.needs, *([] if start is None else [start])]
    if start is not None:
        parts["start"] = [start.fingerprint, like]
        load_initial = partial(builder.copy_trained, source=start, dataset=like)
    return Training(
        **names,
        **fingerprints.fields(
            tasks.taught_on(dataset),
            nodes,
            num_epochs=num_epochs,
            own=dataset or "",
            **fingerprints.network("STUDENTS", like, is_random=start is not None),
            **fingerprints.distilled(has_features=teacher.shapes is not None),
            **parts,
        ),
        build_model=build_model,
        build_task=partial(
            tasks.distillation,
            build_teacher=teacher.build,
            like=like,
            dataset=dataset,
            shapes=teacher.shapes,
        ),
        load_initial=load_initial,
        needs=tuple({need.folder: need for need in needs}.values()),
        clips=join_clips([builder.clip("STUDENTS", like)]),
        task_clips=tasks.taught_clips(like, teacher.clips),
    )


def _checked_start(
    setup: Setup, init: str, name: str, source: Training | None, *, key: str = "DISTILL.INIT"
) -> Training | None:
    """Return the training to start from, after a check that its network is the student's.

    Raises:
        InputError: The networks differ, or the joint teacher has no copy of the expert.
    """
    if source is None or init == "generalist":
        return source
    joint = setup.cfg.JOINT
    if init == "joint" and (joint.FINE_TUNE == "none" or name not in setup.builder.fused_experts):
        raise InputError(
            f"{key} joint starts the student of {name} from the joint teacher's own copy of its "
            f"expert; set JOINT.FINE_TUNE all, and name {name} in JOINT.EXPERTS"
        )
    _check_same_network(setup, name, f"{key} {init}", f"set {key} random")
    return source


def _check_same_network(setup: Setup, name: str, cause: str, advice: str) -> None:
    expert, student = (setup.builder.architecture(s, name) for s in ("EXPERTS", "STUDENTS"))
    if expert != student:
        raise InputError(
            f"{cause} needs a student of its expert's architecture: EXPERTS.{name} is "
            f"{expert.name} {expert.arguments}, STUDENTS.{name} is {student.name} "
            f"{student.arguments}; {advice}"
        )
