"""Backbones of torchvision's S3D."""

from itertools import accumulate
from typing import Any

from torch import Tensor
from torchvision.models.video import S3D

from videokd.models.family import Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import s3d
from videokd.utils.errors import InputError


class S3DBackbone(Backbone):
    """S3D backbone whose levels are the maps before the three later pooling layers, and the last.

    Strides over (T, H, W): (2, 4, 4), (2, 8, 8), (4, 16, 16), (8, 32, 32); the last one rounds
    down. The embedding is the library's pooled map averaged over its positions. Since the
    classifier is a 1x1x1 convolution, its output for the embedding is the library's averaged
    output.

    Args:
        net: The network.
        depths: Inception blocks of the second to fourth stage.
    """

    head_name = "classifier.1"

    def __init__(self, net: S3D, depths: tuple[int, int, int]) -> None:
        super().__init__(net)
        # The stem has two layers, and so has the first stage; later stages begin with a pooling.
        ends = list(accumulate((2, 2, *(1 + depth for depth in depths))))
        self._stages = dict(zip(LEVEL_NAMES, zip(ends, ends[1:], strict=False), strict=True))

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        x = self.net.features[1](self.net.features[0](clips))
        levels = {}
        for name, (start, end) in self._stages.items():
            x = self.net.features[start:end](x)
            levels[name] = x
        return Features(levels, self.net.avgpool(x).mean(dim=(2, 3, 4)))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages = {
            name: tuple(f"features.{i}" for i in range(start, end))
            for name, (start, end) in self._stages.items()
        }
        return {"stem": ("features.0", "features.1"), **stages, "embedding": ()}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    if scale.num_frames < 5 or scale.crop_size < 17:
        # The input of the last pooling would be empty.
        raise InputError(
            f"{name} needs at least 5 frames and a crop of at least 17 px, got NUM_FRAMES "
            f"{scale.num_frames} and CROP_SIZE {scale.crop_size}, its own or of DATA"
        )
    return {"width_factor": scale.width_factor, "depths": scale.depths((2, 5, 2))}


FAMILY = Family(
    name="s3d",
    sizes={
        "s3d": Size(
            # The weights were trained on 64 frames; torchvision's stated accuracy is for 128.
            ModelInput(64, 2, 224),
            published=Published(8.32, 17.98, "torchvision's weights", num_frames=16),
            weights=("torchvision:S3D_Weights.KINETICS400_V1",),
        )
    },
    head_name=S3DBackbone.head_name,
    scale=_scale,
    build_plain=s3d.build,
    wrap=lambda net, arguments: S3DBackbone(net, arguments["depths"]),
)
