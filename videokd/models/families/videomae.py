"""Backbones of Hugging Face's VideoMAE family."""

from typing import Any

from einops import rearrange
from torch import Tensor

from videokd.models.family import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Family,
    ModelInput,
    Published,
    Scale,
    Size,
)
from videokd.models.levels import Backbone, Features
from videokd.models.optional import build_with
from videokd.models.tokens import (
    check_clip_divides,
    clip_grid,
    name_blocks,
    run_blocks,
    scale_transformer,
)


class VideoMAEBackbone(Backbone):
    """VideoMAE backbone whose levels are the tokens after each quarter of the blocks.

    Levels are maps of strides (2, 16, 16): of 12 blocks, the outputs of the 3rd, 6th, 9th and 12th;
    of 24 blocks, of the 6th, 12th, 18th and 24th. There is no class token; the embedding is the
    normalised mean of the last block's tokens. Position embeddings are sines of the token index in
    the flattened grid, so that networks for different clip sizes encode a position differently.
    """

    head_name = "classifier"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        time, height, width = clip_grid(clips, frames_per_token=2)
        tokens, levels = run_blocks(
            net.videomae.encoder.layer,
            net.videomae.embeddings(clips.transpose(1, 2), None),
            run=lambda block, tokens: block(tokens),
            to_map=lambda tokens: rearrange(
                tokens, "b (t h w) c -> b c t h w", t=time, h=height, w=width
            ),
        )
        return Features(levels, net.fc_norm(tokens.mean(dim=1)))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        blocks = name_blocks("videomae.encoder.layer", len(self.net.videomae.encoder.layer))
        return {"stem": ("videomae.embeddings",), **blocks, "embedding": ("fc_norm",)}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    check_clip_divides(name, scale, frames_per_token=2)
    return {
        "num_frames": scale.num_frames,
        "crop_size": scale.crop_size,
        **scale_transformer(scale, **size.options),
    }


def _size(
    name: str, *, width: int, num_heads: int, num_blocks: int, published: tuple[float, float]
) -> Size:
    num_params, gflops = published
    return Size(
        ModelInput(16, 4, 224, IMAGENET_MEAN, IMAGENET_STD),
        options={"width": width, "num_heads": num_heads, "num_blocks": num_blocks},
        published=Published(num_params, gflops, "VideoMAE, comparison on Kinetics-400"),
        weights=(f"hf:MCG-NJU/videomae-{name}-finetuned-kinetics",),
    )


FAMILY = Family(
    name="videomae",
    sizes={
        "videomae_s": _size("small", width=384, num_heads=6, num_blocks=12, published=(22, 57)),
        "videomae_b": _size("base", width=768, num_heads=12, num_blocks=12, published=(87, 180)),
        "videomae_l": _size("large", width=1024, num_heads=16, num_blocks=24, published=(305, 597)),
    },
    head_name=VideoMAEBackbone.head_name,
    scale=_scale,
    build_plain=build_with("transformers", "videomae"),
    wrap=lambda net, arguments: VideoMAEBackbone(net),
)
