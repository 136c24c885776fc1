"""Running average of a model's weights over the steps of a training."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of a model's weights, norm statistics included.

    At update n (0-based), with d = min(decay, (1 + n) / (10 + n)), each average becomes d * average
    + (1 - d) * weight. The warm-up of d keeps the random start from dominating a short training.
    Integer tensors (batch norm's count of batches) and extra states are copied: an average rounded
    to integers would not change.

    torch's ``AveragedModel`` is not used: it moves its counter to the device at each update, which
    waits for the device, and it rounds the counts.

    Args:
        model: Model to average, already on its device. It is read at every update.
        decay: Decay in [0, 1); 0.999 averages over about the last thousand steps.
        frozen: Modules in ``model`` that never change; the copy shares these objects.

    Raises:
        ValueError: decay is not in [0, 1).
    """

    module: nn.Module
    """Copy of the model with the averaged weights, in eval mode and without gradient."""
    num_updates: int

    def __init__(self, model: nn.Module, *, decay: float, frozen: Sequence[nn.Module] = ()) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        shared = {id(module): module for module in frozen}
        self.module = deepcopy(model, shared).eval().requires_grad_(False)
        self.num_updates = 0
        self._model = model
        self._decay = decay

    @torch.no_grad()
    def update(self, is_good: Tensor | None = None) -> None:
        """Add the model's current weights to the average; call it after each optimizer step.

        Args:
            is_good: Bool scalar on the device. If it is false, the averaged floats do not change,
                but the update is counted. None means true.
        """
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        pairs = list(zip(_tensors(self.module), _tensors(self._model), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, weights = map(list, zip(*floats, strict=True))
        if is_good is not None:
            pairs_of = zip(weights, averages, strict=True)
            weights = [torch.where(is_good, new, old) for new, old in pairs_of]
        get_ema_multi_avg_fn(decay)(averages, weights, self.num_updates)
        for count, newest in pairs:
            if not count.is_floating_point():
                count.copy_(newest)
        for copied, original in zip(self.module.modules(), self._model.modules(), strict=True):
            if type(copied).get_extra_state is not nn.Module.get_extra_state:
                copied.set_extra_state(original.get_extra_state())
        self.num_updates += 1

    def load(self, weights: Mapping[str, Tensor], *, num_updates: int) -> None:
        """Load an earlier ``module.state_dict()`` and ``num_updates``."""
        self.module.load_state_dict(weights)
        self.num_updates = num_updates


def _tensors(module: nn.Module) -> chain[Tensor]:
    return chain(module.parameters(), module.buffers())
