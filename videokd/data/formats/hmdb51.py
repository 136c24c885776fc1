"""HMDB51: `<class>/<source>_<class>_....avi` with one list per class and split.

A row is `<file.avi> <id> ` with id 1 = train, 2 = test, 0 = not used in this split. 536 names
hold characters such as `# [ ] ;`: they are compared as text, never as patterns.
"""

from pathlib import Path

from videokd.data.formats.listing import (
    ListedVideo,
    build_index,
    check_disjoint,
    check_folder,
    check_subset,
    check_unique,
    read_rows,
)
from videokd.data.index import VideoIndex
from videokd.utils.errors import InputError

_SUBSET_OF_ID = {"1": "train", "2": "test", "0": ""}


def read_hmdb51(
    root: Path, *, annotations: Path, split: int, subset: str, dataset: str = "hmdb51"
) -> VideoIndex:
    """Read one part of one split of HMDB51 or of a dataset in its layout.

    Args:
        root: Folder that holds one folder per class.
        annotations: Folder with `<class>_test_split{1,2,3}.txt`.
        split: 1, 2 or 3.
        subset: "train" or "test".
        dataset: Name given to the records.

    Raises:
        InputError: a folder or list is missing, a row is malformed or listed twice, or none of
            the videos exists.
    """
    check_subset(subset)
    class_names, parts = _read_lists(annotations, split)
    return build_index(
        parts[subset],
        root=root,
        class_names=class_names,
        dataset=dataset,
        split=f"split{split}/{subset}",
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
    check_folder(annotations, "HMDB51 annotations")
    if split not in (1, 2, 3):
        raise InputError(f"HMDB51 split must be 1, 2 or 3, got {split}")
    suffix = f"_test_split{split}.txt"
    class_names = tuple(
        sorted(p.name[: -len(suffix)] for p in annotations.iterdir() if p.name.endswith(suffix))
    )
    if not class_names:
        raise InputError(f"HMDB51 annotations {annotations} has no file '<class>{suffix}'")
    parts: dict[str, list[ListedVideo]] = {"train": [], "test": []}
    for label, name in enumerate(class_names):
        _read_class(annotations / f"{name}{suffix}", name, label, parts)
    check_disjoint(parts["train"], parts["test"], f"{annotations} split {split}")
    return class_names, parts


def _read_class(path: Path, name: str, label: int, parts: dict[str, list[ListedVideo]]) -> None:
    listed: list[ListedVideo] = []
    for row, text in read_rows(path):
        fields = text.rsplit(None, 1)
        if len(fields) != 2 or fields[1] not in _SUBSET_OF_ID or "/" in fields[0]:
            raise InputError(
                f"{path} row {row}: {text!r} must be '<file> <id>' with id 0, 1 (train) or 2 (test)"
            )
        video = ListedVideo(f"{name}/{fields[0]}", label, _source_of(fields[0], name))
        listed.append(video)
        if subset := _SUBSET_OF_ID[fields[1]]:
            parts[subset].append(video)
    check_unique(listed, str(path))


def _source_of(file_name: str, class_name: str) -> str:
    # The last occurrence: a source may itself contain the name of the class.
    source, found, _ = file_name.rpartition(f"_{class_name}_")
    return source if found else file_name.rpartition(".")[0]
