"""Batch norm over the clips of all ranks, for CPU and GPU."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from videokd.utils.ranks import SumOverRanks, num_ranks, sum_over_ranks


class SyncedBatchNorm(_BatchNorm):
    """Batch norm that uses the statistics of all ranks' clips in training.

    In evaluation, and with one rank, it is plain batch norm. torch's SyncBatchNorm does not run on
    the CPU; this class uses plain operations and all-reduce.
    """

    def forward(self, feature: Tensor) -> Tensor:
        """Normalise features (B, C, ...); B may differ from rank to rank."""
        if not self.training or num_ranks() == 1:
            return super().forward(feature)
        dims = [dim for dim in range(feature.ndim) if dim != 1]
        x = feature.to(torch.promote_types(feature.dtype, torch.float32))
        count = sum_over_ranks(x.new_full((1,), x.numel() / x.shape[1]))
        mean = _sum(x, dims) / count
        centred = x - _align(mean, x)
        # The variance is a second sum, over deviations: a difference of squares would lose digits.
        var = _sum(centred**2, dims) / count
        self._track(mean.detach(), var.detach() * (count / (count - 1)))
        out = centred * _align((var + self.eps).rsqrt(), x)
        if self.affine:
            out = out * _align(self.weight, x) + _align(self.bias, x)
        return out.to(feature.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {input.ndim} dimensions")

    def _track(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        count = cast(Tensor, self.num_batches_tracked)
        count.add_(1)
        # A momentum of None means the plain mean over all batches.
        weight = (1.0 / count).to(mean) if self.momentum is None else self.momentum
        for kept, newest in ((self.running_mean, mean), (self.running_var, var)):
            cast(Tensor, kept).lerp_(newest, weight)


def sync_batch_norms(module: nn.Module) -> None:
    """Replace each batch norm inside ``module`` by one over all ranks, with the same weights.

    Parameter and buffer names do not change, so checkpoints fit both kinds.
    """
    for name, child in list(module.named_children()):
        if not isinstance(child, _BatchNorm):
            sync_batch_norms(child)
        elif not isinstance(child, SyncedBatchNorm):
            synced = SyncedBatchNorm(
                child.num_features,
                child.eps,
                child.momentum,
                affine=child.affine,
                track_running_stats=child.track_running_stats,
            )
            synced._parameters, synced._buffers = child._parameters, child._buffers
            synced.train(child.training)
            setattr(module, name, synced)


def _sum(x: Tensor, dims: list[int]) -> Tensor:
    return cast(Tensor, SumOverRanks.apply(x.sum(dim=dims)))


def _align(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (x.ndim - 2))
