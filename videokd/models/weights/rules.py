"""Renaming by regular expressions, and helpers shared by the renaming rules of toolkits."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from videokd.utils.errors import InputError

# (pattern, replacement) of ``re.sub``.
Rule = tuple[str, str]

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_EPS = 1e-5  # eps of batch norms in PySlowFast, MMAction2 and pytorchvideo


def has_name(state: Mapping[str, Tensor], pattern: str) -> bool:
    """Return whether the pattern matches in any of the names."""
    return any(re.search(pattern, name) for name in state)


def substitute(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Return the tensors with all rules applied to their names in order.

    Raises:
        InputError: Two tensors would get the same name.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise InputError(f"two of the file's tensors would be {new!r}, one of them is {name!r}")
        renamed[new] = value
    return renamed


def fold_shortcut_norms(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Fold the norms of shortcuts with equal input and output channels into neighbouring layers.

    Other toolkits have such a norm in the first stage of X3D, pytorchvideo does not. In evaluation
    a norm is y = a x + b per channel. The factor a goes into the shortcut's convolution. The offset
    b goes into the bias of the other branch's last norm, because both branches are added. Except
    for rounding, evaluation logits do not change; in training the norm's statistics are no longer
    learnt.

    Args:
        state: State dict under pytorchvideo's names.

    Returns:
        The state dict without these norms, and the names of the blocks that had one.

    Raises:
        InputError: A part of a norm is missing.
    """
    folded = dict(state)
    blocks = []
    for name in state:
        block, found, _ = name.partition(".branch1_norm.weight")
        conv = f"{block}.branch1_conv.weight"
        if not found or conv not in state or state[conv].shape[0] != state[conv].shape[1]:
            continue
        norm = {key: folded.pop(f"{block}.branch1_norm.{key}", None) for key in _NORM}
        weight, bias, mean, variance = (_given(norm[key], block) for key in _NORM[:4])
        scale = weight / torch.sqrt(variance + _EPS)
        folded[conv] = state[conv] * scale.view(-1, 1, 1, 1, 1)
        last_bias = f"{block}.branch2.norm_c.bias"
        folded[last_bias] = _given(state.get(last_bias), block) + bias - mean * scale
        blocks.append(block)
    return folded, blocks


def _given(value: Tensor | None, block: str) -> Tensor:
    if value is None:
        raise InputError(f"the file lacks a part of the norms of {block!r}")
    return value
