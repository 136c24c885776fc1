"""Six kinds of damage that files come with, each a function of (content, seed) alone."""

from collections.abc import Callable

import numpy as np


def _truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(len(data) * rng.uniform(0.05, 0.98))]


def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(0, len(data), rng.integers(1, 21)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _zero_a_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    size, start = int(rng.integers(64, 8192)), int(rng.integers(len(data)))
    block = len(data[start : start + size])
    data[start : start + block] = bytes(block)
    return data


def _swap_blocks(data: bytearray, rng: np.random.Generator) -> bytearray:
    size = min(int(rng.choice([512, 4096])), len(data) // 4)
    first, second = sorted(rng.choice(len(data) // size, 2, replace=False) * size)
    one, two = data[first : first + size], data[second : second + size]
    data[first : first + size], data[second : second + size] = two, one
    return data


def _garble_head(data: bytearray, rng: np.random.Generator) -> bytearray:
    # The first bytes stay every other time, so that not all of these files end at the first check.
    start = int(rng.choice([0, 12]))
    size = int(rng.integers(8, 256))
    data[start : start + size] = rng.bytes(size)
    return data


def _insert_junk(data: bytearray, rng: np.random.Generator) -> bytearray:
    # At the end every fourth time: there it harms nothing.
    place = len(data) if rng.random() < 0.25 else int(rng.integers(len(data)))
    data[place:place] = rng.bytes(int(rng.integers(1, 4096)))
    return data


KINDS: dict[str, Callable[[bytearray, np.random.Generator], bytearray]] = {
    "truncated": _truncate,
    "bit flips": _flip_bits,
    "zero block": _zero_a_block,
    "swapped blocks": _swap_blocks,
    "garbage head": _garble_head,
    "junk inserted": _insert_junk,
}


def damage(content: bytes, kind: str, seed: int) -> bytes:
    """Return the content damaged; the same for the same kind and seed."""
    rng = np.random.default_rng([list(KINDS).index(kind), seed])
    return bytes(KINDS[kind](bytearray(content), rng))
