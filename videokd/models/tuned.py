"""Partly trainable networks: the experts that a joint teacher fine-tunes."""

from torch import nn

from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.levels import Features
from videokd.utils.errors import InputError

TUNED_PARTS = ("last_stage", "all")


class Tuned(nn.Module):
    """Holder of a model of which only a part of the backbone is trained.

    The rest, including the model's own classifiers, stays in eval mode (norms keep their
    statistics) and without gradient, also after ``train()``. Unlike in ``Frozen``, the whole model
    is registered and in the ``state_dict()`` of the parent.

    Args:
        model: The network; changed in place. Pass a copy to keep the original.
        part: "all" of the backbone, or its "last_stage" and the layers after it.
        top: Highest level in use, "stage1" ... "embedding". Layers above it get no gradient and are
            not trained; "last_stage" is the stage that ends at this level.

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
        self._trained = [m for name in reached for m in model.backbone.part_members(name)]
        model.requires_grad_(False)
        for member in self._trained:
            member.requires_grad_(True)
        self.train()

    def forward(self, clips: Clips) -> Features:
        """Compute the features of the clips of the model's own shape."""
        return self.module(clips)

    def train(self, mode: bool = True) -> "Tuned":
        """Set the mode of the trained part; the rest stays in eval mode."""
        super().train(False)
        self.training = mode
        for member in self._trained:
            if isinstance(member, nn.Module):
                member.train(mode)
        return self
