"""Backbones of pytorchvideo's SlowFast family: two paths that see one clip at two frame rates."""

from typing import Any

from torch import Tensor

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import slowfast
from videokd.utils.errors import InputError

_ALPHA = 4


class SlowFastBackbone(Backbone):
    """SlowFast backbone whose levels are the outputs of the four stages of one or both paths.

    The fast path sees every frame of the clip with few channels. The slow path sees a quarter of
    the frames with eight times as many channels, and gets the fast path's maps after each stage.
    Both halve H and W from stage to stage and keep their T. The architecture name selects the path
    of the levels. With width w = 256 of the slow path:

    - ``slowfast_r50``: both paths. The channels of the slow path's map are followed by those of the
      fast path's map, averaged over groups of four frames: (w * 9/8, T/4, H/4, W/4), ...
      (w * 9, T/4, H/32, W/32).
    - ``slowfast_r50_slow``: slow path only, (w, T/4, H/4, W/4), ... (8 w, T/4, H/32, W/32).
    - ``slowfast_r50_fast``: fast path only, (w/8, T, H/4, W/4), ... (w, T, H/32, W/32). Use it for
      joint teachers and students that work at the full frame rate.

    The embedding is the same in all cases: the global averages of both paths, as the classifier
    sees them.
    """

    head_name = "blocks.6.proj"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float; T a multiple of 4."""
        maps, embedding = self.net.features(clips)
        return Features(dict(zip(LEVEL_NAMES, maps, strict=True)), embedding)

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        # The fast-to-slow connection after a stage belongs to that stage.
        stages = {name: (f"blocks.{i}",) for i, name in enumerate(LEVEL_NAMES, start=1)}
        return {"stem": ("blocks.0",), **stages, "embedding": ()}


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    if scale.num_frames % _ALPHA:
        raise InputError(
            f"{name} needs a multiple of {_ALPHA} frames, of which its slow path takes a quarter; "
            f"got NUM_FRAMES {scale.num_frames}, its own or of DATA"
        )
    return {
        "width": scale.channels(64),
        "depths": scale.depths(size.options["depths"]),
        "alpha": _ALPHA,
        "fusion_kernel": size.options["fusion_kernel"],
        "paths": size.options["paths"],
    }


def _sizes(name: str, published: Published, **options: object) -> dict[str, Size]:
    return {
        name if paths == "fused" else f"{name}_{paths}": Size(
            ModelInput(32, 2, 256, PLAIN_MEAN, PLAIN_STD),
            options={**options, "paths": paths},
            published=published,
            weights=(f"pytorchvideo:{name}",),
        )
        for paths in ("fused", "slow", "fast")
    }


_SOURCE = "PyTorchVideo's model zoo"

FAMILY = Family(
    name="slowfast",
    sizes={
        **_sizes(
            "slowfast_r50",
            Published(34.57, 65.71, _SOURCE),
            depths=(3, 4, 6, 3),
            fusion_kernel=7,
        ),
        **_sizes(
            "slowfast_r101",
            Published(
                62.83,
                127.20,
                _SOURCE,
                remark="the library's own network counts 125.91; why the zoo says more is unknown",
            ),
            depths=(3, 4, 23, 3),
            fusion_kernel=5,
        ),
    },
    head_name=SlowFastBackbone.head_name,
    scale=_scale,
    build_plain=slowfast.build,
    wrap=lambda net, arguments: SlowFastBackbone(net),
)
