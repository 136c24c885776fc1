"""Builder of the tasks of an experiment's trainings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.clip_spec import ClipSet
from videokd.distill.build import build_cache, build_mixing, build_objective
from videokd.distill.ensemble import EnsembleTask, ExpertEnsemble
from videokd.distill.expert_group import GroupObjective
from videokd.distill.objective import DistillObjective
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.classifier import VideoClassifier, VideoModel
from videokd.models.levels import LevelShapes
from videokd.pipeline.model_builder import ModelBuilder, join_clips

_PROJECTOR_SEED = 998

TaughtShapes = LevelShapes | dict[str, LevelShapes] | None
"""Shapes of a teacher's taught levels; by expert for an ``ExpertGroup``; None for logits only."""


class TaskBuilder:
    """Builder of the tasks that a config describes.

    Args:
        cfg: The whole config.
        models: Builder of the models of that config.
        names: Datasets, in the order of DATASETS.
    """

    def __init__(self, cfg: CfgNode, models: ModelBuilder, names: Sequence[str]) -> None:
        self._cfg = cfg
        self._models = models
        self._names = tuple(names)

    def classification(self, model: VideoModel, weights: Mapping[str, float]) -> ClassificationTask:
        """Build the task of a model that is trained on labels only."""
        has_frozen = isinstance(model, JointTeacher) and self._cfg.JOINT.FINE_TUNE == "none"
        return ClassificationTask(
            model,
            weights,
            mixing=build_mixing(self._cfg.MIXUP),
            expert_cache=build_cache(self._cfg.DISTILL) if has_frozen else None,
        )

    def ensemble(self, model: ExpertEnsemble) -> EnsembleTask:
        """Build the task that fits the heads of averaged experts."""
        return EnsembleTask(model, cache=build_cache(self._cfg.DISTILL))

    def distillation(
        self,
        student: VideoClassifier,
        *,
        build_teacher: Callable[[], nn.Module],
        like: str,
        dataset: str | None,
        shapes: TaughtShapes,
    ) -> StudentTask:
        """Build the task of a student.

        Args:
            student: The network to train, that of STUDENTS.<like>.
            build_teacher: Function that returns a model that classifies the student's datasets.
            like: Dataset whose STUDENTS node describes the student.
            dataset: Dataset that the student is for; None for a generalist of all datasets.
            shapes: Shapes of the teacher's taught levels, see ``TaughtShapes``.
        """
        build = partial(
            build_objective,
            self._cfg.DISTILL,
            student=self._models.shapes("STUDENTS", like),
            seed=int(self._cfg.SEED) * 1000 + _PROJECTOR_SEED,
        )
        objective: DistillObjective | GroupObjective
        if isinstance(shapes, dict):
            objective = GroupObjective({name: build(teacher=own) for name, own in shapes.items()})
        else:
            objective = build(teacher=shapes)
        return StudentTask(
            student,
            build_teacher(),
            dataset=dataset,
            objective=objective,
            trained_on=self.taught_on(dataset),
            mixing=build_mixing(self._cfg.MIXUP),
            is_fixed=self._cfg.DISTILL.TEACHING == "fixed",
            cache=build_cache(self._cfg.DISTILL),
        )

    def taught_on(self, dataset: str | None) -> tuple[str, ...]:
        """Return the datasets whose clips distil the student of ``dataset``; None for all."""
        if dataset is None or self._cfg.DISTILL.CLIPS == "all":
            return self._names
        return (dataset,)

    def taught_clips(self, like: str, teacher: ClipSet) -> ClipSet:
        """Return the clip specs of the student STUDENTS.<like> and its teacher."""
        student, theirs = self._models.clip("STUDENTS", like), teacher.specs
        if self._cfg.DISTILL.TEACHING == "fixed":
            return ClipSet(student, plain=theirs)
        return join_clips([student, *theirs])

    def fused_shapes(self, reference: str) -> LevelShapes:
        """Return the shapes of a joint teacher's levels, those of the student of ``reference``."""
        return self._keep_levels(self._models.shapes("STUDENTS", reference))

    def expert_shapes(self, dataset: str) -> LevelShapes:
        """Return the shapes of an expert's levels that JOINT.LEVELS names."""
        return self._keep_levels(self._models.shapes("EXPERTS", dataset))

    def _keep_levels(self, whole: LevelShapes) -> LevelShapes:
        levels = {level: whole.levels[level] for level in self._cfg.JOINT.LEVELS}
        return LevelShapes(levels, whole.embedding_dim)
