"""Backbones of Hugging Face's ViViT family."""

from typing import Any

from torch import Tensor

from videokd.models.family import Family, ModelInput, Published, Scale, Size
from videokd.models.levels import Backbone, Features, tokens_to_grid
from videokd.models.optional import build_with
from videokd.models.tokens import (
    check_clip_divides,
    clip_grid,
    name_blocks,
    run_blocks,
    scale_transformer,
)


class VivitBackbone(Backbone):
    """ViViT backbone whose levels are the tokens after each quarter of the blocks.

    Levels are maps without the class token, with strides (2, 16, 16); of 12 blocks, the outputs of
    the 3rd, 6th, 9th and 12th. The embedding is the normalised class token.
    """

    head_name = "classifier"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net.vivit
        grid = clip_grid(clips, frames_per_token=2)
        tokens, levels = run_blocks(
            net.layers,
            net.embeddings(clips.transpose(1, 2)),
            run=lambda block, tokens: block(tokens),
            to_map=lambda tokens: tokens_to_grid(tokens, grid),
        )
        return Features(levels, net.layernorm(tokens[:, 0]))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        blocks = name_blocks("vivit.layers", len(self.net.vivit.layers))
        return {"stem": ("vivit.embeddings",), **blocks, "embedding": ("vivit.layernorm",)}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    check_clip_divides(name, scale, frames_per_token=2)
    return {
        "num_frames": scale.num_frames,
        "crop_size": scale.crop_size,
        **scale_transformer(scale, width=768, num_heads=12, num_blocks=12),
    }


FAMILY = Family(
    name="vivit",
    sizes={
        "vivit_b": Size(
            # Trained on values in [-1, 1]. The library's processor maps to [-1, 1] and then applies
            # this mean and deviation again.
            ModelInput(32, 2, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            published=Published(
                88.9, 455.2, "ViViT, table 2", "the paper does not say what its count holds"
            ),
            weights=("hf:google/vivit-b-16x2-kinetics400",),
        ),
    },
    head_name=VivitBackbone.head_name,
    scale=_scale,
    build_plain=build_with("transformers", "vivit"),
    wrap=lambda net, arguments: VivitBackbone(net),
)
