"""Table of the baselines: value of the key BASELINES -> title and trainings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from videokd.pipeline.baselines import alone, joint, taught
from videokd.pipeline.method import Method
from videokd.pipeline.stages import Setup
from videokd.pipeline.training import Training


@dataclass(frozen=True)
class Baseline:
    """Row of the result table that is compared with MLFD's students."""

    title: str
    make: Callable[[Setup, Method], list[Training]]
    """Function from the experiment and MLFD's trainings to the baseline's trainings."""


# In the order of the result table.
BASELINES: Mapping[str, Baseline] = {
    "B1": Baseline("student alone", alone.students_alone),
    "B1x": Baseline("student alone, with MLFD's steps", alone.long_students_alone),
    "B2": Baseline("trained jointly", joint.one_head_per_dataset),
    "B2C": Baseline("trained jointly, at MLFD's cost", joint.at_equal_cost),
    "B2W": Baseline("jointly from an expert, at MLFD's cost", joint.from_expert),
    "B2F": Baseline("jointly, then fine-tuned, at MLFD's cost", joint.fine_tuned),
    "B3": Baseline("jointly, one head", joint.one_head),
    "B4": Baseline("own expert's logits", taught.own_logits),
    "B4F": Baseline("own expert's levels and logits", taught.own_levels),
    "B5": Baseline("averaged experts' logits", taught.averaged_experts),
    "B7": Baseline("untrained T* (control)", taught.untrained_teacher),
    "B9": Baseline("taught by a jointly trained network", taught.jointly_trained_teacher),
    "B10": Baseline("taught by all experts, without T*", taught.all_experts),
    "B11": Baseline("jointly, as large as T*, at MLFD's cost", joint.as_large_as_joint_teacher),
}


def baseline_trainings(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of the baselines that the config names.

    Args:
        setup: The experiment.
        method: MLFD's trainings.
    """
    return [
        training
        for key, baseline in BASELINES.items()
        if key in setup.cfg.BASELINES
        for training in baseline.make(setup, method)
    ]
