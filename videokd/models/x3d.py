"""Backbones of pytorchvideo's X3D family."""

from torch import Tensor

from videokd.models.levels import LEVEL_NAMES, Backbone, Features


class X3DBackbone(Backbone):
    """Levels are the outputs of the four residual stages; T is kept, H and W halve at each.

    Strides over (T, H, W): (1, 4, 4), (1, 8, 8), (1, 16, 16), (1, 32, 32). The embedding is the
    head's projected pool.
    """

    head_name = "blocks.5.proj"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        stem, *stages, head = self.net.blocks
        x = stem(clips)
        levels = {}
        for name, stage in zip(LEVEL_NAMES, stages, strict=True):
            x = stage(x)
            levels[name] = x
        return Features(levels, head.pool(x).flatten(1))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        return {
            part: (f"blocks.{i}",) for i, part in enumerate(("stem", *LEVEL_NAMES, "embedding"))
        }
