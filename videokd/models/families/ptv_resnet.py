"""Backbones of pytorchvideo's residual networks: c2d, i3d, slow, r2plus1d, csn."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import ptv_resnet


class PtvResNetBackbone(Backbone):
    """Residual backbone whose levels are the outputs of the four stages.

    The embedding is the global average of the last level. Strides over (T, H, W): slow (1, 4, 4),
    (1, 8, 8), (1, 16, 16), (1, 32, 32); r2plus1d
    (1, 4, 4), (1, 8, 8), (2, 16, 16), (4, 32, 32); csn (1, 4, 4), (2, 8, 8), (4, 16, 16),
    (8, 32, 32).
    """

    head_name = "blocks.5.proj"
    # Indices in ``net.blocks`` of each level.
    level_blocks: tuple[tuple[int, ...], ...] = ((1,), (2,), (3,), (4,))

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        blocks = self.net.blocks
        x = blocks[0](clips)
        levels = {}
        for name, indices in zip(LEVEL_NAMES, self.level_blocks, strict=True):
            for i in indices:
                x = blocks[i](x)
            levels[name] = x
        return Features(levels, blocks[-1].pool(x).flatten(1))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages = {
            name: tuple(f"blocks.{i}" for i in indices)
            for name, indices in zip(LEVEL_NAMES, self.level_blocks, strict=True)
        }
        return {"stem": ("blocks.0",), **stages, "embedding": ()}


class TimePooledBackbone(PtvResNetBackbone):
    """Backbone of c2d and i3d, which halve T between the first and the second stage.

    Strides over (T, H, W): (1, 4, 4), (2, 8, 8), (2, 16, 16), (2, 32, 32).
    """

    head_name = "blocks.6.proj"
    level_blocks = ((1,), (2, 3), (4,), (5,))


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    return {
        "arch": name,
        "width": scale.channels(64),
        "depths": scale.depths(size.options["depths"]),
    }


def _wrap(net: nn.Module, arguments: Mapping[str, Any]) -> Backbone:
    is_pooled = arguments["arch"] in ("c2d_r50", "i3d_r50")
    return TimePooledBackbone(net) if is_pooled else PtvResNetBackbone(net)


def _size(
    name: str,
    clip: tuple[int, int],
    published: tuple[float, float],
    *,
    depths: tuple[int, int, int, int] = (3, 4, 6, 3),
    head_name: str = "",
    norms: str = "the zoo counts batch norms too, at 5 operations a value",
) -> Size:
    return Size(
        ModelInput(*clip, 224, PLAIN_MEAN, PLAIN_STD),
        options={"depths": depths},
        published=Published(
            *published,
            source="PyTorchVideo's model zoo",
            remark=norms,
            crop_size=256,
        ),
        weights=(f"pytorchvideo:{name}",),
        head_name=head_name,
    )


_POOLED_HEAD = TimePooledBackbone.head_name

FAMILY = Family(
    name="ptv_resnet",
    sizes={
        "c2d_r50": _size("c2d_r50", (8, 8), (24.33, 25.89), head_name=_POOLED_HEAD),
        "i3d_r50": _size("i3d_r50", (8, 8), (28.04, 37.53), head_name=_POOLED_HEAD),
        "slow_r50": _size("slow_r50", (8, 8), (32.45, 54.52), norms=""),
        "r2plus1d_r50": _size("r2plus1d_r50", (16, 4), (28.11, 76.45)),
        "csn_r101": _size("csn_r101", (32, 2), (22.21, 75.62), depths=(3, 4, 23, 3)),
    },
    head_name=PtvResNetBackbone.head_name,
    scale=_scale,
    build_plain=ptv_resnet.build,
    wrap=_wrap,
)
