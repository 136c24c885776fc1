"""torchvision's S3D at any clip size, width and depth.

Needs only torch and torchvision. At width factor 1 and depths (2, 5, 2) the modules, their names
and their order equal ``torchvision.models.video.s3d``.
"""

from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.video.s3d import S3D, SepInceptionBlock3D, TemporalSeparableConv
from torchvision.ops.misc import Conv3dNormActivation

# Channels per block, for each stage after the first: branch 0, branch 1 before and after its
# separable convolution, branch 2 before and after, branch 3.
_BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_DEPTHS = tuple(len(blocks) for blocks in _BLOCKS)


class ClippedAvgPool3d(nn.AvgPool3d):
    """Average pooling of the library, with the window clipped to the size of a smaller map.

    The result equals the library's on all maps that torchvision's network accepts. As there, the
    first and the last position of a longer map have less weight than the others.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Average (B, C, T, H, W) over windows of at most ``kernel_size``."""
        sizes = zip(self.kernel_size, input.shape[2:], strict=True)  # type: ignore[arg-type]
        return F.avg_pool3d(input, tuple(min(size) for size in sizes), self.stride)


def build(
    *,
    num_classes: int,
    width_factor: float = 1.0,
    depths: tuple[int, int, int] = (2, 5, 2),
) -> S3D:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``classifier.1``.
        width_factor: Factor on the network's channels, > 0; rounded to multiples of 8.
        depths: Inception blocks of the second to fourth stage, each >= 1.
    """
    # torchvision's momentum of 0.001 suits its 45 epochs on Kinetics. After a few thousand steps on
    # a small dataset, running statistics would still be dominated by their initial values.
    norm = partial(nn.BatchNorm3d, eps=0.001, momentum=0.1)
    is_own_size = width_factor == 1.0 and tuple(depths) == _DEPTHS
    # At another size the layers are replaced below, so that their weights need not be drawn.
    with nullcontext() if is_own_size else torch.device("meta"):
        net = S3D(num_classes=num_classes, dropout=0.0, norm_layer=norm)
    if not is_own_size:
        net.features, channels = _features(width_factor, depths, norm)
        net.classifier[1] = nn.Conv3d(channels, num_classes, kernel_size=1)
    net.avgpool = ClippedAvgPool3d(net.avgpool.kernel_size, stride=1)
    return net


def _features(
    width_factor: float, depths: tuple[int, ...], norm: partial[nn.BatchNorm3d]
) -> tuple[nn.Sequential, int]:
    """Return all layers before the pooling, and their number of output channels."""

    def scaled(channels: int) -> int:
        return max(8, round(channels * width_factor / 8) * 8)

    stem, channels = scaled(64), scaled(192)
    layers = [
        TemporalSeparableConv(3, stem, 7, 2, 3, norm),
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        Conv3dNormActivation(stem, stem, kernel_size=1, norm_layer=norm),
        TemporalSeparableConv(stem, channels, 3, 1, 1, norm),
    ]
    pools = (
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.MaxPool3d(3, stride=2, padding=1),
        nn.MaxPool3d(2, stride=2),
    )
    for pool, blocks, depth in zip(pools, _BLOCKS, depths, strict=True):
        layers.append(pool)
        # Fewer blocks: keep the last ones, which define the output channels. More blocks: repeat
        # the last one.
        deeper = (*blocks, *(depth - len(blocks)) * blocks[-1:])
        for widths in deeper[-depth:]:
            branch0, mid1, branch1, mid2, branch2, branch3 = map(scaled, widths)
            layers.append(
                SepInceptionBlock3D(
                    channels, branch0, mid1, branch1, mid2, branch2, branch3, norm_layer=norm
                )
            )
            channels = branch0 + branch1 + branch2 + branch3
    return nn.Sequential(*layers), channels
