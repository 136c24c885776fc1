"""torchvision's Video Swin Transformer at any clip size, width and depth.

Needs only torch and torchvision. At widths 96, 96, 128 and depths (2, 2, 6, 2), (2, 2, 18, 2),
(2, 2, 18, 2) the network has the parameters of ``torchvision.models.video.swin3d_t``, ``_s`` and
``_b``.
"""

from torch import nn
from torchvision.models.video.swin_transformer import SwinTransformer3d


def build(
    *,
    num_classes: int,
    width: int = 96,
    depths: tuple[int, int, int, int] = (2, 2, 6, 2),
    stochastic_depth: float = 0.1,
) -> SwinTransformer3d:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``head``.
        width: Channels of the first stage; each later stage doubles them. Attention heads have 32
            channels, or the next larger number that divides the width evenly.
        depths: Blocks of the four stages, each >= 1.
        stochastic_depth: Probability of dropping the last block's branches in training.
    """
    num_heads = next(n for n in range(max(1, width // 32), 0, -1) if width % n == 0)
    net = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=width,
        depths=list(depths),
        num_heads=[num_heads * 2**stage for stage in range(len(depths))],
        window_size=[8, 7, 7],
        stochastic_depth_prob=stochastic_depth,
        num_classes=num_classes,
    )
    if width < 96:
        _widen_init(net)
    return net


def _widen_init(net: SwinTransformer3d) -> None:
    # torchvision initialises linear layers with std 0.02, which suits hundreds of channels. With a
    # few dozen, the branches would add almost nothing to their residuals.
    for module in net.features.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
