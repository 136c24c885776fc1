"""Random dropping of experts, per clip, so that the fusion does not rely on a single expert."""

import torch
from torch import Tensor


def draw_expert_weights(
    num_clips: int, num_experts: int, *, probability: float, device: torch.device
) -> Tensor:
    """Draw the factors of each expert's features for each clip.

    Each expert is dropped with ``probability``, independently. If all N would be dropped, one of
    them is kept, each with equal chance. Each of m kept experts has weight N / m, so that the
    weights always sum to N. The method follows the teacher dropping of UNIC (Sariyildiz et al.
    2024, arXiv 2408.05088), which drops by the losses instead.

    Args:
        num_clips: B.
        num_experts: N.
        probability: In [0, 1).
        device: Device of the result; its global generator is used, without waiting for the device.

    Returns:
        (B, N) float32.
    """
    luck = torch.rand(num_clips, num_experts, device=device)
    # Always keep the expert with the largest draw, so that no clip loses all of them. If any expert
    # is kept by the probability, this one is too.
    kept = ((luck >= probability) | (luck == luck.amax(dim=1, keepdim=True))).float()
    return kept * (num_experts / kept.sum(dim=1, keepdim=True))
