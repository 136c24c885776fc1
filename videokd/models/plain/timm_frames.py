"""timm's image networks applied to each frame of a clip, averaged before the classifier.

Needs only torch and timm. ``FrameNetwork.net`` is timm's own network; its weights are
interchangeable with ``timm.create_model(<model>, num_classes=K)``. The classifier sees the mean
embedding of the frames. With a linear classifier this gives, except for rounding, the mean of the
frames' logits, as in TSN (Wang et al. 2016). An optional temporal shift without weights mixes
neighbouring frames, as in TSM (Lin et al. 2019).
"""

from typing import Any

import torch
from torch import Tensor, nn


class FrameNetwork(nn.Module):
    """Image network applied to every frame of a clip.

    Args:
        net: The timm network.
        shift_frames: Frames per clip that the temporal shift was built for; 0 without a shift.
    """

    # Any: the attributes depend on timm's network.
    net: Any

    def __init__(self, net: nn.Module, shift_frames: int = 0) -> None:
        super().__init__()
        self.net = net
        self.shift_frames = shift_frames

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, K)."""
        features = self.net.forward_features(self.split(clips))
        return self.net.get_classifier()(self.pool(features, clips.shape[2]))

    def split(self, clips: Tensor) -> Tensor:
        """Return clips (B, 3, T, H, W) as frames (B*T, 3, H, W), clip after clip.

        Raises:
            ValueError: The temporal shift was built for another number of frames.
        """
        if self.shift_frames not in (0, clips.shape[2]):
            raise ValueError(
                f"the temporal shift was built for clips of {self.shift_frames} frames, got "
                f"{clips.shape[2]}"
            )
        return clips.transpose(1, 2).flatten(0, 1)

    def pool(self, features: Tensor, num_frames: int) -> Tensor:
        """Return the mean embeddings (B, D) for the network's last features of B*T frames."""
        embeddings = self.net.forward_head(features, pre_logits=True)
        return embeddings.unflatten(0, (-1, num_frames)).mean(dim=1)


class ShiftedConv2d(nn.Conv2d):
    """First convolution of a residual branch, with a temporal shift of its input.

    Parameters and their names are those of ``nn.Conv2d``.
    """

    num_frames: int

    @classmethod
    def replacing(cls, conv: nn.Conv2d, num_frames: int) -> "ShiftedConv2d":
        """Return a replacement for ``conv`` that shares its parameters."""
        new = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        new.weight, new.bias = conv.weight, conv.bias
        new.num_frames = num_frames
        return new

    def forward(self, input: Tensor) -> Tensor:
        """Convolve frames (B*T, C, H, W)."""
        return super().forward(shift_in_time(input, self.num_frames))


def shift_in_time(frames: Tensor, num_frames: int) -> Tensor:
    """Return frames in which an eighth of the channels comes from each neighbouring frame.

    For channel c of C, frame t of a clip and n = C // 8 (TSM, section 4):
        result[t, c] = frames[t + 1, c] where c < n
                       frames[t - 1, c] where n <= c < 2n
                       frames[t, c] elsewhere; 0 for frames before the first and after the last.
    In a clip of one frame, the 2n shifted channels become 0.

    Args:
        frames: (B*T, C, H, W), clip after clip.
        num_frames: Frames per clip T.
    """
    n = frames.shape[1] // 8
    # zeros_like keeps the memory layout of the frames; torch.cat would not.
    result = torch.zeros_like(frames)
    old, new = (x.unflatten(0, (-1, num_frames)) for x in (frames, result))
    new[:, :-1, :n] = old[:, 1:, :n]
    new[:, 1:, n : 2 * n] = old[:, :-1, n : 2 * n]
    new[:, :, 2 * n :] = old[:, :, 2 * n :]
    return result


def build(*, num_classes: int, model: str, crop_size: int, shift_frames: int = 0) -> FrameNetwork:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of the classifier.
        model: timm's name of the network, with or without a tag: "resnet50.a1_in1k".
        crop_size: Height and width of a frame in px, for networks with a fixed input size.
        shift_frames: Frames per clip, for a temporal shift in residual branches; 0 for no shift.

    Raises:
        ValueError: The network has no residual branches to shift.
    """
    import timm

    size = {"img_size": crop_size} if timm.get_pretrained_cfg(model).fixed_input_size else {}
    net = timm.create_model(model, num_classes=num_classes, **size)
    if shift_frames:
        names = _shifted_convs(net)
        if not names or any(type(net.get_submodule(n)) is not nn.Conv2d for n in names):
            raise ValueError(f"{model} has no residual branches that a temporal shift is known for")
        for name in names:
            net.set_submodule(name, ShiftedConv2d.replacing(net.get_submodule(name), shift_frames))
    return FrameNetwork(net, shift_frames)


def _shifted_convs(net: Any) -> list[str]:
    """Return the names of the convolutions that TSM shifts: the first of residual branches."""
    from timm.models._efficientnet_blocks import InvertedResidual
    from timm.models.resnet import ResNet

    if isinstance(net, ResNet):
        # ResNets of 101 and more layers shift only in every other block.
        step = 2 if len(net.layer3) >= 23 else 1
        layers = {f"layer{i}": net.get_submodule(f"layer{i}") for i in range(1, 5)}
        return [
            f"{k}.{i}.conv1" for k, blocks in layers.items() for i in range(0, len(blocks), step)
        ]
    # Without a shortcut, a block would lose the channels that are shifted away.
    blocks = [(k, m) for k, m in net.named_modules() if isinstance(m, InvertedResidual)]
    return [f"{name}.conv_pw" for name, block in blocks if block.has_skip]
