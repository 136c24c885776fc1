"""Backbones of torchvision's MViT family."""

from itertools import accumulate
from typing import Any

from torch import Tensor
from torchvision.models.video.mvit import MViT

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features, tokens_to_grid
from videokd.models.plain import mvit
from videokd.models.plain.mvit import GapMViT
from videokd.utils.errors import InputError


class MViTBackbone(Backbone):
    """MViT backbone whose levels are the tokens after each stage's last block.

    Levels are maps without the class token. Strides over (T, H, W): (2, 4, 4), (2, 8, 8),
    (2, 16, 16), (2, 32, 32). In version 1 a stage's last block already has the channels of the next
    stage. The embedding is the normalised class token; for ``GapMViT`` it is the mean of the other
    normalised tokens.

    Args:
        net: The network.
        depths: Blocks of each of the four stages.
    """

    head_name = "head.1"

    def __init__(self, net: MViT, depths: tuple[int, int, int, int]) -> None:
        super().__init__(net)
        self._last_blocks = {
            last - 1: name for name, last in zip(LEVEL_NAMES, accumulate(depths), strict=True)
        }

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        patches = net.conv_proj(clips)
        thw = tuple(patches.shape[2:])
        tokens = net.pos_encoding(patches.flatten(2).transpose(1, 2))
        levels = {}
        for i, block in enumerate(net.blocks):
            tokens, thw = block(tokens, thw)
            if i in self._last_blocks:
                levels[self._last_blocks[i]] = tokens_to_grid(tokens, thw)
        tokens = net.norm(tokens)
        is_mean = isinstance(net, GapMViT)
        return Features(levels, tokens[:, 1:].mean(dim=1) if is_mean else tokens[:, 0])

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages, start = {}, 0
        for last, name in self._last_blocks.items():
            stages[name] = tuple(f"blocks.{i}" for i in range(start, last + 1))
            start = last + 1
        return {"stem": ("conv_proj", "pos_encoding"), **stages, "embedding": ("norm",)}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    if scale.num_frames % 2 or scale.crop_size % 4:
        raise InputError(
            f"{name} needs an even number of frames and a crop that is a multiple of 4 px, got "
            f"NUM_FRAMES {scale.num_frames} and CROP_SIZE {scale.crop_size}, its own or of DATA"
        )
    return {
        "num_frames": scale.num_frames,
        "crop_size": scale.crop_size,
        "width": scale.channels(96),
        "depths": scale.depths((1, 2, 11, 2)),
        "stochastic_depth": 0.2 * min(1.0, scale.depth_factor),
        **size.options,
    }


_INPUT = ModelInput(16, 4, 224, PLAIN_MEAN, PLAIN_STD)

FAMILY = Family(
    name="mvit",
    sizes={
        "mvit_v1_b": Size(
            _INPUT,
            options={"pool": "class_token", "version": 1},
            published=Published(36.61, 70.60, "torchvision's weights"),
            weights=("torchvision:MViT_V1_B_Weights.KINETICS400_V1",),
        ),
        "mvit_v2_s": Size(
            _INPUT,
            options={"pool": "class_token", "version": 2},
            published=Published(34.54, 64.22, "torchvision's weights"),
            weights=("torchvision:MViT_V2_S_Weights.KINETICS400_V1",),
        ),
        "mvit_v2_s_gap": Size(_INPUT, options={"pool": "mean", "version": 2}),
    },
    head_name=MViTBackbone.head_name,
    scale=_scale,
    build_plain=mvit.build,
    wrap=lambda net, arguments: MViTBackbone(net, arguments["depths"]),
)
