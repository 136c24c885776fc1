"""Networks trained on the clips of all datasets, without distillation.

Students with equal STUDENTS nodes share one network. "At MLFD's cost" means at the clip passes of
MLFD's whole chain: experts, joint teacher, generalist and students.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from videokd.pipeline.method import Method
from videokd.pipeline.model_builder import join_clips
from videokd.pipeline.stages import Setup
from videokd.pipeline.students import expert_start, group_students, lead_of
from videokd.pipeline.training import Training


def one_head_per_dataset(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B2."""
    return [_shared(setup, "B2", names) for names in group_students(setup)]


def one_head(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B3: one head for the classes of all datasets."""
    build = setup.builder.joined_student
    return [
        _shared(setup, "B3", names, build=build, is_joined=True) for names in group_students(setup)
    ]


def at_equal_cost(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B2C: B2 at MLFD's cost."""
    return [
        shared_at_cost(setup, "B2C", names, budget)
        for names, budget in _budgets(setup, method.students.values())
    ]


def from_expert(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B2W: B2 that starts from an expert, at MLFD's cost.

    The expert is the first one of the group that T* fuses, else that of the group's first dataset;
    its own training is part of the cost.
    """
    trainings = []
    for names, budget in _budgets(setup, method.students.values()):
        start = expert_start(setup, lead_of(setup, names), method.experts)
        left = budget - setup.meter.of_chain(start)
        trainings.append(shared_at_cost(setup, "B2W", names, left, start=start))
    return trainings


def fine_tuned(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B2F: B2, then fine-tuned on each dataset, at MLFD's cost.

    BASELINE.FINE_TUNE_SHARE of the passes are those of the fine-tunings, which have equal epochs.
    """
    share = float(setup.cfg.BASELINE.FINE_TUNE_SHARE)
    trainings = []
    for names, budget in _budgets(setup, method.students.values()):
        whole = shared_at_cost(setup, "B2F_joint", names, (1 - share) * budget, is_tested=False)
        trainings.append(whole)
        tuned = [_fine_tuning(setup, name, whole, num_epochs=1) for name in names]
        passes = sum(setup.meter.of_training(training) for training in tuned)
        num_epochs = max(1, round(share * budget / passes))
        trainings += [_fine_tuning(setup, name, whole, num_epochs=num_epochs) for name in names]
    return trainings


def as_large_as_joint_teacher(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B11: B2 with at least T*'s number of parameters, at MLFD's cost."""
    trainings = []
    for names, budget in _budgets(setup, method.students.values()):
        size = setup.meter.num_parameters(method.joints[names[0]])
        factor = setup.builder.find_width_factor(names[0], size)
        build = partial(setup.builder.wide_student, width_factor=factor)
        trainings.append(
            shared_at_cost(setup, "B11", names, budget, build=build, width_factor=factor)
        )
    return trainings


def shared_at_cost(
    setup: Setup, key: str, names: tuple[str, ...], budget: float, **options: Any
) -> Training:
    """Return the training of a shared network whose epochs cost about ``budget`` clip passes.

    Args:
        setup: The experiment.
        key: Row of the result table.
        names: Datasets whose students share the network.
        budget: Clip passes; one epoch is the least.
        **options: See ``_shared``.
    """
    one = _shared(setup, key, names, num_epochs=1, **options)
    num_epochs = max(1, round(budget / setup.meter.of_training(one)))
    return _shared(setup, key, names, num_epochs=num_epochs, **options)


def _budgets(setup: Setup, trainings: Iterable[Training]) -> list[tuple[tuple[str, ...], float]]:
    """Return each group of students with its share of the passes of trainings and their needs."""
    total = setup.meter.of_chain(*trainings)
    return [(names, total * len(names) / len(setup.names)) for names in group_students(setup)]


def _shared(
    setup: Setup,
    key: str,
    names: tuple[str, ...],
    *,
    build: Callable[[str], nn.Module] | None = None,
    num_epochs: int = 0,
    start: Training | None = None,
    is_tested: bool = True,
    **inputs: Any,
) -> Training:
    """Return the training of one network on all datasets.

    Args:
        setup: The experiment.
        key: Row of the result table.
        names: Datasets whose students share the network.
        build: Function that builds the network of a dataset's student; None for one head per
            dataset.
        num_epochs: Epochs; 0 for those of the config.
        start: Training of a network of the same architecture, whose weights it starts from.
        is_tested: Whether it is a row of the result table.
        **inputs: Further fingerprint inputs.
    """
    builder, fingerprints, first = setup.builder, setup.fingerprints, names[0]
    weights = fingerprints.loss_weights(setup.names)
    load_initial = partial(builder.load_initial, section="STUDENTS", dataset=first)
    if start is not None:
        inputs["start"] = [start.fingerprint, first]
        load_initial = partial(builder.copy_trained, source=start, dataset=first)
    return Training(
        key=key,
        stage="baselines",
        folder=f"baselines/{key}/{'-'.join(names)}",
        tested_on=names if is_tested else (),
        **fingerprints.fields(
            setup.names,
            [setup.cfg.STUDENTS[first]],
            num_epochs=num_epochs,
            **fingerprints.network("STUDENTS", first, is_random=start is not None),
            **inputs,
            loss_weights=weights,
        ),
        clips=join_clips([builder.clip("STUDENTS", first)]),
        build_model=partial(build or builder.shared_student, first),
        build_task=partial(setup.tasks.classification, weights=weights),
        load_initial=load_initial,
        needs=() if start is None else (start,),
    )


def _fine_tuning(setup: Setup, name: str, start: Training, *, num_epochs: int) -> Training:
    builder, fingerprints = setup.builder, setup.fingerprints
    return Training(
        key="B2F",
        stage="baselines",
        folder=f"baselines/B2F/{name}",
        tested_on=(name,),
        **fingerprints.fields(
            (name,),
            [setup.cfg.STUDENTS[name]],
            num_epochs=num_epochs,
            lr_scale=float(setup.cfg.BASELINE.FINE_TUNE_LR_SCALE),
            **fingerprints.network("STUDENTS", name, is_random=True),
            start=[start.fingerprint, name],
        ),
        clips=join_clips([builder.clip("STUDENTS", name)]),
        build_model=partial(builder.classifier, "STUDENTS", name),
        build_task=partial(setup.tasks.classification, weights={name: 1.0}),
        load_initial=partial(builder.copy_trained, source=start, dataset=name),
        needs=(start,),
    )
