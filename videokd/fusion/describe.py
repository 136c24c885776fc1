"""Layers of a joint teacher as plain rows: one per adaptor, fused level and embedding."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.operator import EMBEDDING, Shape


@dataclass(frozen=True)
class FusionRow:
    """Adaptor, or the layers of a level that follow its adaptors."""

    expert: str
    """Expert of the input features; "" for the layers after the adaptors."""
    level: str
    """"stage1" ... "stage4" or "embedding"."""
    in_shape: Shape
    """(C, T, H, W) or (D,) of the input; for fusing layers, of the concatenated inputs."""
    out_shape: Shape
    """(C, T, H, W) or (D,) of the output."""
    num_parameters: int


def describe_joint_teacher(teacher: JointTeacher) -> list[FusionRow]:
    """Return the rows of a joint teacher from low to high levels, adaptors before their fusion.

    The experts themselves and the classifiers have no rows.
    """
    rows: list[FusionRow] = []
    operator = teacher.fusion
    layer: Any
    for level, layer in operator.layers.items():
        out_shape = operator.shape_of(level)
        for name, adaptor in layer.adaptors.items():
            shapes = operator.experts[name]
            in_shape = (shapes.embedding_dim,) if level == EMBEDDING else shapes.levels[level]
            adapted = (operator.width, *out_shape[1:])
            rows.append(FusionRow(name, level, in_shape, adapted, _count(adaptor)))
        num_parameters = _count(layer) - _count(layer.adaptors)
        rows.append(FusionRow("", level, layer.in_shape, out_shape, num_parameters))
    return rows


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
