"""Small joint teachers, and values that a wrong formula cannot hide behind."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import nn

from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.options import FusionOptions
from videokd.models.levels import LevelShapes, compute_level_shapes

NUM_CLASSES = {"a": 3, "b": 4}
ARCHS = {"a": "r3d_18", "b": "x3d_s", "c": "mvit_v2_s", "d": "mc3_18"}
# Shared by all tests: finding the shapes takes longer than most of them.
_SHAPES: dict[tuple[str, tuple[int, int]], LevelShapes] = {}


@pytest.fixture
def make_joint(make_classifier) -> Callable[..., JointTeacher]:
    """``make_joint(order, levels=..., clip=..., **FusionOptions)``: T* for an r2plus1d student.

    The experts "a" to "d" are an r3d, an x3d, an mvit and an mc3; each is built once. They take
    the student's clips, or those of ``expert_clips`` (name -> frames, px), by their own names.
    """
    experts = {}

    def find_shapes(arch: str, clip: tuple[int, int]) -> LevelShapes:
        if (arch, clip) not in _SHAPES:
            clip_shape = (3, clip[0], clip[1], clip[1])
            backbone = make_classifier(arch, num_frames=clip[0], crop_size=clip[1]).backbone
            _SHAPES[arch, clip] = compute_level_shapes(backbone, clip_shape)
        return _SHAPES[arch, clip]

    def make(
        order: Sequence[str] = ("a", "b"),
        *,
        levels: Sequence[str] = ("stage2", "stage3"),
        clip: tuple[int, int] = (4, 32),
        expert_clips: Mapping[str, tuple[int, int]] | None = None,
        dropout: float = 0.0,
        **options: object,
    ) -> JointTeacher:
        seen = {name: (expert_clips or {}).get(name, clip) for name in order}
        for name in order:
            if name not in experts:
                num_frames, crop_size = seen[name]
                experts[name] = make_classifier(
                    ARCHS[name],
                    num_frames=num_frames,
                    crop_size=crop_size,
                    clip_name=name if expert_clips else "clip",
                )
                for parameter in experts[name].parameters():
                    parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at zero
        return JointTeacher(
            {name: experts[name] for name in order},
            {name: find_shapes(ARCHS[name], seen[name]) for name in order},
            shapes=find_shapes("r2plus1d_18", clip),
            levels=levels,
            num_classes=NUM_CLASSES,
            width=6,
            dropout=dropout,
            options=FusionOptions(**options),
        )

    return make


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """``randomise(module)``: other parameters and statistics; in eval mode; the module itself."""

    def apply(module: nn.Module) -> nn.Module:
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.data.uniform_(0.5 if "var" in name else -1.0, 1.5)
        return module.eval()

    return apply
