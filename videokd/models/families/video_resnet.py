"""Backbones of torchvision's VideoResNet family: r3d_18, mc3_18, r2plus1d_18."""

from typing import Any

from torch import Tensor

from videokd.models.family import Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import video_resnet


class VideoResNetBackbone(Backbone):
    """VideoResNet backbone whose levels are the outputs of ``layer1`` to ``layer4``.

    The embedding is the global average of the last level. Strides over (T, H, W): (1, 2, 2),
    (2, 4, 4), (4, 8, 8), (8, 16, 16) for r3d and r2plus1d; mc3 keeps T.
    """

    head_name = "fc"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        x = net.stem(clips)
        levels = {}
        for name, layer in zip(
            LEVEL_NAMES, (net.layer1, net.layer2, net.layer3, net.layer4), strict=True
        ):
            x = layer(x)
            levels[name] = x
        return Features(levels, net.avgpool(x).flatten(1))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        layers = {name: (f"layer{i}",) for i, name in enumerate(LEVEL_NAMES, start=1)}
        return {"stem": ("stem",), **layers, "embedding": ()}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    return {"arch": name, "width": scale.channels(64), "depths": scale.depths((2, 2, 2, 2))}


def _size(name: str, num_params: float, gflops: float) -> Size:
    return Size(
        ModelInput(16, 2, 112),
        published=Published(num_params, gflops, "torchvision's weights"),
        weights=(f"torchvision:{name}_Weights.KINETICS400_V1",),
    )


FAMILY = Family(
    name="video_resnet",
    sizes={
        "r3d_18": _size("R3D_18", 33.37, 40.70),
        "mc3_18": _size("MC3_18", 11.70, 43.34),
        "r2plus1d_18": _size("R2Plus1D_18", 31.51, 40.52),
    },
    head_name=VideoResNetBackbone.head_name,
    scale=_scale,
    build_plain=video_resnet.build,
    wrap=lambda net, arguments: VideoResNetBackbone(net),
)
