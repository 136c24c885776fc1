"""Batch norm statistics for evaluation, computed with the final weights over many clips."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from videokd.engine.distributed import ONE_RANK, Ranks

_BatchNorm = nn.modules.batchnorm._BatchNorm  # 1d, 2d and 3d batch norms, and synchronised ones


def recompute_statistics(model: nn.Module, inputs: Iterable[Any], ranks: Ranks = ONE_RANK) -> int:
    """Replace the running statistics of ``model``'s batch norms by the statistics of all inputs.

    In training the running statistics lag behind the weights, by about ten batches. Here the
    weights are fixed, and with n_i values of mean m_i and (biased) variance v_i in batch i, N = sum
    n_i:

        mean = sum n_i m_i / N
        var  = sum n_i (v_i + (m_i - mean)^2) / N

    (Wu and Johnson 2021, "Rethinking Batch in BatchNorm"). All other modules are in eval mode
    meanwhile, so that there is no dropout and no other statistics change. Batch norms that do not
    update statistics in training (in frozen experts and stages) keep their values. The modes of all
    modules and the batch counts are restored.

    ``fvcore.nn.precise_bn`` defines the same values, but computes E[x^2] - E[x]^2 in float32. For a
    channel whose mean is a few thousand times its deviation this is negative, and its square root
    is NaN. torch's ``update_bn`` also resets frozen statistics, runs dropout, and ignores the
    variance between the batches' means.

    Args:
        model: Model in any mode; it is called without gradient.
        inputs: Inputs of the model, each a batch of at least two clips. Without inputs nothing
            changes.
        ranks: Ranks with different inputs; each gets the statistics of all inputs.

    Returns:
        The number of batch norms with new statistics.
    """
    with _only_norms_learn(model) as norms:
        pooled = {norm: _Pooled() for norm in norms}
        before = {norm: norm.num_batches_tracked.clone() for norm in norms}
        momenta = {norm: norm.momentum for norm in norms}
        hooks = [norm.register_forward_hook(partial(_take_in, pooled[norm])) for norm in norms]
        try:
            for norm in norms:
                norm.momentum = 1.0  # the running statistics are then the last batch's
            with torch.no_grad():
                for one in inputs if norms else ():
                    model(one)
        finally:
            for hook in hooks:
                hook.remove()
            for norm in norms:
                norm.momentum = momenta[norm]
                norm.num_batches_tracked.copy_(before[norm])
        everywhere = ranks.gather(list(pooled.values()))
        for norm, parts in zip(norms, zip(*everywhere, strict=True), strict=True):
            found = _join(parts)
            if found.count:
                norm.running_mean.copy_(found.mean)
                norm.running_var.copy_(found.squares / found.count)
    return sum(any(found.count for found in parts) for parts in zip(*everywhere, strict=True))


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Restore the statistics of ``model``'s batch norms at the end of the context."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    kept = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)


@dataclass
class _Pooled:
    """Count, mean and summed squared deviations of all values of a channel, in float64."""

    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Add ``count`` values (Chan et al. 1979), without subtracting large numbers."""
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.squares = self.squares + squares + delta.square() * (self.count * count / total)
        self.count = total


def _take_in(pooled: _Pooled, norm: Any, inputs: tuple[Tensor], _: Tensor) -> None:
    count = inputs[0].numel() // inputs[0].shape[1]
    mean, var = norm.running_mean.double(), norm.running_var.double()
    pooled.add(count, mean.cpu(), var.cpu() * (count - 1))  # running_var is unbiased


def _join(parts: Iterable[_Pooled]) -> _Pooled:
    joined = _Pooled()
    for part in parts:
        if isinstance(part.mean, Tensor) and isinstance(part.squares, Tensor):
            joined.add(part.count, part.mean, part.squares)
    return joined


@contextmanager
def _only_norms_learn(model: nn.Module) -> Iterator[list[Any]]:
    """Yield the batch norms that update statistics in training; other modules are in eval mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train()
        norms = [
            module
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        ]
        model.eval()
        for norm in norms:
            norm.training = True
        yield norms
    finally:
        for module, was_training in modes:
            module.training = was_training
