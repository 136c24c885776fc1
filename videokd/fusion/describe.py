"""Layers of a joint teacher as plain rows: one per adaptor, fused level and embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.topology import PooledEmbedding

Shape = tuple[int, ...]


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
    below: Shape = ()
    fusion: Any
    for level, fusion in teacher.fusions.items():
        shape = teacher.shapes.levels[level]
        shapes = {name: s.levels[level] for name, s in teacher.expert_shapes.items()}
        out_shape = (teacher.width, *shape[1:])
        rows += _describe_adaptors(fusion.adaptors, level, shapes, out_shape)
        in_shape = (fusion.mix.in_channels, *shape[1:])
        rows.append(FusionRow("", level, in_shape, shape, _count(fusion, but=fusion.adaptors)))
        below = shape
    for level, step in teacher.trunk.items():
        shape = teacher.shapes.levels[level]
        rows.append(FusionRow("", level, below, shape, _count(step)))
        below = shape
    return rows + _describe_embedding(teacher)


def _describe_embedding(teacher: JointTeacher) -> list[FusionRow]:
    embed, level = teacher.embed, "embedding"
    in_shape, out_shape = (embed.linear.in_features,), (embed.linear.out_features,)
    if isinstance(embed, PooledEmbedding):
        return [FusionRow("", level, in_shape, out_shape, _count(embed))]
    dims = {name: (s.embedding_dim,) for name, s in teacher.expert_shapes.items()}
    rows = _describe_adaptors(embed.adaptors, level, dims, (teacher.width,))
    row = FusionRow("", level, in_shape, out_shape, _count(embed, but=embed.adaptors))
    return [*rows, row]


def _describe_adaptors(
    adaptors: nn.ModuleDict, level: str, shapes: Mapping[str, Shape], out_shape: Shape
) -> list[FusionRow]:
    return [
        FusionRow(name, level, shapes[name], out_shape, _count(adaptor))
        for name, adaptor in adaptors.items()
    ]


def _count(module: nn.Module, *, but: nn.Module | None = None) -> int:
    num_left_out = 0 if but is None else _count(but)
    return sum(p.numel() for p in module.parameters()) - num_left_out
