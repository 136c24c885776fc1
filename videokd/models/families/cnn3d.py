"""Backbones of the plain 3D CNN, a network for small data and for CPUs."""

from typing import Any

from torch import Tensor

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import cnn3d


class CNN3DBackbone(Backbone):
    """Plain 3D CNN whose levels are its four stages; the embedding is the average of the last.

    Strides over (T, H, W): (1, 2, 2), (2, 4, 4), (2, 8, 8), (2, 16, 16). Only the second stage
    halves T, so that short clips keep several steps of time.
    """

    head_name = "head"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        levels, x = {}, clips
        for name in LEVEL_NAMES:
            x = self.net.get_submodule(name)(x)
            levels[name] = x
        return Features(levels, self.net.flatten(self.net.pool(x)))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        return {"stem": (), **{name: (name,) for name in LEVEL_NAMES}, "embedding": ()}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    return {"width": scale.channels(size.options["width"]), "depths": scale.depths((1, 1, 1, 1))}


def _size(width: int) -> Size:
    return Size(ModelInput(8, 2, 32, PLAIN_MEAN, PLAIN_STD), options={"width": width})


FAMILY = Family(
    name="cnn3d",
    sizes={"cnn3d_s": _size(16), "cnn3d_m": _size(32)},
    head_name=CNN3DBackbone.head_name,
    scale=_scale,
    build_plain=cnn3d.build,
    wrap=lambda net, arguments: CNN3DBackbone(net),
)
