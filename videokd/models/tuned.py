"""A network trained on in part or as a whole: the experts that a joint teacher fine-tunes."""

from collections.abc import Iterator

from torch import nn

from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.levels import Features
from videokd.utils.errors import InputError

TUNED_PARTS = ("last_stage", "all")


class Tuned(nn.Module):
    """Hold ``model`` with a part of its backbone trainable, and the rest as if frozen.

    The rest, the model's own classifiers included, stays in eval mode (its norms keep their
    statistics) and without gradient, whatever ``train()`` is called on. Other than in ``Frozen``,
    the whole model is registered: it is in ``state_dict()`` of whatever holds it.

    Args:
        model: The network; changed in place. Pass a copy where the original is still wanted.
        part: "all" of the backbone, or its "last_stage" with what follows it.
        top: The highest level that is looked at, "stage1" ... "embedding". What lies above it gets
            no gradient and is therefore not trained; "last_stage" is the stage that ends there.

    Raises:
        InputError: Unknown ``part``.
    """

    def __init__(self, model: VideoClassifier, part: str, *, top: str = "embedding") -> None:
        super().__init__()
        if part not in TUNED_PARTS:
            raise InputError(f"part must be one of {', '.join(TUNED_PARTS)}, got {part!r}")
        self.module = model
        names = list(model.backbone.parts())
        reached = names[: names.index(top) + 1]
        if part == "last_stage":
            reached = reached[-2:] if top == "embedding" else reached[-1:]
        self._trained_parts = reached
        model.requires_grad_(False)
        for member in self._trained():
            member.requires_grad_(True)
        self.train()

    def forward(self, clips: Clips) -> Features:
        """Compute the features of clips (B, 3, T, H, W), float32 RGB in [0, 1]."""
        return self.module(clips)

    def train(self, mode: bool = True) -> "Tuned":
        """Set the mode of the trained part; the rest goes to eval mode."""
        super().train(False)
        self.training = mode
        # The model's own flag switches the guard of bf16 training on, and nothing else.
        self.module.training = mode
        for member in self._trained():
            if isinstance(member, nn.Module):
                member.train(mode)
        return self

    def _trained(self) -> Iterator[nn.Module | nn.Parameter]:
        # Looked up each time: the guard of bf16 training replaces convolutions.
        for part in self._trained_parts:
            yield from self.module.backbone.part_members(part)
