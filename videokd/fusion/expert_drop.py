"""Leaving experts out at random, clip by clip, so that the fusion leans on none of them."""

import torch
from torch import Tensor


def draw_expert_weights(
    num_clips: int, num_experts: int, *, probability: float, device: torch.device
) -> Tensor:
    """Draw what each expert's features of each clip are multiplied by.

    Each expert is dropped with ``probability``, on its own; where all N would be dropped, one of
    them stays, each with equal chance. Of m that stay, each weighs N / m, so that their sum keeps
    its size. After the dropping of teachers in UNIC (Sariyildiz et al. 2024, arXiv 2408.05088),
    which picks them by their losses.

    Args:
        num_clips: B.
        num_experts: N.
        probability: In [0, 1).
        device: Of the result; drawn with its global generator, without waiting for it.

    Returns:
        (B, N) float32.
    """
    luck = torch.rand(num_clips, num_experts, device=device)
    # The luckiest stays whatever the probability: where any stays, it is among them anyhow.
    kept = ((luck >= probability) | (luck == luck.amax(dim=1, keepdim=True))).float()
    return kept * (num_experts / kept.sum(dim=1, keepdim=True))
