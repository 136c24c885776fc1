"""Activation checkpointing: less memory in training for one more forward, with the same result."""

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
    """Make every block of the four stages keep its input only, and compute the rest again.

    The backward computes a block's activations anew, with the same random numbers, precision and
    mode, so that loss, gradients and the statistics of norms are those of the plain network, bit
    for bit where its kernels are deterministic. Blocks are the elements of a stage's list of
    modules, or the stage as a whole where it is no list. Names and parameters stay; stem and what
    follows the last stage keep their activations, and nothing changes without gradients.

    Args:
        backbone: Changed in place; once is enough.

    Returns:
        The same.
    """
    for block in list_blocks(backbone):
        # Of this module alone and not by a wrapper, which would change names.
        block.forward = partial(_forward, block, block.forward)
    return backbone


def list_blocks(backbone: Backbone) -> list[nn.Module]:
    """Return the blocks of the four stages, each of which is a module that is called."""
    members = [member for level in LEVEL_NAMES for member in backbone.part_members(level)]
    return [b for member in members if isinstance(member, nn.Module) for b in _blocks(member)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules in a member of a stage that are called one by one."""
    children = list(module.children())
    # What holds but a list is one, as the stages of X3D; a subclass is a block of its own.
    is_list = type(module) in _LISTS or [type(child) in _LISTS for child in children] == [True]
    if is_list and any(_has_children(child) for child in children):
        for child in children:
            yield from _blocks(child)
    # A single layer keeps little more than its input anyway.
    elif children:
        yield module


def _has_children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():
        # A compiled graph updates statistics once by itself, and takes no such contexts.
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what the forward and what its repetition run in."""
    return nullcontext(), _on_copies(block)


@contextmanager
def _on_copies(block: nn.Module) -> Iterator[None]:
    """Let batch norms, which see the same batch again, count it on copies of their statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [(norm, name, value) for norm in norms for name, value in norm.named_buffers()]
    for norm, name, value in kept:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)
