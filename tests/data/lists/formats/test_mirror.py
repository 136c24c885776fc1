import logging

import pytest

from videokd.data.lists.formats.mirror import resolve_mirror_labels, warn_of_likely_pair
from videokd.data.lists.formats.ssv2 import SSV2_LEFT_RIGHT_PAIRS
from videokd.utils.errors import InputError

NAMES = ("turn left", "stand upright", "turn right", "leaving right away")
PAIRS = [["Turn_Left", "turn right"]]


def resolve(names=NAMES, **options):
    return resolve_mirror_labels(
        names, **{"flip": "auto", "pairs": (), "dataset": "toy", **options}
    )


@pytest.mark.parametrize(
    ("flip", "pairs", "expected"),
    [
        ("auto", [], ()),
        ("keep", [], ()),
        ("off", [], None),
        ("auto", PAIRS, (2, 1, 0, 3)),
        ("swap", PAIRS, (2, 1, 0, 3)),
    ],
)
def test_the_classes_of_a_pair_change_places_and_the_others_stay(flip, pairs, expected):
    assert resolve(flip=flip, pairs=pairs) == expected


def test_something_something_swaps_its_three_pairs_by_itself():
    names = [name for pair in SSV2_LEFT_RIGHT_PAIRS for name in pair] + [
        "Putting something upright"
    ]
    assert len(SSV2_LEFT_RIGHT_PAIRS) == 3
    assert resolve(names, known_pairs=SSV2_LEFT_RIGHT_PAIRS) == (1, 0, 3, 2, 5, 4, 6)
    # What the user says goes before it.
    pairs = [names[:2]]
    assert resolve(names, pairs=pairs, known_pairs=SSV2_LEFT_RIGHT_PAIRS) == (1, 0, 2, 3, 4, 5, 6)
    assert resolve(names, flip="keep", known_pairs=SSV2_LEFT_RIGHT_PAIRS) == ()


def test_a_subset_with_half_a_known_pair_is_not_mirrored(caplog):
    names = [SSV2_LEFT_RIGHT_PAIRS[0][1], "Holding something"]
    with caplog.at_level(logging.WARNING):
        assert resolve(names, known_pairs=SSV2_LEFT_RIGHT_PAIRS) is None
    assert "no class is the mirror image of 'Pulling something from right to left'" in caplog.text
    assert resolve(["Holding something"], known_pairs=SSV2_LEFT_RIGHT_PAIRS) == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": "no"}, "toy: flip must be one of auto, keep, swap, off; got 'no'"),
        ({"flip": "swap"}, "flip 'swap' needs left-right pairs of class names"),
        ({"pairs": [["turn left", "turn"]]}, r"pair \['turn left', 'turn'\] names 'turn', which"),
        ({"pairs": [["turn left", "turn_left"]]}, "must be of two classes that are in no other"),
        ({"pairs": [*PAIRS, ["turn left", "stand upright"]]}, "in no other pair"),
    ],
)
def test_a_wrong_pair_is_named(options, message):
    with pytest.raises(InputError, match=message):
        resolve(**options)


def test_names_that_are_mirror_images_are_warned_of_and_single_words_are_not(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_likely_pair(NAMES[1:], "toy")
        assert caplog.text == ""
        warn_of_likely_pair(NAMES, "toy")
    assert "toy: classes 'turn left' and 'turn right' look like mirror images" in caplog.text
