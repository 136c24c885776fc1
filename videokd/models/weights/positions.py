"""Resampling of learnt position embeddings for another number of tokens.

Interpolation is linear along time and bicubic in space. The class token's row does not change.
"""

import re
from math import isqrt
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import interpolate

_RELATIVE = re.compile(r"rel_pos_[thw]$")
_ALONG_TIME = re.compile(r"temporal|time")


class Clip(NamedTuple):
    """Clip size of a network with position embeddings."""

    num_frames: int
    crop_size: int


class _Grid(NamedTuple):
    time: int
    height: int
    width: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


def resample_positions(
    name: str,
    table: Tensor,
    shape: tuple[int, ...],
    *,
    patch: tuple[int, ...],
    clip: Clip | None,
    trained_clip: Clip | None,
) -> tuple[Tensor, str] | None:
    """Return position embeddings for another number of tokens, and a note; None if unsupported.

    The name of the table defines its rows: relative positions (``rel_pos_h``), frames ("temporal",
    "time"), or positions in a square frame ("spatial"). With any other name the rows are the
    positions of a square frame if the first layer sees one frame, or the positions of a clip, frame
    by frame, if it sees several.

    Args:
        name: Last part of the table's dotted name.
        table: (N, C) or (1, N, C).
        shape: Wanted shape, (M, C) or (1, M, C).
        patch: Kernel and stride of the first layer, (h, w) or (t, h, w).
        clip: Clip size of the network.
        trained_clip: Clip size that the table was probably trained for. If it does not match the
            number of rows, the table is assumed to have the network's T, or else its H and W.
    """
    is_table = table.ndim == len(shape) in (2, 3) and table.shape[-1] == shape[-1]
    if not is_table or (table.ndim == 3 and not table.shape[0] == shape[0] == 1):
        return None
    rows, num_rows = table.reshape(-1, table.shape[-1]), shape[-2]
    if _RELATIVE.search(name) or _ALONG_TIME.search(name):
        return _resample_line(rows, num_rows).reshape(shape), f"{len(rows)} -> {num_rows} positions"
    if "spatial" in name or len(patch) == 2:
        grids = _square_grids(len(rows), num_rows)
    else:
        grids = _clip_grids(len(rows), num_rows, patch, clip, trained_clip)
    if grids is None:
        return None
    old, new, num_extra = grids
    places = _resample_grid(rows[num_extra:], old, new)
    return _stack(rows[:num_extra], places).reshape(shape), f"positions {old} -> {new}"


def _stack(extra: Tensor, places: Tensor) -> Tensor:
    joined = places.new_empty(len(extra) + len(places), places.shape[1])
    joined[: len(extra)], joined[len(extra) :] = extra, places
    return joined


def _square_grids(num_old: int, num_new: int) -> tuple[_Grid, _Grid, int] | None:
    for num_extra in (0, 1):
        old, new = _side(num_old - num_extra), _side(num_new - num_extra)
        if old and new:
            return _Grid(1, old, old), _Grid(1, new, new), num_extra
    return None


def _clip_grids(
    num_old: int,
    num_new: int,
    patch: tuple[int, ...],
    clip: Clip | None,
    trained_clip: Clip | None,
) -> tuple[_Grid, _Grid, int] | None:
    if clip is None or len(patch) != 3:
        return None
    new = _grid_of(clip, patch)
    num_extra = num_new - new.time * new.height * new.width
    if num_extra not in (0, 1):
        return None
    num_places = num_old - num_extra
    guesses = [] if trained_clip is None else [_grid_of(trained_clip, patch)]
    side = _side(num_places // new.time)
    guesses.append(_Grid(new.time, side, side))
    guesses.append(_Grid(num_places // (new.height * new.width), new.height, new.width))
    for old in guesses:
        if old.time * old.height * old.width == num_places:
            return old, new, num_extra
    return None


def _grid_of(clip: Clip, patch: tuple[int, ...]) -> _Grid:
    time, height, width = patch
    return _Grid(clip.num_frames // time, clip.crop_size // height, clip.crop_size // width)


def _side(num_places: int) -> int:
    """Return the side of a square with ``num_places`` positions, 0 if there is none."""
    side = isqrt(max(0, num_places))
    return side if side * side == num_places else 0


def _resample_line(rows: Tensor, num_rows: int) -> Tensor:
    line = rows.float().t().unsqueeze(0)
    return interpolate(line, size=num_rows, mode="linear")[0].t().to(rows.dtype)


def _resample_grid(rows: Tensor, old: _Grid, new: _Grid) -> Tensor:
    channels = rows.shape[1]
    places = rows.float()
    if old.time != new.time:
        # Interpolate along time at each spatial position.
        lines = _resample_line(places.reshape(old.time, -1), new.time)
        places = lines.reshape(-1, channels)
    if old[1:] != new[1:]:
        maps = places.reshape(new.time, old.height, old.width, channels).permute(0, 3, 1, 2)
        maps = interpolate(maps, size=(new.height, new.width), mode="bicubic")
        places = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    return places.to(rows.dtype)
