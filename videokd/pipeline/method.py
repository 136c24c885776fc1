"""The trainings of MLFD itself: experts, joint teachers, generalists and students."""

from collections.abc import Mapping
from dataclasses import dataclass

from videokd.pipeline.stages import Setup, expert_trainings, joint_trainings
from videokd.pipeline.students import generalist_trainings, student_trainings
from videokd.pipeline.training import Training


@dataclass(frozen=True)
class Method:
    """Trainings of MLFD, each mapping from a dataset's name."""

    experts: Mapping[str, Training]
    joints: Mapping[str, Training]
    """One for all datasets, or one each if JOINT.SCOPE is "target"."""
    generalists: Mapping[str, Training]
    """Empty unless DISTILL.INIT is "generalist"."""
    students: Mapping[str, Training]

    def num_steps(self, name: str) -> int:
        """Return the steps of the student of a dataset, with those of its generalist."""
        generalist = self.generalists.get(name)
        return self.students[name].num_steps + (generalist.num_steps if generalist else 0)

    @property
    def trainings(self) -> list[Training]:
        """All trainings, each once, in the order of their stages."""
        every = (self.experts, self.joints, self.generalists, self.students)
        return list({t.folder: t for stage in every for t in stage.values()}.values())


def plan_method(setup: Setup) -> Method:
    """Return the trainings of MLFD under a config."""
    experts = expert_trainings(setup)
    joints = joint_trainings(setup, experts)
    generalists = generalist_trainings(setup, experts, joints)
    students = student_trainings(setup, experts, joints, generalists)
    return Method(experts, joints, generalists, students)
