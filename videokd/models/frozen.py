"""A network that is only looked at: teachers, and the experts inside the joint teacher."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """Hold ``module`` in eval mode and without gradient, whatever is called on the parent.

    The module is not registered: it is absent from ``parameters()`` and ``state_dict()`` of
    whatever holds it, so that neither an optimizer nor a checkpoint can get at it, and ``train()``
    does not reach it. ``to()`` and its kin do.

    Args:
        module: The network; it is put into eval mode and its parameters stop requiring gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # nn.Module registers attributes that are modules, but does not look into tuples.
        self._hidden = (module.eval().requires_grad_(False),)

    @property
    def module(self) -> Any:
        """The network."""
        return self._hidden[0]

    def forward(self, *args: Any) -> Any:
        """Call the network without gradient."""
        # Not inference_mode: what is trained on top must be able to save the results for backward.
        with torch.no_grad():
            return self.module(*args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self.module._apply(fn, recurse)
        return super()._apply(fn, recurse)
