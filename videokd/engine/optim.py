"""Optimizers, and the learning rate as a pure function of progress."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def build_optimizer(
    module: nn.Module,
    *,
    name: str,
    base_lr: float,
    weight_decay: float,
    beta2: float = 0.999,
    lr_scales: Mapping[str, float] = {},
) -> torch.optim.Optimizer:
    """Build an optimizer over the parameters of ``module`` that require a gradient.

    Parameters with one dimension (norms, biases) are not decayed. Every group carries its factor
    on the learning rate as "lr_scale"; the loop multiplies the rate of a step by it.

    Args:
        module: What is trained.
        name: "adamw", or "sgd" with Nesterov momentum 0.9.
        base_lr: Peak learning rate.
        weight_decay: Of parameters with two or more dimensions. A step takes off a weight in
            proportion to its learning rate, factor included.
        beta2: Of AdamW, in (0, 1): the decay of the average of squared gradients.
        lr_scales: Dotted name of a submodule or parameter, such as "model.experts" -> factor > 0
            on the learning rate of what it holds; of several names that fit, the longest counts.

    Raises:
        ValueError: The optimizer is unknown, a factor is not > 0, or a name holds no parameter
            that requires a gradient.
    """
    groups: list[dict[str, Any]] = []
    for scale, params in _group_by_scale(module, lr_scales):
        rate = {"lr": base_lr * scale, "lr_scale": scale}
        decayed, others = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": weight_decay, **rate})
        groups.append({"params": others, "weight_decay": 0.0, **rate})
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=base_lr, betas=(0.9, beta2))
    if name == "sgd":
        return torch.optim.SGD(groups, lr=base_lr, momentum=0.9, nesterov=True)
    raise ValueError(f"optimizer must be adamw or sgd, got {name!r}")


def scale_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group to ``lr`` times its "lr_scale", 1 where it has none."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


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


def _group_by_scale(
    module: nn.Module, lr_scales: Mapping[str, float]
) -> list[tuple[float, list[nn.Parameter]]]:
    """Return (factor, its trainable parameters): first those without a name in ``lr_scales``."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for prefix, scale in lr_scales.items():
        if not scale > 0:
            raise ValueError(f"lr_scales[{prefix!r}] must be > 0, got {scale}")
        if not any(_holds(prefix, name) for name in trainable):
            known = sorted({".".join(name.split(".")[:2]) for name in trainable})
            raise ValueError(
                f"lr_scales: {prefix!r} holds no trainable parameter; known are "
                f"{', '.join(known)} and what is in them"
            )
    by_prefix: dict[str | None, list[nn.Parameter]] = {None: [], **{p: [] for p in lr_scales}}
    for name, parameter in trainable.items():
        fitting = [prefix for prefix in lr_scales if _holds(prefix, name)]
        by_prefix[max(fitting, key=len, default=None)].append(parameter)
    return [(1.0 if p is None else lr_scales[p], found) for p, found in by_prefix.items()]


def _holds(prefix: str, name: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")
