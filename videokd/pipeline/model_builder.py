"""Builder of an experiment's models and tasks; it does not train or write."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import build_clip_spec
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.distill.build import build_cache, build_mixing, build_objective
from videokd.distill.ensemble import EnsembleTask, ExpertEnsemble
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.engine.checkpoint import load_weights
from videokd.fusion.build import build_joint_teacher
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.build import build_architecture, build_classifier, load_initial_weights
from videokd.models.classifier import VideoClassifier, VideoModel
from videokd.models.joined import HEAD, JoinedClassifier
from videokd.models.levels import LevelShapes, compute_level_shapes
from videokd.models.zoo import Architecture
from videokd.pipeline.training import Training, TrainingFolders
from videokd.utils.errors import InputError

# Seed offsets of other networks; experts and students use the position of their dataset.
_UNTRAINED_SEED, _ENSEMBLE_SEED, _PROJECTOR_SEED, _JOINT_SEED = 500, 997, 998, 999


class ModelBuilder:
    """Builder of the models and tasks that a config describes.

    Initial weights depend only on the seed and the dataset's position in DATASETS. A student and
    the baselines that it is compared with therefore start from the same weights.

    Args:
        cfg: The whole config.
        class_names: Dataset name -> its class names, in the order of DATASETS.
        folders: Folders of the trained models.
        is_dry: Whether ``load`` returns fresh weights of the same shapes.
    """

    def __init__(
        self,
        cfg: CfgNode,
        class_names: Mapping[str, Sequence[str]],
        folders: TrainingFolders,
        *,
        is_dry: bool = False,
    ) -> None:
        self._cfg = cfg
        self._folders = folders
        self._is_dry = is_dry
        self._class_names = dict(class_names)
        self._num_classes = {name: len(classes) for name, classes in class_names.items()}

    @property
    def fused_experts(self) -> list[str]:
        """Names of the datasets whose experts the joint teacher fuses."""
        return list(self._cfg.JOINT.EXPERTS) or list(self._num_classes)

    def clip(self, section: str, dataset: str) -> ClipSpec:
        """Return the clip spec of a model in ``section``."""
        return build_clip_spec(self._cfg, self._cfg[section][dataset])

    def expert_clips(self) -> ClipSet:
        """Return the clip specs of the fused experts."""
        return join_clips([self.clip("EXPERTS", name) for name in self.fused_experts])

    def taught_clips(self, dataset: str, teacher: ClipSet) -> ClipSet:
        """Return the clip specs of the student of ``dataset`` and its teacher."""
        student, theirs = self.clip("STUDENTS", dataset), teacher.specs
        if self._cfg.DISTILL.TEACHING == "fixed":
            return ClipSet(student, plain=theirs)
        return join_clips([student, *theirs])

    def architecture(self, section: str, dataset: str) -> Architecture:
        """Return the architecture of ``section`` ("EXPERTS" or "STUDENTS") for a dataset."""
        clip = self.clip(section, dataset)
        return build_architecture(
            self._cfg[section][dataset], num_frames=clip.num_frames, crop_size=clip.crop_size
        )

    def shapes(self, section: str, dataset: str) -> LevelShapes:
        """Return the shapes of the levels of a model in ``section``.

        Raises:
            InputError: The architecture is unknown or does not accept the clips.
        """
        clip = self.clip(section, dataset)
        clip_shape = (3, clip.num_frames, clip.crop_size, clip.crop_size)
        architecture = self.architecture(section, dataset)
        arguments = json.dumps(architecture.arguments)
        return _level_shapes(architecture.name, architecture.family, arguments, clip_shape)

    def classifier(self, section: str, dataset: str) -> VideoClassifier:
        """Build an expert or a student for the classes of its dataset."""
        return self._classifier(section, dataset, {dataset: self._num_classes[dataset]})

    def load_initial(
        self, model: VideoClassifier | JoinedClassifier, *, section: str, dataset: str
    ) -> None:
        """Load a network's WEIGHTS into its model; do nothing for random weights.

        Args:
            model: A model of the network, which may have other classifiers.
            section: "EXPERTS" or "STUDENTS".
            dataset: Name of the network's dataset.

        Raises:
            InputError: The weights do not fit, or lack the classifier that TRAIN False needs.
        """
        node, title = self._cfg[section][dataset], f"{section}.{dataset}"
        if node.WEIGHTS == "random":
            return
        plain = model.classifier if isinstance(model, JoinedClassifier) else model
        report = load_initial_weights(
            node,
            plain,
            self.architecture(section, dataset),
            title=title,
            class_names=self._class_names,
        )
        if not node.TRAIN and not report.has_head:
            raise InputError(
                f"{title}: TRAIN False needs weights that classify its "
                f"{self._num_classes[dataset]} classes; {report.source}: {report.head}\n"
                "set TRAIN True to train a new classifier on top of these weights, or use "
                f"weights that were trained on the classes of {dataset}"
            )

    def load(self, training: Training) -> nn.Module:
        """Build the model of a finished training with its weights.

        Raises:
            InputError: The training is not finished, or its folder holds another config.
        """
        if self._is_dry:
            return training.build_model()
        folder = self._folders.path(training)
        if not self._folders.is_finished(training):
            raise InputError(f"{folder} is not trained yet; run --stage {training.stage} first")
        return self.load_checkpoint(training, folder / "model.safetensors")

    def load_checkpoint(self, training: Training, path: Path) -> nn.Module:
        """Build the model of a training with the weights of a file.

        Raises:
            InputError: The file cannot be read, or has another architecture or other classes.
        """
        model = training.build_model()
        load_weights(model, path, self.head_classes(model))
        return model

    def head_classes(self, model: nn.Module) -> dict[str, tuple[str, ...]]:
        """Return the class names of each classifier of a model, by the prefix of its tensors."""
        known = self._class_names
        if isinstance(model, JoinedClassifier):
            joined = [f"{name}/{label}" for name in model.num_classes for label in known[name]]
            return {f"classifier.heads.{HEAD}": tuple(joined)}
        if isinstance(model, ExpertEnsemble):  # one classifier per expert, all for the same dataset
            return {f"heads.{expert}": tuple(known[model.dataset]) for expert in model.heads}
        assert isinstance(model, VideoClassifier | JointTeacher)
        return {f"heads.{name}": tuple(known[name]) for name in model.heads}

    def shared_student(self, dataset: str) -> VideoClassifier:
        """Build the student of ``dataset`` with one classifier per dataset (baseline B2)."""
        return self._classifier("STUDENTS", dataset, self._num_classes)

    def joined_student(self, dataset: str) -> JoinedClassifier:
        """Build the student of ``dataset`` with one classifier for all classes (baseline B3)."""
        heads = {HEAD: sum(self._num_classes.values())}
        return JoinedClassifier(self._classifier("STUDENTS", dataset, heads), self._num_classes)

    def joint_teacher(
        self, experts: Mapping[str, Training], *, reference: str, heads: tuple[str, ...]
    ) -> JointTeacher:
        """Build the joint teacher over trained experts.

        Args:
            experts: Trainings of the fused experts.
            reference: Dataset whose student defines the shapes of the levels.
            heads: Datasets that the teacher classifies.
        """
        return self._joint_teacher(self._load_experts(experts), reference, heads)

    def untrained_teacher(self, reference: str, heads: tuple[str, ...]) -> JointTeacher:
        """Build a joint teacher over untrained experts (control B7)."""
        experts = {
            name: self._classifier(
                "EXPERTS",
                name,
                {name: self._num_classes[name]},
                # Not the students' initial weights: a student would already match a teacher built
                # from them.
                first_offset=_UNTRAINED_SEED,
            )
            for name in self.fused_experts
        }
        return self._joint_teacher(experts, reference, heads)

    def ensemble(self, experts: Mapping[str, Training], dataset: str) -> ExpertEnsemble:
        """Build the average of the experts for a dataset, with untrained heads (baseline B5)."""
        dims = {name: self.shapes("EXPERTS", name).embedding_dim for name in experts}
        loaded = self._load_experts(experts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed(_ENSEMBLE_SEED))
            return ExpertEnsemble(
                loaded, dims, dataset=dataset, num_classes=self._num_classes[dataset]
            )

    def ensemble_task(self, model: ExpertEnsemble) -> EnsembleTask:
        """Build the task that fits the heads of averaged experts."""
        return EnsembleTask(model, cache=build_cache(self._cfg.DISTILL))

    def classification_task(
        self, model: VideoModel, weights: Mapping[str, float]
    ) -> ClassificationTask:
        """Build the task of a model that is trained on labels only."""
        has_frozen = isinstance(model, JointTeacher) and self._cfg.JOINT.FINE_TUNE == "none"
        return ClassificationTask(
            model,
            weights,
            mixing=build_mixing(self._cfg.MIXUP),
            expert_cache=build_cache(self._cfg.DISTILL) if has_frozen else None,
        )

    def student_task(
        self,
        student: VideoClassifier,
        *,
        build_teacher: Callable[[], nn.Module],
        dataset: str,
        reference: str | None,
    ) -> StudentTask:
        """Build the task of a student.

        Args:
            student: Student of ``dataset``.
            build_teacher: Function that returns a model that classifies ``dataset``.
            dataset: Name of the student's dataset.
            reference: Dataset whose student has the shapes of the teacher's levels; None to distil
                logits only.
        """
        shapes = None
        if reference is not None:
            whole = self.shapes("STUDENTS", reference)
            fused = {level: whole.levels[level] for level in self._cfg.JOINT.LEVELS}
            shapes = LevelShapes(fused, whole.embedding_dim)
        return StudentTask(
            student,
            build_teacher(),
            dataset=dataset,
            objective=build_objective(
                self._cfg.DISTILL,
                student=self.shapes("STUDENTS", dataset),
                teacher=shapes,
                seed=self._seed(_PROJECTOR_SEED),
            ),
            trained_on=self.taught_on(dataset),
            mixing=build_mixing(self._cfg.MIXUP),
            is_fixed=self._cfg.DISTILL.TEACHING == "fixed",
            cache=build_cache(self._cfg.DISTILL),
        )

    def taught_on(self, dataset: str) -> tuple[str, ...]:
        """Return the datasets whose clips are used to distil the student of ``dataset``."""
        return (dataset,) if self._cfg.DISTILL.CLIPS == "own" else tuple(self._num_classes)

    def _load_experts(self, experts: Mapping[str, Training]) -> dict[str, VideoClassifier]:
        loaded = {name: self.load(training) for name, training in experts.items()}
        return cast(dict[str, VideoClassifier], loaded)

    def _joint_teacher(
        self, experts: Mapping[str, VideoClassifier], reference: str, heads: tuple[str, ...]
    ) -> JointTeacher:
        return build_joint_teacher(
            self._cfg.JOINT,
            experts,
            {name: self.shapes("EXPERTS", name) for name in experts},
            shapes=self.shapes("STUDENTS", reference),
            num_classes={name: self._num_classes[name] for name in heads},
            seed=self._seed(_JOINT_SEED),
        )

    def _classifier(
        self,
        section: str,
        dataset: str,
        num_classes: Mapping[str, int],
        first_offset: int = 0,
    ) -> VideoClassifier:
        offset = first_offset + list(self._num_classes).index(dataset)
        return build_classifier(
            self._cfg[section][dataset],
            self.architecture(section, dataset),
            num_classes,
            seed=self._seed(offset),
            clip_name=self.clip(section, dataset).name,
        )

    def _seed(self, offset: int) -> int:
        return int(self._cfg.SEED) * 1000 + offset


def join_clips(specs: Sequence[ClipSpec]) -> ClipSet:
    """Return the clip specs as a set without duplicates; the first is the main spec."""
    main, *others = dict.fromkeys(specs)
    return ClipSet(main, tuple(others))


@cache
def _level_shapes(
    name: str, family: str, arguments: str, clip_shape: tuple[int, int, int, int]
) -> LevelShapes:
    # Building and running the network on the meta device is done once per architecture and clip
    # shape, since a study has about a hundred plans. The arguments are JSON because a dict cannot
    # be a cache key.
    architecture = Architecture(name, family, json.loads(arguments))
    return compute_level_shapes(architecture.build_backbone(), clip_shape)
