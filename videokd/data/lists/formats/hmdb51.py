"""HMDB51: `<class>/<source>_<class>_....avi` with one list per class and split.

A row is `<file.avi> <id> ` with id 1 = train, 2 = test, 0 = not used in this split. 536 names hold
characters such as `# [ ] ;`, so names are compared as text, never as patterns.
"""

from pathlib import Path

from videokd.data.lists.formats.finding import FolderListing, build_indexes
from videokd.data.lists.formats.listing import (
    ListedVideo,
    check_disjoint,
    check_folder,
    check_unique,
    read_rows,
)
from videokd.data.lists.index import VideoIndex
from videokd.utils.errors import InputError

_PART_OF_ID = {"1": "train", "2": "test", "0": "unused"}
_USED_PARTS = ("train", "test")


def read_hmdb51(
    root: Path, *, annotations: Path, split: int, dataset: str = "hmdb51"
) -> dict[str, VideoIndex]:
    """Read one split of HMDB51 or of a dataset in its layout.

    Args:
        root: Folder that holds one folder per class.
        annotations: Folder with `<class>_test_split{1,2,3}.txt`.
        split: 1, 2 or 3.
        dataset: Name given to the records.

    Returns:
        Part ("train", "test") -> its index.

    Raises:
        InputError: a folder or list is missing, a row is malformed or listed twice, a class has
            lists of other splits only, or none of the videos exist.
    """
    class_names, parts = _read_lists(annotations, split)
    return build_indexes(
        {part: parts[part] for part in _USED_PARTS},
        listing=FolderListing(root),
        class_names=class_names,
        dataset=dataset,
        splits={part: f"split{split}/{part}" for part in _USED_PARTS},
        all_listed={video.path for part in parts.values() for video in part},
    )


def count_hmdb51(annotations: Path, split: int) -> dict[str, int]:
    """Count the listed videos of a split: keys "train", "test", "classes". Needs no videos."""
    class_names, parts = _read_lists(annotations, split)
    return {
        "train": len(parts["train"]),
        "test": len(parts["test"]),
        "classes": len(class_names),
    }


def _read_lists(
    annotations: Path, split: int
) -> tuple[tuple[str, ...], dict[str, list[ListedVideo]]]:
    """Return the class names, and part ("train", "test", "unused") -> its videos."""
    check_folder(annotations, "HMDB51 annotations")
    if split not in (1, 2, 3):
        raise InputError(f"HMDB51 split must be 1, 2 or 3, got {split}")
    class_names = _find_classes(annotations, split)
    parts: dict[str, list[ListedVideo]] = {"train": [], "test": [], "unused": []}
    for label, name in enumerate(class_names):
        _read_class(annotations / f"{name}_test_split{split}.txt", name, label, parts)
    # Each video has one row and is in one part, but its source may be in both parts.
    source = f"{annotations} split {split}"
    used = {part: parts[part] for part in _USED_PARTS}
    check_disjoint(used, sources=dict.fromkeys(used, source))
    return class_names, parts


def _find_classes(annotations: Path, split: int) -> tuple[str, ...]:
    names = {path.name for path in annotations.iterdir()}
    suffixes = [f"_test_split{k}.txt" for k in (1, 2, 3)]
    found = {n.removesuffix(s) for s in suffixes for n in names if n.endswith(s)}
    lost = sorted(name for name in found if f"{name}_test_split{split}.txt" not in names)
    if len(lost) == len(found):
        raise InputError(
            f"HMDB51 annotations {annotations} has no file '<class>_test_split{split}.txt'"
        )
    # Class ids are positions, so a missing list would shift the ids of all classes after it.
    if lost:
        raise InputError(
            f"HMDB51 annotations {annotations} has no file '{lost[0]}_test_split{split}.txt', but "
            f"lists of {lost[0]!r} for other splits"
        )
    return tuple(sorted(found))


def _read_class(path: Path, name: str, label: int, parts: dict[str, list[ListedVideo]]) -> None:
    listed: list[ListedVideo] = []
    for row, text in read_rows(path):
        fields = text.rsplit(None, 1)
        if len(fields) != 2 or fields[1] not in _PART_OF_ID or "/" in fields[0]:
            raise InputError(
                f"{path} row {row}: {text!r} must be '<file> <id>' with id 0, 1 (train) or 2 (test)"
            )
        video = ListedVideo(f"{name}/{fields[0]}", label, _source_of(fields[0], name), row)
        listed.append(video)
        parts[_PART_OF_ID[fields[1]]].append(video)
    check_unique(listed, str(path))


def _source_of(file_name: str, class_name: str) -> str:
    # Split at the last occurrence, since a source may contain the class name.
    source, found, _ = file_name.rpartition(f"_{class_name}_")
    return source if found else file_name.rpartition(".")[0]
