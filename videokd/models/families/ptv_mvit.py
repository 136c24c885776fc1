"""Backbones of pytorchvideo's MViT family."""

from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features, tokens_to_grid
from videokd.models.plain import ptv_mvit
from videokd.utils.errors import InputError


class PtvMViTBackbone(Backbone):
    """MViT backbone whose levels are the tokens after each stage's last block.

    Levels are maps without the class token. Strides over (T, H, W): (2, 4, 4), (2, 8, 8),
    (2, 16, 16), (2, 32, 32). A stage's last block already has the channels of the next stage, so
    that the levels at full size have 192, 384, 768 and 768 channels. The embedding is the
    normalised class token.

    Args:
        net: The network.
        depths: Blocks of each of the four stages.
    """

    head_name = "head.proj"

    def __init__(self, net: nn.Module, depths: tuple[int, int, int, int]) -> None:
        super().__init__(net)
        self._last_blocks = {
            last - 1: name for name, last in zip(LEVEL_NAMES, accumulate(depths), strict=True)
        }

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        encoding = net.cls_positional_encoding
        tokens = encoding(net.patch_embed(clips))
        thw = encoding.patch_embed_shape
        levels = {}
        for i, block in enumerate(net.blocks):
            tokens, thw = block(tokens, thw)
            if i in self._last_blocks:
                levels[self._last_blocks[i]] = tokens_to_grid(tokens, tuple(thw))
        return Features(levels, net.norm_embed(tokens)[:, 0])

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages, start = {}, 0
        for last, name in self._last_blocks.items():
            stages[name] = tuple(f"blocks.{i}" for i in range(start, last + 1))
            start = last + 1
        stem = ("patch_embed", "cls_positional_encoding")
        return {"stem": stem, **stages, "embedding": ("norm_embed",)}


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
    }


def _size(hub_name: str, num_frames: int, sampling_rate: int, gflops: float) -> Size:
    return Size(
        ModelInput(num_frames, sampling_rate, 224, PLAIN_MEAN, PLAIN_STD),
        published=Published(36.61, gflops, "PyTorchVideo's model zoo"),
        weights=(f"pytorchvideo:{hub_name}",),
    )


FAMILY = Family(
    name="ptv_mvit",
    sizes={
        "mvit_b_16x4": _size("mvit_base_16x4", 16, 4, 70.80),
        "mvit_b_32x3": _size("mvit_base_32x3", 32, 3, 170.37),
    },
    head_name=PtvMViTBackbone.head_name,
    scale=_scale,
    build_plain=ptv_mvit.build,
    wrap=lambda net, arguments: PtvMViTBackbone(net, arguments["depths"]),
)
