"""Training and evaluation steps of benchmark models on random clips."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from videokd.data.augment import Augmentation
from videokd.data.batch import ClipBatch
from videokd.distill.tasks import to_float
from videokd.engine.optim import build_optimizer
from videokd.models.classifier import VideoClassifier
from videokd.models.compiling import compile_backbone
from videokd.models.levels import LevelShapes, compute_level_shapes
from videokd.models.zoo import FAMILIES, get_architecture

NUM_CLASSES = 10


@dataclass(frozen=True)
class ModelCase:
    """A model at one size."""

    arch: str
    num_frames: int
    crop_size: int
    """Height and width in px."""
    batch_size: int
    width_factor: float = 1.0
    depth_factor: float = 1.0

    def build(
        self, precision: str, memory_format: str, *, is_compiled: bool = False
    ) -> VideoClassifier:
        """Build the model with random weights and a head for a dataset called "a"."""
        architecture = get_architecture(
            self.arch,
            num_frames=self.num_frames,
            crop_size=self.crop_size,
            width_factor=self.width_factor,
            depth_factor=self.depth_factor,
        )
        model = VideoClassifier(
            architecture.build_backbone(),
            {"a": NUM_CLASSES},
            precision=precision,
            memory_format=memory_format,
        )
        if is_compiled:
            compile_backbone(model.backbone)
        return model

    def shapes(self, model: VideoClassifier) -> LevelShapes:
        """Return the shapes of the model's levels."""
        shape = (3, self.num_frames, self.crop_size, self.crop_size)
        return compute_level_shapes(model.backbone, shape)

    def random_batch(self, device: torch.device) -> ClipBatch:
        """Return a batch of noise; zeros would be faster than real videos on some hardware."""
        size, side = self.batch_size, self.crop_size
        shape = (size, 3, self.num_frames, side, side)
        return ClipBatch(
            {"clip": torch.randint(256, shape, dtype=torch.uint8)},
            torch.randint(NUM_CLASSES, (size,)),
            torch.zeros(size, dtype=torch.int64),
            torch.arange(size),
            (Augmentation(crop=(0, 0, side, side)),) * size,
            torch.arange(self.num_frames).repeat(size, 1),
            (),
        ).to(device)


# The demo's experts, and the networks at their published sizes.
CPU_CASES = (
    ModelCase("r2plus1d_18", 8, 48, 16, width_factor=0.125, depth_factor=0.5),
    ModelCase("x3d_xs", 8, 48, 16, width_factor=0.25, depth_factor=0.25),
    ModelCase("mvit_v2_s", 8, 48, 16, width_factor=1 / 6, depth_factor=0.1),
)
CUDA_CASES = (
    ModelCase("r2plus1d_18", 16, 112, 8),
    ModelCase("x3d_s", 13, 160, 8),
    ModelCase("mvit_v2_s", 16, 224, 8),
)

# timm's networks have a fixed width and depth.
_CPU_FACTORS = {"timm_frames": (1.0, 1.0)}


def cases_of_families(device: torch.device) -> list[ModelCase]:
    """Return one or more models of every family: the cases above, then one per missing family.

    On a CPU an added model has a quarter of the width and half of the depth, for clips of 8 frames
    and 48 px. On a GPU it has full size, for the clips of its published weights.
    """
    cases = list(CPU_CASES if device.type == "cpu" else CUDA_CASES)
    known = {case.arch for case in cases}
    for family in FAMILIES.values():
        if known.isdisjoint(family.sizes):
            name, size = next(iter(family.sizes.items()))
            if device.type == "cpu":
                width, depth = _CPU_FACTORS.get(family.name, (0.25, 0.5))
                case = ModelCase(name, 8, 48, 8, width_factor=width, depth_factor=depth)
            else:
                clip = size.model_input
                case = ModelCase(name, clip.num_frames, clip.crop_size, 4)
            cases.append(case)
    return cases


def make_train_step(task: nn.Module, batch: ClipBatch) -> Callable[[], None]:
    """Return a function that does one training step of a task, with the optimizer."""
    optimizer = build_optimizer(task, name="adamw", base_lr=1e-4, weight_decay=0.05)
    task.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task(batch).loss.backward()
        optimizer.step()

    return step


def make_eval_step(model: VideoClassifier, batch: ClipBatch) -> Callable[[], None]:
    """Return a function that classifies a batch once."""
    model.eval()

    @torch.inference_mode()
    def step() -> None:
        model.classify(model(to_float(batch.clips)).embedding, "a")

    return step
