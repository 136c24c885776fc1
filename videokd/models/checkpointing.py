"""Activation checkpointing: less training memory for a second forward, with the same result."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from videokd.models.levels import LEVEL_NAMES, Backbone

_LISTS = (nn.Sequential, nn.ModuleList)


def checkpoint_activations(backbone: Backbone) -> Backbone:
    """Recompute the activations of every block of the four stages in the backward pass.

    The recomputation uses the same random numbers, precision and mode. Loss, gradients and norm
    statistics therefore equal those of the plain network, bit for bit with deterministic kernels. A
    block is an element of a stage's module list, or the whole stage if it is not a list.

    Names and parameters do not change. The stem and the layers after the last stage keep their
    activations, and nothing changes when gradients are disabled.

    Args:
        backbone: Changed in place; call this once per backbone.

    Returns:
        The same backbone.
    """
    for block in list_blocks(backbone):
        # Replace the method of the instance: a wrapper module would change names.
        block.forward = partial(_forward, block, block.forward)
    return backbone


def list_blocks(backbone: Backbone) -> list[nn.Module]:
    """Return the blocks of the four stages; the forward calls each of them as a module."""
    members = [member for level in LEVEL_NAMES for member in backbone.part_members(level)]
    return [b for member in members if isinstance(member, nn.Module) for b in _blocks(member)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of a stage's member: the elements of its list, or the member itself."""
    children = list(module.children())
    # A module whose only child is a list counts as a list (stages of X3D). A subclass of a list
    # type is a block.
    is_list = type(module) in _LISTS or [type(child) in _LISTS for child in children] == [True]
    if is_list and any(_has_children(child) for child in children):
        for child in children:
            yield from _blocks(child)
    # A single layer keeps little more than its input, so that checkpointing it saves nothing.
    elif children:
        yield module


def _has_children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():
        # A compiled graph updates statistics once by itself and does not support context_fn.
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the forward and of its recomputation."""
    return nullcontext(), _on_copies(block)


@contextmanager
def _on_copies(block: nn.Module) -> Iterator[None]:
    """Run the body on copies of the batch norms' statistics, so that a batch counts only once."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [(norm, name, value) for norm in norms for name, value in norm.named_buffers()]
    for norm, name, value in kept:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)
