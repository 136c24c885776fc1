"""Snapshot and restore of module buffers (batch-norm statistics), to undo a bad step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Norms:
    """L2 norms of tensors; a norm is finite if its tensor is."""

    names: Sequence[str]
    values: Tensor
    """(N,) float32, on the tensors' device."""

    def pick_bad(self) -> list[str]:
        """Return the names of the non-finite norms; waits for the device."""
        finite = torch.isfinite(self.values).tolist()
        return [name for name, is_finite in zip(self.names, finite, strict=True) if not is_finite]


class BufferSnapshot:
    """Copy of a module's buffers from before a forward.

    A forward with a non-finite input spoils the running statistics of every norm layer that it
    reaches, before the loss is checked. The snapshot restores them.

    Args:
        module: Owner of the buffers, already on its device. Extra states of its modules are saved
            and restored too.
    """

    def __init__(self, module: nn.Module) -> None:
        entries = [
            (f"{prefix}.{key}".lstrip("."), owner, key)
            for prefix, owner in module.named_modules()
            for key, value in owner._buffers.items()
            if value is not None
        ]
        self._device = next(module.parameters()).device
        # Sorted by dtype, so that one operation copies all buffers of a dtype.
        entries.sort(key=lambda entry: str(entry[1]._buffers[entry[2]].dtype))
        self._entries = entries
        self._extra = [
            owner
            for owner in module.modules()
            if type(owner).get_extra_state is not nn.Module.get_extra_state
        ]
        self._saved = [buffer.detach().clone() for buffer in self._buffers()]
        self._saved_extra = [owner.get_extra_state() for owner in self._extra]
        # Attention masks hold infinities on purpose: only buffers that are finite now are checked.
        floats = [i for i, buffer in enumerate(self._saved) if buffer.is_floating_point()]
        finite = torch.isfinite(self._norms_of(floats)).tolist()
        self._checked = [i for i, is_finite in zip(floats, finite, strict=True) if is_finite]

    @torch.no_grad()
    def take(self) -> None:
        """Save the current buffers and extra states."""
        buffers = self._buffers()
        for saved, now in zip(_by_dtype(self._saved), _by_dtype(buffers), strict=True):
            torch._foreach_copy_(saved, now)
        self._saved_extra = [owner.get_extra_state() for owner in self._extra]

    def norms(self) -> Norms:
        """Return the norms of the checked float buffers, without waiting for the device."""
        return Norms([self._entries[i][0] for i in self._checked], self._norms_of(self._checked))

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the saved buffers and extra states."""
        for now, before in zip(_by_dtype(self._buffers()), _by_dtype(self._saved), strict=True):
            torch._foreach_copy_(now, before)
        for owner, state in zip(self._extra, self._saved_extra, strict=True):
            owner.set_extra_state(state)

    @torch.no_grad()
    def restore_unless(self, is_good: Tensor) -> None:
        """Restore the saved buffers if ``is_good``, a bool scalar on the device, is false.

        ``is_good`` is not read on the host, so nothing waits for the device. Extra states, which
        live on the host, are not restored.
        """
        for now, before in zip(_by_dtype(self._buffers()), _by_dtype(self._saved), strict=True):
            flat = torch.where(is_good, _flatten(now), _flatten(before))
            parts = flat.split([buffer.numel() for buffer in now])
            torch._foreach_copy_(now, [p.view_as(b) for p, b in zip(parts, now, strict=True)])

    @torch.no_grad()
    def _norms_of(self, numbers: Sequence[int]) -> Tensor:
        buffers = self._buffers()
        return stack_norms([buffers[i] for i in numbers], device=self._device)

    def _buffers(self) -> list[Tensor]:
        # Looked up at each call, because a module may replace a buffer by another tensor.
        return [owner._buffers[key] for _, owner, key in self._entries]


def stack_norms(tensors: list[Tensor], *, device: torch.device | None = None) -> Tensor:
    """Return the L2 norms (N,) of N tensors in float32, on their device, or ``device`` if N = 0."""
    if not tensors:
        return torch.zeros(0, device=device)
    return torch.stack([norm.float() for norm in torch._foreach_norm(tensors)])


def _by_dtype(buffers: list[Tensor]) -> list[list[Tensor]]:
    return [list(group) for _, group in groupby(buffers, key=lambda buffer: buffer.dtype)]


def _flatten(buffers: list[Tensor]) -> Tensor:
    return torch.cat([buffer.reshape(-1) for buffer in buffers])
