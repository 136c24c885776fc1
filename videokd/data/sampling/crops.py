"""Positions of test crops on a frame."""

from videokd.data.sampling.clips import check_positive
from videokd.utils.errors import InputError

Box = tuple[int, int, int, int]

NUM_CROPS = (1, 3, 5)


def uniform_crop_boxes(height: int, width: int, *, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of test crops on a frame whose short side is already scaled.

    One crop is central. Three crops are at the start, the centre and the end of the long side,
    centred on the short side. Five crops are the corners top left, top right, bottom left, bottom
    right, and the centre. Crops are squares of `size` pixels, or of the short side if the frame is
    smaller.

    Returns:
        num_crops boxes (top, left, height, width) in pixels.

    Raises:
        InputError: num_crops is not 1, 3 or 5, or a number is not positive.
    """
    if num_crops not in NUM_CROPS:
        raise InputError(f"num_crops must be 1, 3 or 5, got {num_crops}")
    check_positive(height=height, width=width, size=size)
    side = min(size, height, width)
    bottom, right = height - side, width - side
    top, left = bottom // 2, right // 2
    if num_crops == 1:
        places = [(top, left)]
    elif num_crops == 5:
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (top, left)]
    elif width >= height:
        places = [(top, x) for x in (0, left, right)]
    else:
        places = [(y, left) for y in (0, top, bottom)]
    return [(y, x, side, side) for y, x in places]
