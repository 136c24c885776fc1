"""timm's image networks on clips: frame by frame, with the mean over time before the classifier.

Needs torch and timm only. ``FrameNetwork.net`` is timm's own network: its weights go into
``timm.create_model(<model>, num_classes=K)`` and back. The logits are the classifier's of the mean
embedding, which for a linear classifier is the mean of the frames' logits, as in TSN (Wang et al.
2016), but for rounding. Optionally the frames see their neighbours by a temporal shift, as in TSM
(Lin et al. 2019), which has no weights.
"""

from typing import Any

import torch
from torch import Tensor, nn


class FrameNetwork(nn.Module):
    """An image network that sees every frame of a clip.

    Args:
        net: timm's network.
        shift_frames: The number of frames that its temporal shift was built for; 0 without one.
    """

    # Typed loosely: the attributes are timm's.
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
        """Turn clips (B, 3, T, H, W) into frames (B*T, 3, H, W), those of a clip in a row.

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
        """Turn the network's last features of B*T frames into the mean embedding (B, D)."""
        embeddings = self.net.forward_head(features, pre_logits=True)
        return embeddings.unflatten(0, (-1, num_frames)).mean(dim=1)


class ShiftedConv2d(nn.Conv2d):
    """A convolution of frames, the first of a residual branch, that shifts its input in time.

    It has the parameters of an ``nn.Conv2d``, under their names.
    """

    num_frames: int

    @classmethod
    def replacing(cls, conv: nn.Conv2d, num_frames: int) -> "ShiftedConv2d":
        """Return one that stands for ``conv`` and shares its parameters."""
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
    """Give every frame an eighth of the channels of the next and of the previous frame.

    For channel c of C, frame t of a clip and n = C // 8 (TSM, section 4):
        result[t, c] = frames[t + 1, c] where c < n
                       frames[t - 1, c] where n <= c < 2n
                       frames[t, c] elsewhere; 0 for frames before the first and after the last.
    A clip of one frame keeps its own channels but for the 2n that become 0.

    Args:
        frames: (B*T, C, H, W), those of a clip in a row.
        num_frames: T of a clip.
    """
    n = frames.shape[1] // 8
    # Written into a copy of its kind, for cat would lose the memory layout of the frames.
    result = torch.zeros_like(frames)
    old, new = (x.unflatten(0, (-1, num_frames)) for x in (frames, result))
    new[:, :-1, :n] = old[:, 1:, :n]
    new[:, 1:, n : 2 * n] = old[:, :-1, n : 2 * n]
    new[:, :, 2 * n :] = old[:, :, 2 * n :]
    return result


def build(*, num_classes: int, model: str, crop_size: int, shift_frames: int = 0) -> FrameNetwork:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of its classifier.
        model: timm's name of it, with or without a tag: "resnet50.a1_in1k".
        crop_size: Height and width of a frame in px, for networks that are built for one.
        shift_frames: Frames of a clip, for a temporal shift in every residual branch; 0 for none.

    Raises:
        ValueError: There are no residual branches to shift.
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
    """Return the names of the first convolutions of residual branches, as TSM chooses them."""
    from timm.models._efficientnet_blocks import InvertedResidual
    from timm.models.resnet import ResNet

    if isinstance(net, ResNet):
        # Those of 101 layers and more shift in every other block only.
        step = 2 if len(net.layer3) >= 23 else 1
        layers = {f"layer{i}": net.get_submodule(f"layer{i}") for i in range(1, 5)}
        return [
            f"{k}.{i}.conv1" for k, blocks in layers.items() for i in range(0, len(blocks), step)
        ]
    # In a block without a shortcut the channels that are shifted away would be lost.
    blocks = [(k, m) for k, m in net.named_modules() if isinstance(m, InvertedResidual)]
    return [f"{name}.conv_pw" for name, block in blocks if block.has_skip]
