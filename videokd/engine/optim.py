"""Optimizers, and the learning rate as a pure function of progress."""

import math

import torch
from torch import nn


def build_optimizer(
    module: nn.Module, *, name: str, base_lr: float, weight_decay: float, beta2: float = 0.999
) -> torch.optim.Optimizer:
    """Build an optimizer over the parameters of ``module`` that require a gradient.

    Parameters with one dimension (norms, biases) are not decayed.

    Args:
        module: What is trained.
        name: "adamw", or "sgd" with Nesterov momentum 0.9.
        base_lr: Peak learning rate.
        weight_decay: Of parameters with two or more dimensions.
        beta2: Of AdamW, in (0, 1): the decay of the average of squared gradients.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=base_lr, betas=(0.9, beta2))
    if name == "sgd":
        return torch.optim.SGD(groups, lr=base_lr, momentum=0.9, nesterov=True)
    raise ValueError(f"optimizer must be adamw or sgd, got {name!r}")


def cosine_lr(progress: float, *, base_lr: float, warmup: float) -> float:
    """Return the learning rate of a linear warm-up followed by a half cosine to zero.

    Args:
        progress: Share of the training, in [0, 1]. The rate of a step is that at its end while the
            rate rises and that at its start while it falls, so that no step has the rate zero;
            see ``videokd.engine.train``.
        base_lr: The peak, reached where ``progress`` equals ``warmup``.
        warmup: Share of the steps that the rate rises linearly from zero, in [0, 1).
    """
    if progress < warmup:
        return base_lr * progress / warmup
    return base_lr * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
