"""Mixing clips of a batch with each other: mixup and CutMix, drawing apart from applying.

Runs on the batch's device and never waits for it. How labels are mixed is up to the loss:
MixParams says with whom and by how much.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class MixParams:
    """How the B clips of a batch are mixed; clip b's label is mixed with labels[partner[b]].

    Args:
        partner: (B,) int64, place in the batch of the clip that is mixed in. A clip may be its own
            partner: then it stays as it is.
        weight: (B,) float32, share of the own clip in what comes out, in [0, 1]; 1 for a clip that
            is its own partner.
        boxes: (B, 4) int64, (top, left, height, width) in pixels of what is taken from the partner
            (CutMix); None to blend whole clips (mixup).
        clip_size: (height, width) in pixels of the clips that the boxes are for; None without
            boxes, and where they are for clips of one size only.
    """

    partner: Tensor
    weight: Tensor
    boxes: Tensor | None
    clip_size: tuple[int, int] | None = None

    def scaled(self, height: int, width: int) -> "MixParams":
        """Return the same mix for the same clips at another size.

        Each edge of a box goes to the nearest pixel. The weights stay: the labels of clips of
        several sizes are mixed alike, though a box may cover half a pixel a side more or less.

        Raises:
            ValueError: there are boxes without a clip_size.
        """
        if self.boxes is None or self.clip_size == (height, width):
            return self
        if self.clip_size is None:
            raise ValueError("boxes without a clip_size cannot be scaled")
        starts, ends = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        boxes = _stack_boxes(
            *(_scale_edges(edges, self.clip_size, (height, width)) for edges in (starts, ends))
        )
        return replace(self, boxes=boxes, clip_size=(height, width))


def draw_mix(
    dataset_ids: Tensor, height: int, width: int, *, mixup_alpha: float, cutmix_alpha: float
) -> MixParams:
    """Draw a mix of clips of the same dataset: label sets of different datasets do not mix.

    All clips of a dataset stand on a random ring and each is mixed with the next one; a clip that
    is the only one of its dataset stays as it is. Each clip has its own share and its own box.

    Mixup (Zhang et al. 2018): weight ~ Beta(mixup_alpha, mixup_alpha). CutMix (Yun et al. 2019):
    lambda ~ Beta(cutmix_alpha, cutmix_alpha), a box of sqrt(1 - lambda) of height and width around
    a uniform centre is cut off at the border, and weight is the share of the area outside of it.

    All numbers come from torch's global CPU generator, whatever the device.

    Args:
        dataset_ids: (B,) int64, B > 0, on any device; the result is on the same.
        height: Of the clips, pixels.
        width: Of the clips, pixels.
        mixup_alpha: > 0, or 0 for no mixup.
        cutmix_alpha: > 0, or 0 for no CutMix. With both on, a batch gets either with equal chance;
            with both off, every clip is its own partner and nothing is drawn.

    Raises:
        InputError: an alpha is negative.
    """
    if not min(mixup_alpha, cutmix_alpha) >= 0:
        raise InputError(
            f"mixup_alpha and cutmix_alpha must be >= 0, got {mixup_alpha} and {cutmix_alpha}"
        )
    device, size = dataset_ids.device, len(dataset_ids)
    themselves = torch.arange(size, device=device)
    if mixup_alpha == cutmix_alpha == 0:
        return MixParams(themselves, torch.ones(size, device=device), None)
    partner = _draw_partners(dataset_ids)
    # A comparison of a number on the CPU: it waits for no device.
    use_cutmix = cutmix_alpha > 0 and (mixup_alpha == 0 or torch.rand(()).item() < 0.5)
    alpha = torch.tensor(cutmix_alpha if use_cutmix else mixup_alpha)
    weight = torch.distributions.Beta(alpha, alpha).sample((size,))
    boxes = clip_size = None
    if use_cutmix:
        clip_size = (height, width)
        boxes = _draw_boxes(weight, height, width)
        weight = 1 - boxes[:, 2] * boxes[:, 3] / (height * width)
        boxes = boxes.to(device, non_blocking=True)
    weight = weight.to(device, non_blocking=True)
    weight = weight.masked_fill(partner == themselves, 1.0)
    return MixParams(partner, weight, boxes, clip_size)


def apply_mix(clips: Tensor, params: MixParams) -> Tensor:
    """Mix clips: blend them with their partners, or paste a box of the partner over all frames.

    Args:
        clips: (B, 3, T, H, W), a float dtype.
        params: For these B clips, on their device.

    Returns:
        (B, 3, T, H, W) of the same dtype; ``clips`` is left alone. A clip that is its own partner
        comes out bit for bit.

    Raises:
        ValueError: the clips are not floats, or the boxes are for clips of another size.
    """
    if not clips.is_floating_point():
        raise ValueError(f"clips must be floats to be mixed, got {clips.dtype}")
    others = clips[params.partner]
    if params.boxes is None:
        return torch.lerp(others, clips, params.weight.to(clips.dtype).view(-1, 1, 1, 1, 1))
    if params.clip_size not in (None, tuple(clips.shape[3:])):
        raise ValueError(
            f"boxes for clips of {params.clip_size} do not fit clips of {tuple(clips.shape[3:])}; "
            "take params.scaled(height, width)"
        )
    top, left, height, width = params.boxes.view(-1, 4, 1, 1).unbind(dim=1)
    row = torch.arange(clips.shape[3], device=clips.device).view(1, -1, 1)
    column = torch.arange(clips.shape[4], device=clips.device).view(1, 1, -1)
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return torch.where(inside[:, None, None], others, clips)


def _draw_partners(dataset_ids: Tensor) -> Tensor:
    """Return for each clip the next one on its dataset's ring, (B,) int64."""
    key = torch.randperm(len(dataset_ids)).to(dataset_ids.device, non_blocking=True)
    is_same = dataset_ids[:, None] == dataset_ids
    place = (is_same & (key < key[:, None])).sum(dim=1)
    next_place = (place + 1) % is_same.sum(dim=1)
    return (is_same & (place == next_place[:, None])).int().argmax(dim=1)


def _draw_boxes(weight: Tensor, height: int, width: int) -> Tensor:
    """Return boxes (B, 4) of about 1 - weight of the area, less where the border cuts them."""
    side = torch.sqrt(1 - weight)
    starts, ends = [], []
    for size in (height, width):
        half = (side * size).long() // 2
        center = torch.randint(size, weight.shape)
        starts.append((center - half).clamp(min=0))
        ends.append((center + half).clamp(max=size))
    return _stack_boxes(starts, ends)


def _scale_edges(
    edges: Tensor, old_size: tuple[int, int], new_size: tuple[int, int]
) -> list[Tensor]:
    """Return edges (B, 2) along height and width at the new size, each (B,)."""
    # floor(edge * new / old + 1/2) in whole numbers.
    return [
        (2 * edge * new + old) // (2 * old)
        for edge, old, new in zip(edges.unbind(dim=1), old_size, new_size, strict=True)
    ]


def _stack_boxes(starts: list[Tensor], ends: list[Tensor]) -> Tensor:
    """Return boxes (B, 4) from the edges (B,) along height and width."""
    return torch.stack([*starts, *(e - s for s, e in zip(starts, ends, strict=True))], dim=1)
