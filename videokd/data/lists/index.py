"""Index of a dataset: the records of one split, their class names and their root folder.

`formats/` reads the lists of each dataset; `source.py` opens files.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videokd.data.lists.records import RecordTable, VideoRecord
from videokd.utils.errors import InputError

__all__ = ["RecordTable", "VideoIndex", "VideoRecord", "hold_out_groups"]

_logger = logging.getLogger(__name__)

# Number of rows that are serialised together while hashing.
_NUM_ROWS_PER_TEXT = 8192


@dataclass(frozen=True)
class VideoIndex:
    """The videos of one split of one dataset.

    Args:
        records: Existing videos. Use a RecordTable for large datasets: it takes a hundred bytes per
            video and is shared between processes.
        class_names: Name of class k at position k, as the dataset spells it.
        root: Folder that the paths of the records are relative to.
        dataset: Name of the dataset.
        split: Name of the split, e.g. "split1/train"; for messages and reports.
        missing: Paths that are in the lists but not under the root.
        mirror_labels: Class of the mirror image of a video of class k at position k; () if
            mirroring changes no class; None if videos must not be mirrored.

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
        """Number of classes, including classes without a video in this split."""
        return len(self.class_names)

    def digest(self) -> str:
        """Compute a SHA-256 (hex) of records and class names.

        Only path, label, dataset and group of a record are hashed. Facts found in the file and the
        root are not.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # JSON text of [class names, [[path, label, dataset, group], ...]], hashed in chunks.
        digest = hashlib.sha256(f"[{_dump(self.class_names)},[".encode("ascii"))
        rows = iter(_listed_fields(self.records))
        separator = ""
        while chunk := list(islice(rows, _NUM_ROWS_PER_TEXT)):
            digest.update(f"{separator}{_dump(chunk)[1:-1]}".encode("ascii"))
            separator = ","
        digest.update(b"]]")
        return digest.hexdigest()


def hold_out_groups(
    index: VideoIndex, *, fraction: float, seed: int
) -> tuple[VideoIndex, VideoIndex]:
    """Split an index into training and held-out records by whole groups, class by class.

    In every class, the groups whose number of videos is nearest to `fraction` of the class are held
    out; ties are broken by a random order of the groups. At least one group stays in training and,
    if there are two, one is held out. All classes share the order, so a film or scene that occurs
    in several classes is held out of all of them as far as group sizes allow. Otherwise a scene
    could be trained on under one class and validated under another, which penalises the network for
    recognising it.

    A warning reports both shares if the result is not within a third of `fraction`.

    Args:
        index: The index to split.
        fraction: Share of each class to hold out, inside (0, 1).
        seed: Seed of the choice; the same videos and seed give the same result.

    Returns:
        (training, held out), both in the order of `index` and with all its classes. Only the
        training index lists the missing videos.

    Raises:
        InputError: fraction is outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"fraction to hold out must be inside (0, 1), got {fraction}")
    labels, groups = _labels(index.records), _groups(index.records)
    is_held = _choose_groups(labels, groups, fraction=fraction, seed=seed)
    _warn_of_coarse_groups(index, labels, groups, is_held, fraction)
    return (
        replace(index, records=_take(index.records, ~is_held), split=f"rest of {index.split}"),
        replace(
            index,
            records=_take(index.records, is_held),
            split=f"held out of {index.split}",
            missing=(),
        ),
    )


def _choose_groups(
    labels: NDArray[np.int64], groups: NDArray[np.int64], *, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Return a mask of the records to hold out.

    Args:
        labels: (records,).
        groups: (records,) 0 .. number of groups - 1, in the order of the group names.
        fraction: See `hold_out_groups`.
        seed: See `hold_out_groups`.
    """
    num_groups = int(groups.max(initial=-1)) + 1
    turns = np.argsort(np.random.default_rng(seed).permutation(num_groups))
    # Sorted pairs of class and group, class by class in the random order, with their video counts.
    pairs, places, sizes = np.unique(
        labels * num_groups + turns[groups], return_inverse=True, return_counts=True
    )
    firsts = np.unique(pairs // max(num_groups, 1), return_index=True)[1]
    is_chosen = np.zeros(len(pairs), bool)
    for first, last in pairwise([*firsts.tolist(), len(pairs)]):
        own = sizes[first:last].tolist()
        is_chosen[[first + n for n in _choose_nearest(own, fraction * sum(own))]] = True
    return is_chosen[places]


def _choose_nearest(sizes: Sequence[int], wish: float) -> list[int]:
    """Return positions of some, but not all, of the sizes, whose sum is nearest to the wish.

    The larger of two equally near sums is chosen. Among several ways to reach a sum, the one that
    needs the shortest prefix of the sizes is chosen.
    """
    if len(sizes) < 2:
        return []
    smallest = min(sizes)
    # A larger sum is further from the wish than the smallest size alone is.
    limit = min(max(smallest, int(2 * wish - smallest)), sum(sizes) - 1)
    goal = max(1, int(wish + 0.5))
    # Length of the prefix of sizes that first reaches each sum; -1 if unreachable.
    num_needed = np.full(limit + 1, -1, np.int64)
    num_needed[0] = 0
    for number, size in enumerate(sizes, start=1):
        if size <= limit:
            is_new = (num_needed[: limit + 1 - size] >= 0) & (num_needed[size:] < 0)
            num_needed[size:][is_new] = number
            if goal <= limit and num_needed[goal] >= 0:
                break
    sums: list[int] = np.flatnonzero(num_needed > 0).tolist()
    rest = min(sums, key=lambda s: (abs(s - wish), -s))
    chosen: list[int] = []
    while rest:
        chosen.append(int(num_needed[rest]) - 1)
        rest -= sizes[chosen[-1]]
    return chosen


def _warn_of_coarse_groups(
    index: VideoIndex,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    is_held: NDArray[np.bool_],
    fraction: float,
) -> None:
    """Log one warning if the held-out share is not within a third of the wish."""
    totals = np.bincount(labels, minlength=index.num_classes)
    held = np.bincount(labels[is_held], minlength=index.num_classes)
    error = np.abs(held - fraction * totals)
    # In small classes, an error of one video is unavoidable.
    is_off = (error > np.maximum(fraction * totals / 3, 1)) | ((held == 0) & (totals > 0))
    is_all_off = abs(held.sum() - fraction * totals.sum()) > fraction * totals.sum() / 3
    if not (is_off.any() or is_all_off):
        return
    worst = int(error.argmax())
    own = np.bincount(groups[labels == worst])
    _logger.warning(
        "%s: %d of %d videos (%.0f %%) are held out of %s, wanted were %.0f %%: groups stay whole, "
        "e.g. of class %r %d of %d videos are held out, it has %d groups, the largest of %d; in "
        "formats folder and list, GROUP_PATTERN sets what in a path names a group",
        *(index.dataset, held.sum(), totals.sum(), 100 * held.sum() / totals.sum(), index.split),
        *(100 * fraction, index.class_names[worst], held[worst], totals[worst]),
        *(np.count_nonzero(own), own.max()),
    )


def _labels(records: Sequence[VideoRecord]) -> NDArray[np.int64]:
    if isinstance(records, RecordTable):
        return records.numbers("label").astype(np.int64)
    return np.array([record.label for record in records], np.int64)


def _groups(records: Sequence[VideoRecord]) -> NDArray[np.int64]:
    """Return the group number of each record, in the order of the group names, without gaps."""
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
