"""Students alone: each trained on the labels of its dataset, without a teacher."""

import math

from videokd.pipeline.method import Method
from videokd.pipeline.stages import Setup, classifier_training
from videokd.pipeline.training import Training


def students_alone(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B1.

    A student with the architecture and training of its expert is that expert, so it has none.
    """
    return [
        classifier_training(setup, "STUDENTS", name, key="B1", stage="baselines")
        for name in setup.names
        if setup.cfg.EXPERTS[name] != setup.cfg.STUDENTS[name]
    ]


def long_students_alone(setup: Setup, method: Method) -> list[Training]:
    """Return the trainings of B1x: as many steps as MLFD's student, its generalist's included."""
    trainings = []
    for name in setup.names:
        steps_per_epoch = setup.fingerprints.steps_per_epoch((name,))
        num_epochs = math.ceil(method.num_steps(name) / steps_per_epoch)
        trainings.append(
            classifier_training(
                setup, "STUDENTS", name, key="B1x", stage="baselines", num_epochs=num_epochs
            )
        )
    return trainings
