"""Backbones of Hugging Face's TimeSformer family."""

from typing import Any

from einops import rearrange
from torch import Tensor

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import Backbone, Features
from videokd.models.optional import build_with
from videokd.models.tokens import (
    check_clip_divides,
    clip_grid,
    name_blocks,
    run_blocks,
    scale_transformer,
)


class TimesformerBackbone(Backbone):
    """TimeSformer backbone whose levels are the tokens after each quarter of the blocks.

    Levels are maps without the class token, with strides (1, 16, 16); of 12 blocks, the outputs of
    the 3rd, 6th, 9th and 12th. The embedding is the normalised class token.
    """

    head_name = "classifier"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float.

        Raises:
            ValueError: The network was built for another clip size.
        """
        self.net.check_size(clips)
        net = self.net.timesformer
        time, height, width = clip_grid(clips, frames_per_token=1)
        tokens, levels = run_blocks(
            net.encoder.layer,
            net.embeddings(clips.transpose(1, 2)),
            run=lambda block, tokens: block(tokens)[0],
            # Between the blocks time is the fastest axis of the tokens.
            to_map=lambda tokens: rearrange(
                tokens[:, 1:], "b (h w t) c -> b c t h w", t=time, h=height, w=width
            ),
        )
        return Features(levels, net.layernorm(tokens[:, 0]))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        blocks = name_blocks("timesformer.encoder.layer", len(self.net.timesformer.encoder.layer))
        return {
            "stem": ("timesformer.embeddings",),
            **blocks,
            "embedding": ("timesformer.layernorm",),
        }


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    check_clip_divides(name, scale, frames_per_token=1)
    return {
        "num_frames": scale.num_frames,
        "crop_size": scale.crop_size,
        **scale_transformer(scale, width=768, num_heads=12, num_blocks=12),
    }


FAMILY = Family(
    name="timesformer",
    sizes={
        "timesformer_b": Size(
            ModelInput(8, 32, 224, PLAIN_MEAN, PLAIN_STD),
            published=Published(
                121.4, 196.7, "TimeSformer, table 2", "published as 0.59 TFLOPs of three crops"
            ),
            weights=("hf:facebook/timesformer-base-finetuned-k400",),
        ),
    },
    head_name=TimesformerBackbone.head_name,
    scale=_scale,
    build_plain=build_with("transformers", "timesformer"),
    wrap=lambda net, arguments: TimesformerBackbone(net),
)
