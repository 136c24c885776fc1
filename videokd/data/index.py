"""What a dataset is once its lists are read: records, class names and the folder they live in.

How the lists of a particular dataset are read belongs to `formats/`; opening a file to `source.py`.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videokd.data.record_table import RecordTable, VideoRecord
from videokd.utils.errors import InputError

__all__ = ["RecordTable", "VideoIndex", "VideoRecord", "hold_out_groups"]

_logger = logging.getLogger(__name__)

# Rows that are written as one text while they are hashed.
_NUM_ROWS_PER_TEXT = 8192


@dataclass(frozen=True)
class VideoIndex:
    """The videos of one split of one dataset.

    Args:
        records: The videos that exist. A RecordTable where there are many: it takes a hundred
            bytes a video, and processes share it.
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

    records: Sequence[VideoRecord]
    class_names: tuple[str, ...]
    root: Path
    dataset: str
    split: str
    missing: tuple[str, ...] = ()
    mirror_labels: tuple[int, ...] | None = ()

    def __post_init__(self) -> None:
        labels = _labels(self.records)
        is_wrong = (labels < 0) | (labels >= len(self.class_names))
        if is_wrong.any():
            row = int(is_wrong.argmax())
            record = self.records[row]
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
        """Compute a SHA-256 (hex) of records and class names.

        Of a record, what the lists say enters: path, label, dataset and group. What was found in
        its file does not, and the root does not.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # The JSON text of [class names, [[path, label, dataset, group], ...]], a part at a time.
        digest = hashlib.sha256(f"[{_dump(self.class_names)},[".encode("ascii"))
        rows = iter(_listed_fields(self.records))
        separator = ""
        while part := list(islice(rows, _NUM_ROWS_PER_TEXT)):
            digest.update(f"{separator}{_dump(part)[1:-1]}".encode("ascii"))
            separator = ","
        digest.update(b"]]")
        return digest.hexdigest()


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
    labels, groups = _labels(index.records), _groups(index.records)
    is_held, whole = _choose_groups(labels, groups, fraction=fraction, seed=seed)
    for label in whole:
        _logger.warning(
            "%s: class %r has a single group, nothing of it is held out",
            index.dataset,
            index.class_names[label],
        )
    return (
        replace(index, records=_take(index.records, ~is_held), split=f"{index.split}/fit"),
        replace(
            index,
            records=_take(index.records, is_held),
            split=f"{index.split}/held_out",
            missing=(),
        ),
    )


def _choose_groups(
    labels: NDArray[np.int64], groups: NDArray[np.int64], *, fraction: float, seed: int
) -> tuple[NDArray[np.bool_], list[int]]:
    """Say which records are held out, and which classes have one group only.

    Args:
        labels: (records,).
        groups: (records,) 0 .. number of groups - 1, in the order of their names.
        fraction: See `hold_out_groups`.
        seed: See `hold_out_groups`.
    """
    num_groups = int(groups.max(initial=-1)) + 1
    turns = np.argsort(np.random.default_rng(seed).permutation(num_groups))
    # The groups of class 0 in their turn, then those of class 1, ...; with what they hold.
    pairs, places, sizes = np.unique(
        labels * num_groups + turns[groups], return_inverse=True, return_counts=True
    )
    classes, firsts, num_own = np.unique(
        pairs // max(num_groups, 1), return_index=True, return_counts=True
    )
    ends = np.append(0, np.cumsum(sizes))
    totals = ends[firsts + num_own] - ends[firsts]
    num_before = ends[:-1] - np.repeat(ends[firsts], num_own)
    is_chosen = num_before < np.repeat(fraction * totals, num_own)
    is_chosen[firsts + num_own - 1] = False
    return is_chosen[places], classes[num_own == 1].tolist()


def _labels(records: Sequence[VideoRecord]) -> NDArray[np.int64]:
    if isinstance(records, RecordTable):
        return records.numbers("label").astype(np.int64)
    return np.array([record.label for record in records], np.int64)


def _groups(records: Sequence[VideoRecord]) -> NDArray[np.int64]:
    """Number the groups in the order of their names, without gaps."""
    if isinstance(records, RecordTable):
        ranks = records.numbers("group")
    else:
        order = {name: n for n, name in enumerate(sorted({record.group for record in records}))}
        ranks = np.array([order[record.group] for record in records], np.int64)
    numbers: NDArray[np.int64] = np.unique(ranks, return_inverse=True)[1]
    return numbers


def _take(records: Sequence[VideoRecord], is_wanted: NDArray[np.bool_]) -> Sequence[VideoRecord]:
    if isinstance(records, RecordTable):
        return records.take(np.flatnonzero(is_wanted))
    return tuple(record for record, wanted in zip(records, is_wanted, strict=True) if wanted)


def _listed_fields(records: Sequence[VideoRecord]) -> Iterable[tuple[str, int, str, str]]:
    if isinstance(records, RecordTable):
        return records.select("path", "label", "dataset", "group")
    return ((r.path, r.label, r.dataset, r.group) for r in records)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
