"""Something-Something v2: `<id>.webm` in one flat folder, labels in three JSON files.

A video's class is its template without square brackets, looked up in labels.json, whose ids are
strings. The test split is the validation list, since the labels of the test list are
not public.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videokd.data.lists.formats.finding import FolderListing, is_video_name
from videokd.data.lists.formats.listing import (
    check_disjoint,
    check_folder,
    check_unique,
    read_text,
)
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

# All pairs among the 174 classes that mirroring exchanges.
SSV2_LEFT_RIGHT_PAIRS = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    (
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    ),
)

_LIST_OF_SPLIT = {"train": "train", "test": "validation"}
# File name prefixes and video folders of the first release and of the later one.
_PREFIXES = ("something-something-v2-", "")
_FOLDERS = ("", "20bn-something-something-v2", "videos")


def read_ssv2_lists(spec: DatasetSpec, listing: FolderListing | None) -> DatasetLists:
    """Read Something-Something v2 or a dataset in its layout.

    Each video is its own group, since the lists name no source.

    Args:
        spec: Description; its annotations are a folder with labels.json, train.json and
            validation.json, with or without the prefix `something-something-v2-`.
        listing: Not used.

    Raises:
        InputError: a folder or list is missing, an entry is malformed, names an unknown template
            or is listed twice or in both splits.
    """
    check_folder(spec.lists, "Something-Something annotations")
    class_names = _read_labels(_find_json(spec.lists, "labels"))
    labels = {name: label for label, name in enumerate(class_names)}
    paths = {split: _find_json(spec.lists, name) for split, name in _LIST_OF_SPLIT.items()}
    videos = {split: _read_entries(path, labels) for split, path in paths.items()}
    for split, path in paths.items():
        check_unique(videos[split], str(path))
    check_disjoint(videos, sources={split: str(path) for split, path in paths.items()})
    if _find_json(spec.lists, "test").exists():
        _logger.info("%s: the test list is not read; the validation list is tested on", spec.lists)
    return DatasetLists(class_names, videos, {split: path.name for split, path in paths.items()})


def find_ssv2_files(
    listing: FolderListing, lists: DatasetLists, dataset: str
) -> dict[str, dict[str, str]]:
    """Find the videos in the root, in 20bn-something-something-v2/ or in videos/.

    Copies in another container (`<id>.mp4`) are found too.

    Args:
        listing: Listing of the root.
        lists: Annotation lists.
        dataset: Not used.

    Returns:
        Split -> video id -> path, from the first of the folders that holds any listed video.
    """
    return {split: _list_files(listing, videos) for split, videos in lists.videos.items()}


def _find_json(annotations: Path, name: str) -> Path:
    paths = [annotations / f"{prefix}{name}.json" for prefix in _PREFIXES]
    return next((path for path in paths if path.exists()), paths[0])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"annotation file {path} is not JSON: {error}") from error


def _read_labels(path: Path) -> tuple[str, ...]:
    table = _read_json(path)
    if not isinstance(table, dict) or not table:
        raise InputError(f'{path} must hold {{"template": "class id", ...}}')
    names: dict[int, str] = {}
    for template, class_id in table.items():
        # Class ids are 0-based strings: "0" .. "173".
        label = int(class_id) if str(class_id).isdecimal() else -1
        if not 0 <= label < len(table) or label in names:
            raise InputError(
                f"{path}: class id {class_id!r} of {template!r} must be a number from 0 to "
                f"{len(table) - 1} that no other class has"
            )
        names[label] = _without_brackets(template)
    return tuple(names[label] for label in range(len(table)))


def _read_entries(path: Path, labels: dict[str, int]) -> list[ListedVideo]:
    entries = _read_json(path)
    if not isinstance(entries, list):
        raise InputError(f'{path} must hold a list of {{"id": ..., "template": ...}}')
    known: dict[str, int] = {}
    listed: list[ListedVideo] = []
    for row, entry in enumerate(entries, start=1):
        video_id, template = _parse_entry(path, row, entry)
        label = known.get(template)
        if label is None:
            label = labels.get(_without_brackets(template))
            if label is None:
                raise InputError(
                    f"{path} entry {row}: template {template!r} of video {video_id} is not among "
                    f"the {len(labels)} of the labels file"
                )
            known[template] = label
        listed.append(ListedVideo(video_id, label, video_id, row))
    return listed


def _parse_entry(path: Path, row: int, entry: Any) -> tuple[str, str]:
    is_mapping = isinstance(entry, dict)
    video_id = str(entry.get("id", "")) if is_mapping else ""
    template = entry.get("template") if is_mapping else None
    if not video_id or "/" in video_id or not isinstance(template, str):
        raise InputError(
            f'{path} entry {row}: {str(entry)[:80]!r} must be {{"id": "<file name>", "template": '
            '"<class>"}'
        )
    return video_id, template


def _without_brackets(template: str) -> str:
    return template.replace("[", "").replace("]", "")


def _list_files(listing: FolderListing, listed: Sequence[ListedVideo]) -> dict[str, str]:
    files: dict[str, str] = {}
    for folder in _FOLDERS:
        for name in sorted(listing.names(folder)):
            if is_video_name(name):
                files[name.rpartition(".")[0]] = f"{folder}/{name}" if folder else name
        if any(video.path in files for video in listed):
            return files
    return {}
