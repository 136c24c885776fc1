"""Backbones of pytorchvideo's SlowFast family: one clip, seen at two frame rates."""

from typing import Any

from torch import Tensor

from videokd.models.family import PLAIN_MEAN, PLAIN_STD, Family, ModelInput, Published, Scale, Size
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import slowfast
from videokd.utils.errors import InputError

_ALPHA = 4


class SlowFastBackbone(Backbone):
    """Levels are the outputs of the four residual stages, of the paths that the name says.

    The clip is that of the fast path, which sees every frame with few channels; the slow path sees
    every fourth with eight times as many, and gets the fast path's maps after each stage. Both
    halve H and W from stage to stage, and keep their own T. With the slow path's width w = 256:

    - ``slowfast_r50``: both paths. The slow path's map, and behind it the fast path's, averaged
      over four frames each: (w * 9/8, T/4, H/4, W/4), ... (w * 9, T/4, H/32, W/32).
    - ``slowfast_r50_slow``: the slow path's only: (w, T/4, H/4, W/4), ... (8 w, T/4, H/32, W/32).
    - ``slowfast_r50_fast``: the fast path's only: (w/8, T, H/4, W/4), ... (w, T, H/32, W/32). For
      joint teachers and students that look at motion frame by frame.

    The embedding is the same for all three: what the classifier sees, both paths' global averages.
    """

    head_name = "blocks.6.proj"

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float; T a multiple of 4."""
        maps, embedding = self.net.features(clips)
        return Features(dict(zip(LEVEL_NAMES, maps, strict=True)), embedding)

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        # The connection from the fast to the slow path that follows a stage counts to it.
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
