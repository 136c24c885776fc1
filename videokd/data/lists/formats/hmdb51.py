"""HMDB51: `<class>/<source>_<class>_....avi` with one list per class and split.

A row is `<file.avi> <id> ` with id 1 = train, 2 = test, 0 = not used in this split. 536 names hold
characters such as `# [ ] ;`, so names are compared as text, never as patterns.
"""

from pathlib import Path

from videokd.data.lists.formats.finding import FolderListing
from videokd.data.lists.formats.listing import (
    check_disjoint,
    check_folder,
    check_split_number,
    check_unique,
    read_rows,
)
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_SPLIT_OF_ID = {"1": "train", "2": "test", "0": "unused"}


def read_hmdb51_lists(spec: DatasetSpec, listing: FolderListing | None) -> DatasetLists:
    """Read one split of HMDB51 or of a dataset in its layout.

    Args:
        spec: Description; its annotations are a folder with `<class>_test_split{1,2,3}.txt`.
        listing: Not used.

    Raises:
        InputError: a folder or list is missing, a row is malformed or listed twice, or a class has
            lists of other splits only.
    """
    check_folder(spec.lists, "HMDB51 annotations")
    check_split_number(spec, "HMDB51")
    class_names = _find_classes(spec.lists, spec.split_number)
    videos: dict[str, list[ListedVideo]] = {"train": [], "test": [], "unused": []}
    for label, name in enumerate(class_names):
        path = spec.lists / f"{name}_test_split{spec.split_number}.txt"
        _read_class(path, name, label, videos)
    all_paths = {video.path for own in videos.values() for video in own}
    del videos["unused"]
    # Each video has one row and is in one split, but its source may be in both splits.
    source = f"{spec.lists} split {spec.split_number}"
    check_disjoint(videos, sources=dict.fromkeys(videos, source))
    names = {split: f"split{spec.split_number}/{split}" for split in videos}
    return DatasetLists(class_names, videos, names, all_paths)


def _find_classes(annotations: Path, split_number: int) -> tuple[str, ...]:
    names = {path.name for path in annotations.iterdir()}
    suffixes = [f"_test_split{k}.txt" for k in (1, 2, 3)]
    found = {n.removesuffix(s) for s in suffixes for n in names if n.endswith(s)}
    lost = sorted(name for name in found if f"{name}_test_split{split_number}.txt" not in names)
    if len(lost) == len(found):
        raise InputError(
            f"HMDB51 annotations {annotations} has no file '<class>_test_split{split_number}.txt'"
        )
    # Class ids are positions, so a missing list would shift the ids of all classes after it.
    if lost:
        raise InputError(
            f"HMDB51 annotations {annotations} has no file "
            f"'{lost[0]}_test_split{split_number}.txt', but lists of {lost[0]!r} for other splits"
        )
    return tuple(sorted(found))


def _read_class(path: Path, name: str, label: int, videos: dict[str, list[ListedVideo]]) -> None:
    listed: list[ListedVideo] = []
    for row, text in read_rows(path):
        fields = text.rsplit(None, 1)
        if len(fields) != 2 or fields[1] not in _SPLIT_OF_ID or "/" in fields[0]:
            raise InputError(
                f"{path} row {row}: {text!r} must be '<file> <id>' with id 0, 1 (train) or 2 (test)"
            )
        video = ListedVideo(f"{name}/{fields[0]}", label, _source_of(fields[0], name), row)
        listed.append(video)
        videos[_SPLIT_OF_ID[fields[1]]].append(video)
    check_unique(listed, str(path))


def _source_of(file_name: str, class_name: str) -> str:
    # Split at the last occurrence, since a source may contain the class name.
    source, found, _ = file_name.rpartition(f"_{class_name}_")
    return source if found else file_name.rpartition(".")[0]
