"""A network of blocks, small enough for a training of no time, and of sizes that share unevenly."""

import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES, Backbone, Features

WIDTH = 7


class Block(nn.Module):
    """One of its weights is too small for two ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x + self.scale * torch.relu(self.linear(self.norm(x)))


class BlockNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in LEVEL_NAMES)
        self.head = nn.Linear(WIDTH, 1)


class BlockBackbone(Backbone):
    head_name = "head"

    def __init__(self) -> None:
        super().__init__(BlockNet())

    def forward(self, clips):
        x, levels = self.net.stem(clips.mean(dim=(3, 4)).flatten(1)), {}
        for level, block in zip(LEVEL_NAMES, self.net.blocks, strict=True):
            x = block(x)
            levels[level] = x.view(-1, WIDTH, 1, 1, 1)
        return Features(levels, x)

    def parts(self):
        stages = {level: (f"blocks.{i}",) for i, level in enumerate(LEVEL_NAMES)}
        return {"stem": ("stem",), **stages, "embedding": ()}
