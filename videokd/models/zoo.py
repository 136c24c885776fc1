"""Architecture names -> plain networks and backbones; the sizes of each are spelled out here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from videokd.models.levels import Backbone
from videokd.models.mvit import MViTBackbone
from videokd.models.plain import mvit, video_resnet, x3d
from videokd.models.video_resnet import VideoResNetBackbone
from videokd.models.x3d import X3DBackbone
from videokd.utils.errors import InputError


@dataclass(frozen=True)
class Architecture:
    """One named network at one width, depth and clip size.

    ``plain_module`` and ``arguments`` are all that is needed to rebuild the library's network
    without videokd: ``plain_module.build(num_classes=K, **arguments)``.
    """

    name: str
    family: str
    """"video_resnet", "x3d" or "mvit": the file in ``videokd.models.plain``."""
    arguments: dict[str, Any]

    def build_plain(self, num_classes: int) -> nn.Module:
        """Build the library's network, with its own classifier and random weights."""
        return _PLAIN_BUILDERS[self.family](num_classes=num_classes, **self.arguments)

    def build_backbone(self) -> Backbone:
        """Build the network and wrap it as a backbone, with random weights."""
        # The classifier is cut off, so its class count does not matter.
        net = self.build_plain(num_classes=1)
        if self.family == "mvit":
            return MViTBackbone(net, self.arguments["depths"])
        return {"video_resnet": VideoResNetBackbone, "x3d": X3DBackbone}[self.family](net)

    @property
    def head_name(self) -> str:
        """Dotted name of the classifier in the plain network."""
        return _HEAD_NAMES[self.family]


def get_architecture(
    name: str,
    *,
    num_frames: int,
    crop_size: int,
    width_factor: float = 1.0,
    depth_factor: float = 1.0,
) -> Architecture:
    """Return the description of an architecture, scaled in width and depth.

    Args:
        name: One of ``architecture_names()``.
        num_frames: Frames of a clip; X3D and MViT are built for it.
        crop_size: Height and width of a clip in px; X3D and MViT are built for it.
        width_factor: > 0, channels over the architecture's own (rounded to multiples of 8).
        depth_factor: > 0, blocks per stage over the architecture's own (rounded up).

    Raises:
        InputError: Unknown name, or a clip size that the architecture cannot take.
    """
    if name not in _FAMILIES:
        raise InputError(f"unknown ARCH {name!r}; known are {', '.join(architecture_names())}")
    family = _FAMILIES[name]
    clip = {"num_frames": num_frames, "crop_size": crop_size}
    arguments = _SCALERS[family](name, clip, width_factor, depth_factor)
    return Architecture(name, family, arguments)


def architecture_names() -> list[str]:
    """Return all architecture names, sorted."""
    return sorted(_FAMILIES)


def _scale_video_resnet(
    name: str, clip: dict[str, int], width_factor: float, depth_factor: float
) -> dict[str, Any]:
    width = _round_to_8(64 * width_factor)
    return {"arch": name, "width": width, "depths": _scale_depths((2, 2, 2, 2), depth_factor)}


def _scale_x3d(
    name: str, clip: dict[str, int], width_factor: float, depth_factor: float
) -> dict[str, Any]:
    # x3d_xs and x3d_s are one network at two clip sizes.
    return {
        **clip,
        "width_factor": 2.0 * width_factor,
        "depth_factor": 2.2 * depth_factor,
        "head_dim": _round_to_8(2048 * width_factor),
    }


def _scale_mvit(
    name: str, clip: dict[str, int], width_factor: float, depth_factor: float
) -> dict[str, Any]:
    if clip["num_frames"] % 2 or clip["crop_size"] % 4:
        raise InputError(
            f"{name} needs an even number of frames and a crop that is a multiple of 4 px, got "
            f"NUM_FRAMES {clip['num_frames']} and CROP_SIZE {clip['crop_size']}, its own or of DATA"
        )
    return {
        **clip,
        "width": _round_to_8(96 * width_factor),
        "depths": _scale_depths((1, 2, 11, 2), depth_factor),
        "stochastic_depth": 0.2 * min(1.0, depth_factor),
        "pool": "mean" if name.endswith("_gap") else "class_token",
    }


def _round_to_8(channels: float) -> int:
    return max(8, round(channels / 8) * 8)


def _scale_depths(depths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    # The small slack keeps 0.5 * 2 from becoming 2 by a rounding error.
    return tuple(max(1, -int(-(depth * factor - 1e-6) // 1)) for depth in depths)


_FAMILIES = {
    "r3d_18": "video_resnet",
    "mc3_18": "video_resnet",
    "r2plus1d_18": "video_resnet",
    "x3d_xs": "x3d",
    "x3d_s": "x3d",
    "mvit_v2_s": "mvit",
    "mvit_v2_s_gap": "mvit",
}
_SCALERS: dict[str, Callable[[str, dict[str, int], float, float], dict[str, Any]]] = {
    "video_resnet": _scale_video_resnet,
    "x3d": _scale_x3d,
    "mvit": _scale_mvit,
}
_PLAIN_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "video_resnet": video_resnet.build,
    "x3d": x3d.build,
    "mvit": mvit.build,
}
_HEAD_NAMES = {
    "video_resnet": VideoResNetBackbone.head_name,
    "x3d": X3DBackbone.head_name,
    "mvit": MViTBackbone.head_name,
}
