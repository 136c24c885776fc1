"""Builder of an experiment's models; it does not train or write."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.config import override_config
from videokd.data.build import build_clip_spec
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.distill.ensemble import ExpertEnsemble
from videokd.distill.expert_group import ExpertGroup
from videokd.engine.checkpoint import load_weights
from videokd.fusion.build import build_joint_teacher
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.build import build_architecture, build_classifier, load_initial_weights
from videokd.models.classifier import VideoClassifier
from videokd.models.flops import count_multiply_adds
from videokd.models.joined import HEAD, JoinedClassifier
from videokd.models.levels import LevelShapes, compute_level_shapes
from videokd.models.tuned import Tuned
from videokd.models.zoo import Architecture
from videokd.pipeline.training import Training, TrainingFolders
from videokd.utils.errors import InputError

# Seed offsets of other networks; experts and students use the position of their dataset.
_UNTRAINED_SEED, _ENSEMBLE_SEED, _JOINT_SEED = 500, 997, 999


class ModelBuilder:
    """Builder of the models that a config describes.

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

    def multiply_adds(self, section: str, dataset: str) -> int:
        """Return the multiply-adds of one clip in a network of ``section``."""
        clip, architecture = self.clip(section, dataset), self.architecture(section, dataset)
        with torch.device("meta"):
            net = architecture.build_plain(num_classes=1).eval()
        return count_multiply_adds(net, (3, clip.num_frames, clip.crop_size, clip.crop_size))

    @contextmanager
    def without_weights(self) -> Iterator[None]:
        """Let ``load`` return fresh weights of the same shapes in the body."""
        before, self._is_dry = self._is_dry, True
        try:
            yield
        finally:
            self._is_dry = before

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

    def copy_trained(self, model: VideoClassifier, source: Training, dataset: str) -> None:
        """Copy the backbone of a trained network, and the classifiers that both have.

        Args:
            model: Network to change, of the same architecture.
            source: Finished training of that network, or of a joint teacher that fine-tunes a copy
                of it.
            dataset: Dataset whose expert a joint teacher's copy is of.

        Raises:
            InputError: The training is not finished.
        """
        trained = self.load(source)
        if isinstance(trained, JointTeacher):
            trained = cast(Tuned, trained.experts[dataset]).module
        assert isinstance(trained, VideoClassifier)
        model.backbone.load_state_dict(trained.backbone.state_dict())
        for name in model.heads.keys() & trained.heads.keys():
            model.heads[name].load_state_dict(trained.heads[name].state_dict())

    def shared_student(self, dataset: str) -> VideoClassifier:
        """Build the student of ``dataset`` with one classifier per dataset (B2, generalist)."""
        return self._classifier("STUDENTS", dataset, self._num_classes)

    def wide_student(self, dataset: str, width_factor: float) -> VideoClassifier:
        """Build ``shared_student`` with another WIDTH_FACTOR (baseline B11)."""
        return self._widened(dataset, width_factor).shared_student(dataset)

    def find_width_factor(self, dataset: str, num_parameters: int) -> float:
        """Return the least WIDTH_FACTOR, in 32nds, that gives a student so many parameters.

        Args:
            dataset: Dataset of the student.
            num_parameters: Parameters of the backbone and its classifiers.
        """
        low, high = 1, 32 * 16
        while low < high:
            middle = (low + high) // 2
            if self._count_wide(dataset, middle / 32) < num_parameters:
                low = middle + 1
            else:
                high = middle
        return low / 32

    def _count_wide(self, dataset: str, width_factor: float) -> int:
        with torch.device("meta"):
            model = self.wide_student(dataset, width_factor)
        return sum(parameter.numel() for parameter in model.parameters())

    def _widened(self, dataset: str, width_factor: float) -> "ModelBuilder":
        key = f"STUDENTS.{dataset}.WIDTH_FACTOR"
        cfg = override_config(self._cfg, [key, width_factor], source="baseline B11")
        return ModelBuilder(cfg, self._class_names, self._folders, is_dry=self._is_dry)

    def expert_group(self, experts: Mapping[str, Training], dataset: str) -> ExpertGroup:
        """Build the trained experts as one teacher of a dataset (baseline B10)."""
        return ExpertGroup(self._load_experts(experts), dataset, self._cfg.JOINT.LEVELS)

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
