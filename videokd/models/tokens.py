"""Helpers for transformers of one resolution, whose levels are tokens at four depths."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from videokd.models.family import Scale
from videokd.models.levels import LEVEL_NAMES
from videokd.utils.errors import InputError

PATCH = 16
"""Height and width of a patch in px, the same for all families that use this module."""


def run_blocks(
    blocks: nn.ModuleList,
    tokens: Tensor,
    *,
    run: Callable[[nn.Module, Tensor], Tensor],
    to_map: Callable[[Tensor], Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run all blocks and return the last tokens and the levels.

    A level is the map of the tokens after each quarter of the blocks.

    Args:
        blocks: Blocks of the transformer, a multiple of four.
        tokens: (B, N, C), input of the first block.
        run: Function from a block and its input tokens to its output tokens.
        to_map: Function from tokens (B, N, C) to a map (B, C, T, H, W).

    Returns:
        Output tokens of the last block, and level name -> map.
    """
    per_level = len(blocks) // len(LEVEL_NAMES)
    levels = {}
    for num_done, block in enumerate(blocks, start=1):
        tokens = run(block, tokens)
        if num_done % per_level == 0:
            levels[LEVEL_NAMES[num_done // per_level - 1]] = to_map(tokens)
    return tokens, levels


def name_blocks(prefix: str, num_blocks: int) -> dict[str, tuple[str, ...]]:
    """Return level name -> dotted names of its quarter of the blocks."""
    per_level = num_blocks // len(LEVEL_NAMES)
    return {
        name: tuple(f"{prefix}.{i}" for i in range(level * per_level, (level + 1) * per_level))
        for level, name in enumerate(LEVEL_NAMES)
    }


def clip_grid(clips: Tensor, frames_per_token: int) -> tuple[int, int, int]:
    """Return the numbers of tokens along T, H and W for clips (B, 3, T, H, W)."""
    time, height, width = clips.shape[2:]
    return time // frames_per_token, height // PATCH, width // PATCH


def check_clip_divides(name: str, scale: Scale, frames_per_token: int) -> None:
    """Check that the clip size is a multiple of the token size, so that nothing is cut off.

    Raises:
        InputError: The number of frames or the crop size is not a multiple.
    """
    if scale.num_frames % frames_per_token or scale.crop_size % PATCH:
        frames = "any number of" if frames_per_token == 1 else f"a multiple of {frames_per_token}"
        raise InputError(
            f"{name} needs {frames} frames and a crop that is a multiple of {PATCH} px, got "
            f"NUM_FRAMES {scale.num_frames} and CROP_SIZE {scale.crop_size}, its own or of DATA"
        )


def scale_transformer(
    scale: Scale, *, width: int, num_heads: int, num_blocks: int
) -> dict[str, Any]:
    """Return the arguments of a scaled transformer.

    The number of heads scales, their width stays; the number of blocks is a multiple of four.
    Narrower transformers start with larger weights. Otherwise a layer that sums over fewer channels
    would add almost nothing to its residual, and training from scratch would hardly start.

    Args:
        scale: Requested scale.
        width: Channels at scale 1.
        num_heads: Attention heads at scale 1.
        num_blocks: Blocks at scale 1, a multiple of four.

    Returns:
        "width", "num_heads", "num_blocks" and "init_std", for ``build`` of the plain network.
    """
    heads = max(1, round(num_heads * scale.width_factor))
    scaled = width // num_heads * heads
    return {
        "width": scaled,
        "num_heads": heads,
        "num_blocks": sum(scale.depths((num_blocks // 4,) * 4)),
        "init_std": 0.02 * max(1.0, width / scaled) ** 0.5,
    }
