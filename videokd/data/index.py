"""What a dataset is once its lists are read: records, class names and the folder they live in.

How the lists of a particular dataset are read belongs to `formats/`; opening a file to `source.py`.
"""

import hashlib
import json
import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: File, relative to the root of its index, with forward slashes.
        label: Class id, 0 .. num_classes - 1.
        dataset: Name of the dataset, e.g. "ucf101".
        group: Source of the video (scene, film, upload). Videos of one class and group are near
            copies of each other and must stay on one side of a split.
    """

    path: str
    label: int
    dataset: str
    group: str


@dataclass(frozen=True)
class VideoIndex:
    """The videos of one split of one dataset.

    Args:
        records: The videos that exist.
        class_names: Name of class k at position k, as the dataset spells it.
        root: Folder that the paths of the records start from.
        dataset: Name of the dataset.
        split: Part of the dataset, e.g. "split1/train"; for messages and reports.
        missing: Paths that the lists name and the root does not have.
        mirror_labels: Class of the mirror image of a video of class k at position k; () when
            mirroring changes no class; None when videos must not be mirrored.

    Raises:
        InputError: a label is not a position in class_names.
    """

    records: tuple[VideoRecord, ...]
    class_names: tuple[str, ...]
    root: Path
    dataset: str
    split: str
    missing: tuple[str, ...] = ()
    mirror_labels: tuple[int, ...] | None = ()

    def __post_init__(self) -> None:
        for row, record in enumerate(self.records):
            if not 0 <= record.label < len(self.class_names):
                raise InputError(
                    f"{self.dataset} {self.split}: record {row} ({record.path}) has label "
                    f"{record.label}, allowed are 0 .. {len(self.class_names) - 1}; "
                    "check the class list of the dataset"
                )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def num_classes(self) -> int:
        """Number of classes, also of those without a video in this split."""
        return len(self.class_names)

    def digest(self) -> str:
        """Compute a SHA-256 (hex) of records and class names; the root does not enter."""
        rows = [(r.path, r.label, r.dataset, r.group) for r in self.records]
        text = json.dumps([list(self.class_names), rows], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def hold_out_groups(
    index: VideoIndex, *, fraction: float, seed: int
) -> tuple[VideoIndex, VideoIndex]:
    """Split an index into training and validation parts along whole groups, class by class.

    In every class, groups are taken in random order until the validation part holds at least
    `fraction` of the videos of the class; one group always stays in training. The order is one for
    all classes: a film or scene that several of them share is held out of all of them, as far as
    their sizes allow. Else a network that has learnt "this scene goes with the other classes" is
    marked wrong on purpose.

    Args:
        index: The index to split.
        fraction: Share of each class to hold out, inside (0, 1).
        seed: Seed of the choice; with the same index and seed the parts are the same.

    Returns:
        (training, validation), both in the order of `index` and with all its classes. The missing
        videos are named by the training part.

    Raises:
        InputError: fraction is outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"fraction to hold out must be inside (0, 1), got {fraction}")
    held_out: set[tuple[int, str]] = set()
    names = sorted({record.group for record in index.records})
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    for label, sizes in sorted(_group_sizes(index).items()):
        own = [group for group in order if group in sizes]
        held_out.update((label, group) for group in _choose_groups(own, sizes, fraction))
        if len(sizes) == 1:
            _logger.warning(
                "%s: class %r has a single group, nothing of it is held out",
                index.dataset,
                index.class_names[label],
            )
    is_held = [(r.label, r.group) in held_out for r in index.records]
    train = tuple(r for r, held in zip(index.records, is_held, strict=True) if not held)
    validation = tuple(r for r, held in zip(index.records, is_held, strict=True) if held)
    return (
        replace(index, records=train, split=f"{index.split}/fit"),
        replace(index, records=validation, split=f"{index.split}/held_out", missing=()),
    )


def _group_sizes(index: VideoIndex) -> dict[int, dict[str, int]]:
    sizes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in index.records:
        sizes[record.label][record.group] += 1
    return sizes


def _choose_groups(order: list[str], sizes: dict[str, int], fraction: float) -> list[str]:
    target = fraction * sum(sizes.values())
    chosen: list[str] = []
    num_held = 0
    for group in order[:-1]:
        if num_held >= target:
            break
        chosen.append(group)
        num_held += sizes[group]
    return chosen
