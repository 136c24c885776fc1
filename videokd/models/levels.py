"""Backbone interface and its output: one feature map per level, and the embedding."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from videokd.utils.errors import InputError

LEVEL_NAMES = ("stage1", "stage2", "stage3", "stage4")


@dataclass(frozen=True)
class Features:
    """Features of a batch of clips.

    ``forward`` returns them; hooks would not run in a compiled graph.
    """

    levels: dict[str, Tensor]
    """Level name ("stage1" ... "stage4", low to high) -> map (B, C, T, H, W)."""
    embedding: Tensor
    """(B, D), input of the classifier."""


@dataclass(frozen=True)
class LevelShapes:
    """Shapes of ``Features`` for one clip size, without the batch dimension."""

    levels: dict[str, tuple[int, int, int, int]]
    """Level name -> (C, T, H, W)."""
    embedding_dim: int


class Backbone(nn.Module, ABC):
    """Library network without its classifier; maps clips (B, 3, T, H, W) to ``Features``.

    Attributes:
        net: The library's network; its classifier is replaced by ``nn.Identity``.
        head_name: Dotted name of the classifier in ``net``, for export to the plain network. The
            classifier is an ``nn.Linear`` or an equivalent 1x1x1 convolution.
        embedding_dim: Size D of the embedding.
    """

    head_name: str
    # Any: each family reads the attributes of its own library's network.
    net: Any

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        head = net.get_submodule(self.head_name)
        is_pointwise = isinstance(head, nn.Conv3d) and head.weight[0, 0].numel() == 1
        if not isinstance(head, nn.Linear) and not is_pointwise:
            raise TypeError(
                f"{self.head_name} must be nn.Linear or an nn.Conv3d of one position, got "
                f"{type(head).__name__}"
            )
        input_shape = net.get_parameter(f"{self.head_name}.weight").shape[1:]
        self.embedding_dim = input_shape[0]
        self._head_input_shape = tuple(input_shape)
        net.set_submodule(self.head_name, nn.Identity())
        self.net = net

    @abstractmethod
    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""

    @abstractmethod
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its members in ``net``, in the order of the forward.

        The parts are "stem", the levels, and "embedding": the layers between the last level and the
        embedding, possibly none. Each parameter and buffer is in exactly one part. A member is a
        submodule, or a parameter outside all submodules.
        """

    def head_state(self, classifier: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a classifier's weights with the names and shapes of the library's classifier.

        Args:
            classifier: State of an ``nn.Linear`` on the embedding: "weight" (K, D), "bias".

        Returns:
            The same values, named and shaped as in the library's network with K classes.
        """
        weight = classifier["weight"].unflatten(1, self._head_input_shape)
        state = {**classifier, "weight": weight}
        return {f"{self.head_name}.{key}": value for key, value in state.items()}

    def part_members(self, part: str) -> list[nn.Module | nn.Parameter]:
        """Return the members of one of ``parts()``."""
        return [attrgetter(name)(self.net) for name in self.parts()[part]]


def tokens_to_grid(tokens: Tensor, thw: tuple[int, int, int]) -> Tensor:
    """Return tokens (B, 1 + T*H*W, C), class token first, as a map (B, C, T, H, W)."""
    time, height, width = thw
    return rearrange(tokens[:, 1:], "b (t h w) c -> b c t h w", t=time, h=height, w=width)


def compute_level_shapes(backbone: Backbone, clip_shape: tuple[int, int, int, int]) -> LevelShapes:
    """Return the shapes of the features of ``backbone``, found by a forward on the meta device.

    This computes no values, takes no memory and does not change the backbone.

    Args:
        backbone: The network.
        clip_shape: (3, T, H, W) of one clip.

    Raises:
        InputError: The network does not accept this clip size.
    """
    # Per module: in a partly fine-tuned network the modes differ.
    modes = [(module, module.training) for module in backbone.modules()]
    try:
        with torch.no_grad():
            state = {
                name: torch.empty_like(value, device="meta")
                for name, value in [*backbone.named_parameters(), *backbone.named_buffers()]
            }
            # Evaluation mode: a batch of one has no batch statistics at a 1x1x1 level.
            clips = torch.empty(1, *clip_shape, device="meta")
            # copy.copy gives an uncompiled shallow copy, whose parameters functional_call replaces.
            features = torch.func.functional_call(copy.copy(backbone.eval()), state, (clips,))
    except (RuntimeError, ValueError, AssertionError) as error:  # raised by the libraries
        raise InputError(
            f"the network does not accept clips of shape (C, T, H, W) = {clip_shape}: {error}"
        ) from error
    finally:
        for module, was_training in modes:
            module.training = was_training
    return LevelShapes(
        {name: tuple(x.shape[1:]) for name, x in features.levels.items()},
        features.embedding.shape[1],
    )
