"""Frozen networks: teachers, and the experts inside the joint teacher."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """Holder of a network that stays in eval mode and without gradient.

    The network is not registered as a submodule. It is absent from ``parameters()`` and
    ``state_dict()`` of the parent, so that optimizers and checkpoints do not include it, and
    ``train()`` does not reach it. ``to()`` and similar methods do.

    Args:
        module: The network; set to eval mode and to ``requires_grad_(False)``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # nn.Module registers attributes that are modules, but not modules inside a tuple.
        self._hidden = (module.eval().requires_grad_(False),)

    @property
    def module(self) -> Any:
        """The frozen network."""
        return self._hidden[0]

    def forward(self, *args: Any) -> Any:
        """Return the outputs of the network, without gradient."""
        # Not inference_mode: trained layers on top must be able to save the outputs for backward.
        with torch.no_grad():
            return self.module(*args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self.module._apply(fn, recurse)
        return super()._apply(fn, recurse)
