"""Renaming of torchvision's and timm's image ResNet weights for inflation into video ResNets."""

import re
from collections.abc import Mapping

from torch import Tensor

_CONVENTION = "an image ResNet's"
_TORCHVISION = [
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"\.conv(\d)\.", r".conv\1.0."),
    (r"\.bn(\d)\.", r".conv\1.1."),
]
_PYTORCHVIDEO = [
    (r"^conv1\.", "blocks.0.conv."),
    (r"^bn1\.", "blocks.0.norm."),
    (r"\.downsample\.0\.", ".branch1_conv."),
    (r"\.downsample\.1\.", ".branch1_norm."),
    *((rf"\.conv{i}\.", f".branch2.conv_{part}.") for i, part in enumerate("abc", start=1)),
    *((rf"\.bn{i}\.", f".branch2.norm_{part}.") for i, part in enumerate("abc", start=1)),
]


def rename_image_resnet(
    state: Mapping[str, Tensor], *, family: str, architecture: str
) -> tuple[dict[str, Tensor], str] | None:
    """Return an image ResNet's state dict renamed for a video ResNet, and its name convention.

    r3d_18 and mc3_18 take weights of ResNet-18 (but lack the max pooling after its stem); c2d, i3d
    and slow take weights of ResNet-50.

    Args:
        state: State dict of a file.
        family: Family of the target network.
        architecture: Architecture of the target network.

    Returns:
        (state dict, convention); None if the state dict is not from an image ResNet, or the target
        network is not built like one.
    """
    stem = state.get("conv1.weight")
    if stem is None or stem.ndim != 4 or "layer1.0.conv1.weight" not in state:
        return None
    if architecture in ("r3d_18", "mc3_18"):
        rules = _TORCHVISION
    elif family == "ptv_resnet" and architecture in ("c2d_r50", "i3d_r50", "slow_r50"):
        # In c2d and i3d of pytorchvideo, the pooling after the first stage is a block of its own.
        shift = int(architecture != "slow_r50")
        stages = [
            (rf"^layer{i}\.(\d+)\.", rf"blocks.{i + shift * (i > 1)}.res_blocks.\1.")
            for i in range(1, 5)
        ]
        rules = [*stages, *_PYTORCHVIDEO, (r"^fc\.", f"blocks.{5 + shift}.proj.")]
    else:
        return None
    renamed = {}
    for old, value in state.items():
        name = old
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed, _CONVENTION
