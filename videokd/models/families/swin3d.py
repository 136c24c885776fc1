"""Backbones of torchvision's Video Swin Transformer family."""

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
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import swin3d


class Swin3DBackbone(Backbone):
    """Video Swin backbone whose levels are the outputs of the four stages before patch merging.

    Strides over (T, H, W): (2, 4, 4), (2, 8, 8), (2, 16, 16), (2, 32, 32), rounded up, because the
    network pads clips of any size. The embedding is the average of the normalised last map.
    """

    head_name = "head"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        x = net.pos_drop(net.patch_embed(clips))
        levels = {}
        for i, layer in enumerate(net.features):
            x = layer(x)
            if i % 2 == 0:  # odd layers merge patches
                levels[LEVEL_NAMES[i // 2]] = rearrange(x, "b t h w c -> b c t h w")
        x = rearrange(net.norm(x), "b t h w c -> b c t h w")
        return Features(levels, net.avgpool(x).flatten(1))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages = {
            name: (f"features.{2 * i - 1}", f"features.{2 * i}")[i == 0 :]
            for i, name in enumerate(LEVEL_NAMES)
        }
        return {"stem": ("patch_embed",), **stages, "embedding": ("norm",)}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    return {
        "width": scale.channels(size.options["width"]),
        "depths": scale.depths(size.options["depths"]),
        "stochastic_depth": 0.1 * min(1.0, scale.depth_factor),
    }


def _size(
    width: int, depths: tuple[int, ...], num_params: float, gflops: float, *weights: str
) -> Size:
    return Size(
        ModelInput(32, 2, 224, IMAGENET_MEAN, IMAGENET_STD),
        options={"width": width, "depths": depths},
        published=Published(num_params, gflops, "torchvision's weights", num_frames=16),
        weights=tuple(f"torchvision:{name}" for name in weights),
    )


FAMILY = Family(
    name="swin3d",
    sizes={
        "swin3d_t": _size(96, (2, 2, 6, 2), 28.16, 43.88, "Swin3D_T_Weights.KINETICS400_V1"),
        "swin3d_s": _size(96, (2, 2, 18, 2), 49.82, 82.84, "Swin3D_S_Weights.KINETICS400_V1"),
        "swin3d_b": _size(
            *(128, (2, 2, 18, 2), 88.05, 140.67),
            "Swin3D_B_Weights.KINETICS400_V1",
            "Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1",
        ),
    },
    head_name=Swin3DBackbone.head_name,
    scale=_scale,
    build_plain=swin3d.build,
    wrap=lambda net, arguments: Swin3DBackbone(net),
)
