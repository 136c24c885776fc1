"""torchvision's VideoResNet (r3d_18, mc3_18, r2plus1d_18) at any width and depth.

Needs only torch and torchvision. At width 64 and depths (2, 2, 2, 2) the modules, their names and
their order equal ``torchvision.models.video.<arch>``.
"""

from contextlib import nullcontext

import torch
from torch import nn
from torchvision.models.video.resnet import (
    BasicBlock,
    BasicStem,
    Conv2Plus1D,
    Conv3DNoTemporal,
    Conv3DSimple,
    R2Plus1dStem,
    VideoResNet,
)

_CONVS = {
    "r3d_18": (Conv3DSimple,) * 4,
    "mc3_18": (Conv3DSimple,) + (Conv3DNoTemporal,) * 3,
    "r2plus1d_18": (Conv2Plus1D,) * 4,
}


def build(
    *,
    arch: str,
    num_classes: int,
    width: int = 64,
    depths: tuple[int, int, int, int] = (2, 2, 2, 2),
) -> VideoResNet:
    """Build the network with random weights.

    Args:
        arch: "r3d_18", "mc3_18" or "r2plus1d_18".
        num_classes: Outputs of ``fc``.
        width: Channels of the stem and of ``layer1``; each later layer doubles them.
        depths: Residual blocks of ``layer1`` to ``layer4``, each >= 1.
    """
    convs = _CONVS[arch]
    factored = arch == "r2plus1d_18"
    stem = R2Plus1dStem if factored else BasicStem
    # At another width all layers are replaced below, so that their weights need not be drawn.
    with torch.device("meta") if width != 64 else nullcontext():
        net = VideoResNet(BasicBlock, convs, depths, stem, num_classes=num_classes)
    if width != 64:
        net.stem = _factored_stem(width) if factored else _plain_stem(width)
        net.inplanes = width
        for i, (conv, depth) in enumerate(zip(convs, depths, strict=True)):
            layer = net._make_layer(BasicBlock, conv, width * 2**i, depth, stride=min(i, 1) + 1)
            setattr(net, f"layer{i + 1}", layer)
        net.fc = nn.Linear(width * 8, num_classes)
        _init_weights(net)
    return net


def _plain_stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(3, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


def _factored_stem(width: int) -> nn.Sequential:
    # torchvision's stem has 45 middle channels at width 64.
    middle = max(8, round(45 * width / 64))
    return nn.Sequential(
        nn.Conv3d(3, middle, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


def _init_weights(net: nn.Module) -> None:
    # Same initialisation as in the constructor of VideoResNet.
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
