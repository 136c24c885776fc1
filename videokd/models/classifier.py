"""A backbone with one linear classifier per dataset: experts, students and joint baselines."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from videokd.models.levels import Backbone, Features
from videokd.models.normalizer import ClipNormalizer
from videokd.models.precision import PRECISIONS, guard_convs

MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last_3d": torch.channels_last_3d,
}

# (B, 3, T, H, W), float32 RGB in [0, 1]; or the same moments in several shapes, by their names.
Clips = Tensor | Mapping[str, Tensor]


class VideoModel(Protocol):
    """What tasks and evaluation need: features of clips, and logits per dataset."""

    def __call__(self, clips: Clips) -> Features:
        """Map clips (B, 3, T, H, W) in [0, 1] to features."""

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""


class VideoClassifier(nn.Module):
    """Clips in [0, 1] -> features, and embedding -> logits of a dataset's classes.

    The network's own normalisation, precision and memory layout travel with it, and so does the
    name of the clips that it takes, so that teachers and students of different kinds can be fed
    with the same batch.

    Args:
        backbone: The network without classifier.
        num_classes: Dataset name -> number of its classes; one linear classifier each.
        normalizer: What the backbone's input goes through first; None: nothing is done to it.
        dropout: Probability before the classifiers.
        precision: "float32", or "bf16" or "fp16" for autocast of the backbone; classifiers and
            everything after them stay in float32. The loss of a network that is trained in float16
            must be scaled, see ``trains_in_fp16``. The first training step on a device and clip
            size checks the backbone's convolutions, see ``precision.guard_convs``.
        memory_format: "contiguous" or "channels_last_3d".
        clip_name: Which clips it takes where there are several shapes.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: Mapping[str, int],
        *,
        normalizer: ClipNormalizer | None = None,
        dropout: float = 0.0,
        precision: str = "float32",
        memory_format: str = "contiguous",
        clip_name: str = "",
    ) -> None:
        super().__init__()
        self.memory_format = MEMORY_FORMATS[memory_format]
        self.backbone = backbone
        _lay_out_weights(backbone, self.memory_format)
        self.dropout = nn.Dropout(dropout)
        heads = {name: nn.Linear(backbone.embedding_dim, k) for name, k in num_classes.items()}
        for head in heads.values():
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleDict(heads)
        self.precision = precision
        self.clip_name = clip_name
        self._guarded: set[tuple[str, torch.Size]] = set()
        self.normalizer = normalizer or ClipNormalizer()

    def forward(self, clips: Clips) -> Features:
        """Compute the features of clips (B, 3, T, H, W), float32 RGB in [0, 1].

        Raises:
            ValueError: Clips of several shapes are given, and its own is not among them.
        """
        if not isinstance(clips, Tensor):
            clips = _pick(clips, self.clip_name)
        normalised: Tensor = self.normalizer(clips)
        clips = normalised.contiguous(memory_format=self.memory_format)
        # Only training needs right gradients: frozen experts and evaluation never pay for this.
        if self.training and torch.is_grad_enabled():
            self.guard(clips)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(clips.device.type, dtype, enabled=dtype is not None):
            return self.backbone(clips)

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        return self.heads[dataset](self.dropout(embedding.float()))

    def guard(self, clips: Clips) -> None:
        """Check the convolutions for clips like these, once, where training is in half precision.

        The first step of a training does it by itself: only there are device and size known.

        Args:
            clips: (B, 3, T, H, W), or several shapes by name; of any type, they are not looked at.
        """
        clips = clips if isinstance(clips, Tensor) else _pick(clips, self.clip_name)
        key = (clips.device.type, clips.shape[1:])
        dtype = PRECISIONS[self.precision]
        if dtype is not None and key not in self._guarded:
            self._guarded.add(key)
            channels, time, height, width = clips.shape[1:]
            guard_convs(self.backbone, (channels, time, height, width), clips.device, dtype)


def _lay_out_weights(backbone: Backbone, memory_format: torch.memory_format) -> None:
    # Not Module.to: it wants the format of 3D convolutions for 2D ones too, and fails.
    formats = {5: memory_format, 4: memory_format}
    if memory_format == torch.channels_last_3d:
        formats[4] = torch.channels_last
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        if tensor.ndim in formats:
            tensor.data = tensor.data.contiguous(memory_format=formats[tensor.ndim])


def trains_in_fp16(task: nn.Module) -> bool:
    """Say whether a network that ``task`` trains computes in float16: its loss must be scaled."""
    return any(
        isinstance(module, VideoClassifier)
        and module.precision == "fp16"
        and any(parameter.requires_grad for parameter in module.parameters())
        for module in task.modules()
    )


def map_clips(function: Callable[[Tensor], Tensor], clips: Clips) -> Clips:
    """Apply a function to the clips of each shape."""
    if isinstance(clips, Tensor):
        return function(clips)
    return {name: function(each) for name, each in clips.items()}


def _pick(clips: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in clips:
        raise ValueError(f"the network takes clips {name!r}, there are {', '.join(clips)}")
    return clips[name]
