"""Mixup and CutMix between the clips of a batch, with drawing and applying kept separate.

Runs on the batch's device without synchronising. The loss mixes the labels: MixParams holds the
partner and the weight of each clip.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class MixParams:
    """Mixing of the B clips of a batch; clip b's label is mixed with labels[partner[b]].

    Args:
        partner: (B,) int64, position in the batch of the clip that is mixed in. A clip that is its
            own partner stays unchanged.
        weight: (B,) float32, share of the clip itself in the mixed clip, in [0, 1]; 1 for a clip
            that is its own partner.
        boxes: (B, 4) int64, (top, left, height, width) in pixels of the box pasted from the partner
            (CutMix); None to blend whole clips (mixup).
        clip_size: (height, width) in pixels of the clips that the boxes are for; None without
            boxes, or when all clips have one size.
    """

    partner: Tensor
    weight: Tensor
    boxes: Tensor | None
    clip_size: tuple[int, int] | None = None

    def scaled(self, height: int, width: int) -> "MixParams":
        """Return the same mix for the same clips at another size.

        Box edges are rounded to the nearest pixel. The weights do not change, so that clips of all
        sizes mix labels alike, although a box edge may be off by up to half a pixel.

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
    """Draw a mix among clips of the same dataset, since datasets have different label sets.

    The clips of a dataset are put on a random ring, and each clip is mixed with the next one. A
    clip that is the only one of its dataset stays unchanged. Each clip has its own weight and box.

    Mixup (Zhang et al. 2018): weight ~ Beta(mixup_alpha, mixup_alpha). CutMix (Yun et al. 2019):
    lambda ~ Beta(cutmix_alpha, cutmix_alpha). The box has sqrt(1 - lambda) of the height and width
    around a uniform centre and is clipped at the border; weight is the share of the area outside
    it.

    All numbers come from torch's global CPU generator, whatever the device.

    Args:
        dataset_ids: (B,) int64, B > 0, on any device; the result is on the same device.
        height: Height of the clips, pixels.
        width: Width of the clips, pixels.
        mixup_alpha: > 0, or 0 for no mixup.
        cutmix_alpha: > 0, or 0 for no CutMix. If both are on, each batch uses one of them with
            equal probability; if both are off, every clip is its own partner and nothing is drawn.

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
    # item() reads a CPU tensor here, so it does not synchronise the device.
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
        params: Mix of these B clips, on their device.

    Returns:
        (B, 3, T, H, W) of the same dtype; ``clips`` is not modified. A clip that is its own partner
        is returned bit for bit.

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
    """Return the next clip on its dataset's ring for each clip, (B,) int64."""
    key = torch.randperm(len(dataset_ids)).to(dataset_ids.device, non_blocking=True)
    is_same = dataset_ids[:, None] == dataset_ids
    place = (is_same & (key < key[:, None])).sum(dim=1)
    next_place = (place + 1) % is_same.sum(dim=1)
    return (is_same & (place == next_place[:, None])).int().argmax(dim=1)


def _draw_boxes(weight: Tensor, height: int, width: int) -> Tensor:
    """Return boxes (B, 4) that cover 1 - weight of the area before clipping at the border."""
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
    """Return the edges (B, 2) along height and width scaled to the new size, each (B,)."""
    # floor(edge * new / old + 1/2) in integers.
    return [
        (2 * edge * new + old) // (2 * old)
        for edge, old, new in zip(edges.unbind(dim=1), old_size, new_size, strict=True)
    ]


def _stack_boxes(starts: list[Tensor], ends: list[Tensor]) -> Tensor:
    """Return boxes (B, 4) from the edges (B,) along height and width."""
    return torch.stack([*starts, *(e - s for s, e in zip(starts, ends, strict=True))], dim=1)
