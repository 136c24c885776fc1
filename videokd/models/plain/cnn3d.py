"""A plain 3D CNN for small data: four stages of 3x3x3 convolutions.

Needs only torch.
"""

from collections import OrderedDict

from torch import nn

_STRIDES = ((1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))


def build(
    *, num_classes: int, width: int = 16, depths: tuple[int, int, int, int] = (1, 1, 1, 1)
) -> nn.Sequential:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``head``.
        width: Channels of the first stage; the others have 2, 4 and 4 times as many.
        depths: Convolutions of each stage, each >= 1. The first convolution has the stride.
    """
    stages, channels = OrderedDict[str, nn.Module](), 3
    for i, (factor, depth, stride) in enumerate(zip((1, 2, 4, 4), depths, _STRIDES, strict=True)):
        layers: list[nn.Module] = []
        for j in range(depth):
            layers += [
                nn.Conv3d(
                    channels, factor * width, 3, stride if j == 0 else 1, padding=1, bias=False
                ),
                nn.BatchNorm3d(factor * width),
                nn.ReLU(inplace=True),
            ]
            channels = factor * width
        stages[f"stage{i + 1}"] = nn.Sequential(*layers)
    stages["pool"] = nn.AdaptiveAvgPool3d(1)
    stages["flatten"] = nn.Flatten()
    stages["head"] = nn.Linear(channels, num_classes)
    return nn.Sequential(stages)
