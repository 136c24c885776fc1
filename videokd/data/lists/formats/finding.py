"""Lookup of videos under a root, including renamed and missing ones.

Each folder is listed once, since a stat per row would take minutes on network disks.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.data.decode.source import check_folder_inside
from videokd.data.lists.formats.spec import DatasetLists
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

# Folder names of a split under a root: official, MMAction2's, and those of the 256-pixel copies.
SPLIT_FOLDERS = {
    "train": ("train", "videos_train", "train_256"),
    "val": ("val", "videos_val", "val_256", "validate", "valid", "validation"),
    "test": ("test", "videos_test", "test_256"),
}

_NUM_NAMED_EXTENSIONS = 4


class FolderListing:
    """Names under a root, from one listing per folder. Dangling links are left out.

    Args:
        root: Folder that all paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, frozenset[str]] = {}
        self._respelled: dict[tuple[str, Callable[[str], str]], dict[str, str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """Return the names in a folder, given relative to the root; empty if it does not exist.

        Raises:
            InputError: the folder exists and cannot be listed, or is outside the root.
        """
        if folder not in self._names:
            check_folder_inside(self.root, folder)
            try:
                with os.scandir(self.root / folder) as entries:
                    # Skip dangling links, such as DVC or git-annex files that were not fetched.
                    self._names[folder] = frozenset(
                        e.name for e in entries if not e.is_symlink() or os.path.exists(e)
                    )
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
            except (OSError, ValueError) as error:
                raise InputError(f"{self.root / folder} cannot be listed: {error}") from error
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Return whether the path exists with exactly this spelling."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder)

    def find_respelled(self, path: str, spell: Callable[[str], str]) -> str | None:
        """Return the only path equal to this one after `spell` on each name, or None."""
        found = ""
        for step in path.split("/"):
            name = step if step in self.names(found) else self._respell(found, step, spell)
            if not name:
                return None
            found = f"{found}/{name}" if found else name
        return found

    def _respell(self, folder: str, name: str, spell: Callable[[str], str]) -> str:
        key = (folder, spell)
        if key not in self._respelled:
            table: dict[str, str] = {}
            for entry in self.names(folder):
                spelled = spell(entry)
                # Two files with the same spelling: neither can be chosen.
                table[spelled] = "" if spelled in table else entry
            self._respelled[key] = table
        return self._respelled[key].get(spell(name), "")


def find_listed(
    listing: FolderListing, lists: DatasetLists, dataset: str
) -> dict[str, dict[str, str]]:
    """Find files that lie where the lists say.

    If the lists give all paths of the dataset, an absent file is also searched with another
    extension, and with underscores for special characters and in another case, as in some copies
    of HMDB51 and UCF101. A match is used only if it is unique among files and listed paths.

    Args:
        listing: Listing of the root that the paths of the lists are relative to.
        lists: Annotation lists.
        dataset: Name of the dataset, for messages.

    Returns:
        Split -> listed path -> path of the existing file under the root.
    """
    listed = [video.path for videos in lists.videos.values() for video in videos]
    absent = [path for path in listed if not listing.has(path)]
    renamed = _find_renamed(listing, absent, lists.all_paths) if absent and lists.all_paths else {}
    if renamed:
        _logger.warning(
            "%s: %d videos were found under another name, e.g. %s as %s",
            *(dataset, len(renamed)),
            *next(iter(renamed.items())),
        )
    files = {path: path for path in listed} | renamed
    for path in absent:
        if path not in renamed:
            files.pop(path, None)
    return dict.fromkeys(lists.videos, files)


def build_indexes(
    lists: DatasetLists, files: Mapping[str, Mapping[str, str]], *, root: Path, dataset: str
) -> dict[str, VideoIndex]:
    """Build the indexes of listed videos; videos that do not exist are listed in `missing`.

    Args:
        lists: Annotation lists.
        files: Split -> listed path -> path of the existing file under the root.
        root: Folder of the videos.
        dataset: Name given to the records.

    Returns:
        Split -> its index.

    Raises:
        InputError: none of the videos of a split exist.
    """
    indexes = {}
    for split, videos in lists.videos.items():
        found = files[split]
        records = tuple(
            VideoRecord(found[path], label, dataset, group)
            for path, label, group, _ in videos
            if path in found
        )
        missing = tuple(video.path for video in videos if video.path not in found)
        place = (lists.class_names, root, dataset, lists.names[split])
        indexes[split] = finish_index(VideoIndex(records, *place, missing))
    return indexes


def _find_renamed(
    listing: FolderListing, absent: Sequence[str], all_listed: Collection[str]
) -> dict[str, str]:
    # HMDB51 has boom-snap-clap_... in train and Boom_Snap_Clap_... in test of split 2, so a
    # confusion would train on a test video.
    found: dict[str, str] = {}
    for spell in _SPELLINGS:
        num_listed = Counter(_spell_path(path, spell) for path in all_listed)
        for path in absent:
            if path not in found and num_listed[_spell_path(path, spell)] == 1:
                other = listing.find_respelled(path, spell)
                if other is not None:
                    found[path] = other
    return found


def _spell_path(path: str, spell: Callable[[str], str]) -> str:
    return "/".join(map(spell, path.split("/")))


def _any_extension(name: str) -> str:
    return f"{os.path.splitext(name)[0]}.*" if is_video_name(name) else name


def _underscored(name: str) -> str:
    stem, extension = os.path.splitext(name)
    return re.sub(r"\W", "_", stem) + extension


def _underscored_lower(name: str) -> str:
    return _underscored(name).lower()


# Ordered from strict to loose; the first spelling that matches is used.
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    _any_extension,
    _underscored,
    lambda name: _underscored(_any_extension(name)),
    _underscored_lower,
    lambda name: _underscored_lower(_any_extension(name)),
)


def finish_index(index: VideoIndex) -> VideoIndex:
    """Log missing videos and return the index, which must hold at least one video.

    Raises:
        InputError: no listed video exists.
    """
    num_listed = len(index) + len(index.missing)
    hint = _explain_missing(index)
    if not index.records:
        example = f" (looked for e.g. {index.missing[0]})" if index.missing else ""
        raise InputError(
            f"{index.dataset} {index.split}: 0 videos of {num_listed} listed exist under "
            f"{index.root}{example}; {hint or 'check root and layout'}"
        )
    if index.missing:
        _logger.warning(
            "%s %s: %d of %d listed videos are missing under %s: %s%s",
            *(index.dataset, index.split, len(index.missing), num_listed, index.root),
            name_first(index.missing),
            f"; {hint}" if hint else "",
        )
    return index


def _explain_missing(index: VideoIndex) -> str:
    """Return the likely cause if a list's paths do not match the root, or ""."""
    if any("\\" in path for path in index.missing):
        return "paths of lists are written with / and not with backslashes"
    top = f"{index.root.absolute().name}/"
    if index.missing and all(path.startswith(top) for path in index.missing):
        return f"the list's paths begin with {top}, so set the root to {index.root.parent}"
    return ""


def check_links(indexes: Mapping[str, VideoIndex]) -> None:
    """Log one warning about videos of a dataset that are links to files outside its root.

    Raises:
        InputError: all videos of a split are such links.
    """
    outside = {split: _find_outside_links(index) for split, index in indexes.items()}
    examples = [path for paths in outside.values() for path in paths]
    if not examples:
        return
    index = next(iter(indexes.values()))
    num_videos = sum(map(len, indexes.values()))
    text = (
        f"{index.dataset}: {len(examples)} of {num_videos} videos are links to files outside "
        f"{index.root}, which are not opened (e.g. {examples[0]} -> "
        f"{os.path.realpath(index.root / examples[0])}); copy them (cp -rL) or set the root to a "
        "folder above both, see 'Links' in docs/datasets.md"
    )
    if any(len(outside[split]) == len(indexes[split]) for split in indexes):
        raise InputError(text)
    _logger.warning("%s", text)


def _find_outside_links(index: VideoIndex) -> list[str]:
    """Return the records that are links out of the root; only links need more than a listing."""
    real_root = os.path.realpath(index.root)
    names: dict[str, set[str]] = {}
    for record in index.records:
        folder, _, name = record.path.rpartition("/")
        names.setdefault(folder, set()).add(name)
    links: list[str] = []
    for folder, own in names.items():
        with os.scandir(index.root / folder) as entries:
            found = sorted(e.name for e in entries if e.is_symlink() and e.name in own)
        links += [f"{folder}/{name}" if folder else name for name in found]
    real = ((path, os.path.realpath(index.root / path)) for path in links)
    return [path for path, file in real if os.path.commonpath([real_root, file]) != real_root]


def name_first(paths: Sequence[str], *, num_named: int = 3) -> str:
    """Return the first paths and the number of further ones: `a.avi, b.avi and 7 more`."""
    more = len(paths) - num_named
    return ", ".join(paths[:num_named]) + (f" and {more} more" if more > 0 else "")


def is_video_name(name: str) -> bool:
    """Return whether a file name has a video extension and is not hidden."""
    return name.lower().endswith(VIDEO_EXTENSIONS) and name[0] != "."


def describe_other_files(paths: Sequence[str]) -> str:
    """Return a count of non-video files by extension: `5 (3 .txt, 2 .srt), e.g. a.txt`.

    Args:
        paths: Paths of at least one file; the first is the example. A folder ends with "/".
    """
    counts = Counter("folder" if p[-1] == "/" else _extension(p) for p in paths)
    kinds = [f"{count} {kind}" for kind, count in counts.most_common(_NUM_NAMED_EXTENSIONS)]
    rest = len(paths) - sum(count for _, count in counts.most_common(_NUM_NAMED_EXTENSIONS))
    kinds += [f"{rest} others"] if rest else []
    return f"{len(paths)} ({', '.join(kinds)}), e.g. {paths[0]}"


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower() or "without extension"
