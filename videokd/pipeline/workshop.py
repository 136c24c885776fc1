"""Builds the models of an experiment with fresh weights; knows nothing of training or disks."""

from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode

from videokd.distill.projectors import Projectors
from videokd.distill.tasks import DistillWeights
from videokd.fusion.build import build_joint_teacher
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.build import build_architecture, build_classifier
from videokd.models.classifier import VideoClassifier
from videokd.models.levels import LevelShapes, compute_level_shapes
from videokd.models.zoo import Architecture


class Workshop:
    """The models that a config describes.

    Initial weights depend on the seed and the dataset's place in DATASETS only: a student and the
    baselines it is compared with start from the same weights.

    Args:
        cfg: The whole config.
        num_classes: Dataset name -> number of classes, in the order of DATASETS.
    """

    def __init__(self, cfg: CfgNode, num_classes: Mapping[str, int]) -> None:
        self._cfg = cfg
        self._num_classes = dict(num_classes)
        self._shapes: dict[str, LevelShapes] = {}

    def architecture(self, section: str, dataset: str) -> Architecture:
        """Return the architecture of ``section`` ("EXPERTS" or "STUDENTS") for a dataset."""
        data = self._cfg.DATA
        return build_architecture(
            self._cfg[section][dataset], num_frames=data.NUM_FRAMES, crop_size=data.CROP_SIZE
        )

    def shapes(self, section: str, dataset: str) -> LevelShapes:
        """Return the shapes of the levels of a model in ``section``.

        Raises:
            InputError: Its architecture is unknown, or does not take the clips.
        """
        architecture = self.architecture(section, dataset)
        # Shapes need a network built and run on the meta device: once per kind is enough.
        key = repr(architecture)
        if key not in self._shapes:
            data = self._cfg.DATA
            clip_shape = (3, data.NUM_FRAMES, data.CROP_SIZE, data.CROP_SIZE)
            self._shapes[key] = compute_level_shapes(architecture.build_backbone(), clip_shape)
        return self._shapes[key]

    def classifier(self, section: str, dataset: str) -> VideoClassifier:
        """Build an expert or a student, with the classes of its dataset."""
        return self._classifier(section, dataset, {dataset: self._num_classes[dataset]})

    def shared_student(self, dataset: str) -> VideoClassifier:
        """Build the student of ``dataset`` with one classifier per dataset (baseline B2)."""
        return self._classifier("STUDENTS", dataset, self._num_classes)

    def joint_teacher(self, experts: Mapping[str, VideoClassifier]) -> JointTeacher:
        """Build the joint teacher over trained experts."""
        return build_joint_teacher(
            self._cfg.JOINT,
            experts,
            {name: self.shapes("EXPERTS", name) for name in experts},
            shapes=self.shapes("STUDENTS", self.reference_student()),
            num_classes=self._num_classes,
            seed=self._cfg.SEED * 1000 + 999,
        )

    def projectors(self, dataset: str) -> Projectors:
        """Build the projectors from a student's levels to the joint teacher's."""
        student = self.shapes("STUDENTS", dataset)
        teacher = self.shapes("STUDENTS", self.reference_student())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._cfg.SEED * 1000 + 998)
            return Projectors(
                student,
                teacher,
                levels=self._cfg.JOINT.LEVELS,
                always=self._cfg.DISTILL.PROJECTOR == "always",
            )

    def distill_weights(self) -> DistillWeights:
        """Return the weights of the student's loss."""
        node = self._cfg.DISTILL
        return DistillWeights(
            kd=node.W_KD, feat=node.W_FEAT, ce=node.W_CE, temperature=node.TEMPERATURE
        )

    def reference_student(self) -> str:
        """Return the dataset whose student gives the joint teacher's levels their shapes."""
        return self._cfg.JOINT.SHAPES_FROM or next(iter(self._num_classes))

    def _classifier(
        self, section: str, dataset: str, num_classes: Mapping[str, int]
    ) -> VideoClassifier:
        place = list(self._num_classes).index(dataset)
        return build_classifier(
            self._cfg[section][dataset],
            self.architecture(section, dataset),
            num_classes,
            seed=self._cfg.SEED * 1000 + place,
        )
