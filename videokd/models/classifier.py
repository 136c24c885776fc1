"""Backbone with one linear classifier per dataset, for experts, students and joint baselines."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from videokd.models.levels import Backbone, Features
from videokd.models.normalizer import ClipNormalizer
from videokd.models.precision import autocast, use_safe_convs

MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last_3d": torch.channels_last_3d,
}

Clips = Mapping[str, Tensor]
"""Name of a clip shape -> clips (B, 3, T, H, W) of the same moments, float32 RGB in [0, 1]."""


class VideoModel(Protocol):
    """Interface that tasks and evaluation use: features of clips, and logits per dataset."""

    def __call__(self, clips: Clips) -> Features:
        """Map clips to features; each network takes the clips of its own shape."""

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""


class VideoClassifier(nn.Module):
    """Video classifier that maps clips to features, and embeddings to the logits of a dataset.

    The model applies its own normalisation, precision and memory layout and selects its own clip
    shape, so that different teachers and students can share one batch.

    Args:
        backbone: Network without classifier.
        num_classes: Dataset name -> number of classes; each dataset gets one linear classifier.
        normalizer: Preprocessing of the backbone's input; None leaves the input unchanged.
        dropout: Dropout probability before the classifiers.
        precision: "float32", or "bf16" or "fp16" for autocast of the backbone; classifiers and
            everything after them stay in float32. Training in float16 needs a scaled loss, see
            ``trains_in_fp16``. Convolutions become ``SafeConv3d``, for training on a CPU.
        memory_format: "contiguous" or "channels_last_3d".
        clip_name: Name of the model's clip shape in a batch, see ``Clips``.
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
        clip_name: str = "clip",
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
        if precision != "float32":
            use_safe_convs(backbone)
        self.normalizer = normalizer or ClipNormalizer()

    def forward(self, clips: Clips) -> Features:
        """Compute the features of the clips of the model's own shape.

        Raises:
            ValueError: There are no clips of that shape.
        """
        normalised: Tensor = self.normalizer(self._pick(clips))
        own = normalised.contiguous(memory_format=self.memory_format)
        with autocast(self.precision, own.device.type):
            return self.backbone(own)

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        return self.heads[dataset](self.dropout(embedding.float()))

    def _pick(self, clips: Clips) -> Tensor:
        if self.clip_name not in clips:
            raise ValueError(f"the network takes clips {self.clip_name!r}, got {', '.join(clips)}")
        return clips[self.clip_name]


def _lay_out_weights(backbone: Backbone, memory_format: torch.memory_format) -> None:
    # Module.to would apply the format of 3D convolutions to 2D ones too, and fail.
    formats = {5: memory_format, 4: memory_format}
    if memory_format == torch.channels_last_3d:
        formats[4] = torch.channels_last
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        if tensor.ndim in formats:
            tensor.data = tensor.data.contiguous(memory_format=formats[tensor.ndim])


def trains_in_fp16(task: nn.Module) -> bool:
    """Return whether ``task`` trains a network in float16, which needs a scaled loss."""
    return any(
        isinstance(module, VideoClassifier)
        and module.precision == "fp16"
        and any(parameter.requires_grad for parameter in module.parameters())
        for module in task.modules()
    )
