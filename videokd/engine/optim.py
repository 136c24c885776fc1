"""Optimizers; ``videokd.engine.schedule`` computes the learning rate of a step."""

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

    Weight decay applies to the parameters that ``is_decayed`` selects. Each group stores its
    learning rate factor as "lr_scale"; the loop multiplies the rate of a step by it.

    On a GPU the update is one fused kernel. On a CPU it is not fused: torch's fused CPU kernel
    rounds differently (one unit in the last place of most weights after one step), and losses on
    the CPU are guaranteed to stay the same bit for bit.

    Args:
        module: Module to train.
        name: "adamw", or "sgd" with Nesterov momentum 0.9.
        base_lr: Peak learning rate.
        weight_decay: Decay coefficient; a step shrinks a weight in proportion to it and to the
            learning rate, lr_scale included.
        beta2: Decay of AdamW's average of squared gradients, in (0, 1).
        lr_scales: Dotted name of a submodule or parameter, such as "model.experts" -> factor > 0 on
            the learning rate of its parameters. If several names match a parameter, the longest
            applies.

    Raises:
        ValueError: The optimizer is unknown, a factor is not > 0, or a name holds no parameter that
            requires a gradient.
    """
    groups: list[dict[str, Any]] = []
    for scale, named in _group_by_scale(module, lr_scales):
        rate = {"lr": base_lr * scale, "lr_scale": scale}
        decayed = [p for name, p in named if is_decayed(name, p)]
        others = [p for name, p in named if not is_decayed(name, p)]
        groups.append({"params": decayed, "weight_decay": weight_decay, **rate})
        groups.append({"params": others, "weight_decay": 0.0, **rate})
    devices = {p.device.type for group in groups for p in group["params"]}
    # A fused optimizer can be told on the device to skip a step, see ``Update``.
    fused = True if devices == {"cuda"} else None
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=base_lr, betas=(0.9, beta2), fused=fused)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=base_lr, momentum=0.9, nesterov=True, fused=fused)
    raise ValueError(f"optimizer must be adamw or sgd, got {name!r}")


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay applies to a parameter.

    Excluded are norms and biases (one dimension), tables of relative position biases (Swin), what
    orthogonal weights are computed from, and parameters that are broadcast over a batch (three or
    more dimensions, the first of size 1), such as class tokens and position embeddings of ViTs.
    Position embeddings stored as matrices, as in MViT, are decayed, as in the authors' recipes.

    Args:
        name: Dotted name of the parameter.
        parameter: The parameter.
    """
    if name.endswith("relative_position_bias_table") or ".parametrizations." in f".{name}":
        return False
    is_broadcast = parameter.ndim >= 3 and parameter.shape[0] == 1
    return parameter.ndim > 1 and not is_broadcast


def scale_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group to ``lr`` times its "lr_scale" (1 if missing)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def load_momenta(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state dict of the optimizer, which keeps its own ``fused`` option.

    The option depends on the device, and the state may have been saved on another one.
    """
    groups = [
        {**theirs, "fused": own.get("fused")}
        for theirs, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _group_by_scale(
    module: nn.Module, lr_scales: Mapping[str, float]
) -> list[tuple[float, list[tuple[str, nn.Parameter]]]]:
    """Return (factor, trainable parameters) pairs; the first has those not in ``lr_scales``."""
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
    by_prefix: dict[str | None, list[tuple[str, nn.Parameter]]] = {
        None: [],
        **{p: [] for p in lr_scales},
    }
    for name, parameter in trainable.items():
        fitting = [prefix for prefix in lr_scales if _holds(prefix, name)]
        by_prefix[max(fitting, key=len, default=None)].append((name, parameter))
    return [(1.0 if p is None else lr_scales[p], found) for p, found in by_prefix.items()]


def _holds(prefix: str, name: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")
