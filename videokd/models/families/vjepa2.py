"""Backbones of Hugging Face's V-JEPA 2 classifiers."""

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


class VJEPA2Backbone(Backbone):
    """V-JEPA 2 backbone whose levels are the tokens after each quarter of the blocks.

    Levels are maps of strides (2, 16, 16): of 24 blocks, the outputs of the 6th, 12th, 18th and
    24th; of 40 blocks, of the 10th, 20th, 30th and 40th. The embedding is the output of the
    attentive pooler (four blocks) for the normalised tokens of the last block.
    ``vjepa2.predictor`` belongs to the pre-training, never runs and has no gradient. Position
    embeddings are rotary, so that clips may have any even number of frames.
    """

    head_name = "classifier"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float.

        Raises:
            ValueError: The network was built for another H or W.
        """
        self.net.check_size(clips)
        encoder = self.net.vjepa2.encoder
        time, height, width = clip_grid(clips, frames_per_token=2)
        tokens, levels = run_blocks(
            encoder.layer,
            encoder.embeddings(clips.transpose(1, 2)),
            run=lambda block, tokens: block(tokens)[0],
            to_map=lambda tokens: rearrange(
                tokens, "b (t h w) c -> b c t h w", t=time, h=height, w=width
            ),
        )
        return Features(levels, self.net.pooler(encoder.layernorm(tokens)))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        blocks = name_blocks("vjepa2.encoder.layer", len(self.net.vjepa2.encoder.layer))
        return {
            "stem": ("vjepa2.encoder.embeddings",),
            **blocks,
            "embedding": ("vjepa2.encoder.layernorm", "vjepa2.predictor", "pooler"),
        }


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    check_clip_divides(name, scale, frames_per_token=2)
    mlp_ratio, encoder = size.options["mlp_ratio"], size.options["encoder"]
    predictor = scale_transformer(scale, width=384, num_heads=12, num_blocks=12)
    return {
        "crop_size": scale.crop_size,
        **scale_transformer(scale, **encoder),
        "mlp_ratio": mlp_ratio,
        "predictor": tuple(predictor[key] for key in ("width", "num_heads", "num_blocks")),
    }


def _published(num_params: float) -> Published:
    remark = "of the encoder alone; ours has the pooler and the unused predictor too"
    return Published(num_params, 0.0, "V-JEPA 2, its repository", remark)


FAMILY = Family(
    name="vjepa2",
    sizes={
        "vjepa2_l": Size(
            ModelInput(16, 4, 256, IMAGENET_MEAN, IMAGENET_STD),
            options={
                "encoder": {"width": 1024, "num_heads": 16, "num_blocks": 24},
                "mlp_ratio": 4.0,
            },
            published=_published(300),
            weights=("hf:facebook/vjepa2-vitl-fpc16-256-ssv2",),
        ),
        "vjepa2_g_384": Size(
            ModelInput(64, 2, 384, IMAGENET_MEAN, IMAGENET_STD),
            options={
                "encoder": {"width": 1408, "num_heads": 22, "num_blocks": 40},
                "mlp_ratio": 48 / 11,
            },
            published=_published(1000),
            weights=("hf:facebook/vjepa2-vitg-fpc64-384-ssv2",),
        ),
    },
    head_name=VJEPA2Backbone.head_name,
    scale=_scale,
    build_plain=build_with("transformers", "vjepa2"),
    wrap=lambda net, arguments: VJEPA2Backbone(net),
)
