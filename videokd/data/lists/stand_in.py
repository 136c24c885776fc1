"""Stand-in indexes with the sizes of well-known datasets, for dry runs without the videos."""

import re
from pathlib import Path

from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

SPLIT = "not here"
# Format -> classes, training videos, test videos. UCF101 and HMDB51: split 1; Kinetics: roughly the
# videos still available at the time of the SlowFast paper (section 4).
_NUMBERS = {
    "ucf101": (101, 9537, 3783),
    "hmdb51": (51, 3570, 1530),
    "ssv2": (174, 168_913, 24_777),
    "kinetics400": (400, 240_000, 20_000),
    "kinetics600": (600, 392_000, 30_000),
    "kinetics700": (700, 545_000, 35_000),
}


def make_stand_in(name: str, *, format: str, root: Path) -> tuple[VideoIndex, VideoIndex]:
    """Build training and test indexes with the published numbers of classes and videos.

    None of the files exist, and each video is its own group.

    Args:
        name: Name given to the records; selects the version of Kinetics, 400 if it has no number.
        format: Format of the dataset.
        root: Future folder of the videos.

    Raises:
        InputError: the numbers for this format are not known.
    """
    key = format
    if format == "kinetics":
        number = re.search(r"400|600|700", name)
        key += number.group() if number else "400"
    if key not in _NUMBERS:
        raise InputError(
            f"DATASETS.{name}.ROOT {root} does not exist, and how many classes it has is known of "
            f"the formats ucf101, hmdb51, kinetics and ssv2 only, not of {format}"
        )
    num_classes, num_train, num_test = _NUMBERS[key]
    class_names = tuple(f"class {k}" for k in range(num_classes))
    train, test = (
        VideoIndex(
            tuple(
                VideoRecord(f"{split}/{n}", n % num_classes, name, f"{n}")
                for n in range(num_videos)
            ),
            class_names,
            root,
            name,
            SPLIT,
        )
        for split, num_videos in (("train", num_train), ("test", num_test))
    )
    return train, test
