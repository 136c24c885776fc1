from dataclasses import FrozenInstanceError

import pytest

from videokd.data.augment import Augmentation, Erasing


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 10, 20)),
        ((0.25, 0.25, 0.5, 0.5), (2, 5, 6, 10)),  # rows 2.5 .. 7.5, to the even pixel
        ((0.52, 0.33, 0.2, 0.1), (5, 7, 2, 2)),  # rows 5.2 .. 7.2, columns 6.6 .. 8.6
        ((0.5, 0.5, 0.01, 0.5), (5, 10, 0, 10)),
    ],
)
def test_erased_pixels_by_hand(box, expected):
    assert Erasing(box, (0, 0, 0)).pixels(10, 20) == expected


def test_an_augmentation_cannot_be_changed():
    with pytest.raises(FrozenInstanceError, match="flip"):
        Augmentation((0, 0, 1, 1)).flip = True
