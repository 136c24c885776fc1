"""Backbones of pytorchvideo's X3D family."""

from typing import Any

from torch import Tensor

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import x3d


class X3DBackbone(Backbone):
    """X3D backbone whose levels are the outputs of the four residual stages.

    Strides over (T, H, W): (1, 4, 4), (1, 8, 8), (1, 16, 16), (1, 32, 32). The embedding is the
    pooled and projected output of the head, before its classifier.
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


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    return {
        "num_frames": scale.num_frames,
        "crop_size": scale.crop_size,
        "width_factor": 2.0 * scale.width_factor,
        "depth_factor": size.options["depth_factor"] * scale.depth_factor,
        "head_dim": scale.channels(2048),
    }


def _size(
    name: str,
    clip: tuple[int, int, int],
    published: Published,
    *,
    depth_factor: float = 2.2,
) -> Size:
    # x3d_xs, x3d_s and x3d_m are the same network at three clip sizes.
    return Size(
        ModelInput(*clip, PLAIN_MEAN, PLAIN_STD),
        options={"depth_factor": depth_factor},
        published=published,
        weights=(f"pytorchvideo:{name}",),
    )


def _published(num_params: float, gflops: float, crop_size: int) -> Published:
    return Published(
        num_params,
        gflops,
        source="PyTorchVideo's model zoo",
        remark="the zoo counts batch norms too, at 5 operations a value",
        crop_size=crop_size,
    )


FAMILY = Family(
    name="x3d",
    sizes={
        "x3d_xs": _size("x3d_xs", (4, 12, 160), _published(3.79, 0.91, 182)),
        "x3d_s": _size("x3d_s", (13, 6, 160), _published(3.79, 2.96, 182)),
        "x3d_m": _size("x3d_m", (16, 5, 224), _published(3.79, 6.72, 256)),
        "x3d_l": _size("x3d_l", (16, 5, 312), _published(6.15, 26.64, 356), depth_factor=5.0),
    },
    head_name=X3DBackbone.head_name,
    scale=_scale,
    build_plain=x3d.build,
    wrap=lambda net, arguments: X3DBackbone(net),
)
