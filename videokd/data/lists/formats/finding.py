"""Lookup of listed videos under a root, including renamed and missing ones.

Each folder is listed once, since a stat per row would take minutes on network disks.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from videokd.data.decode.source import check_folder_inside
from videokd.data.lists.file_names import is_video_name
from videokd.data.lists.formats.listing import ListedVideo, check_folder
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

# Folder names of a part under a root: official, MMAction2's, and those of the 256-pixel copies.
PART_FOLDERS = {
    "train": ("train", "videos_train", "train_256"),
    "val": ("val", "videos_val", "val_256", "validate", "valid", "validation"),
    "test": ("test", "videos_test", "test_256"),
}


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
        for part in path.split("/"):
            name = part if part in self.names(found) else self._respell(found, part, spell)
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


def build_indexes(
    parts: Mapping[str, Sequence[ListedVideo]],
    *,
    listing: FolderListing,
    class_names: Sequence[str],
    dataset: str,
    splits: Mapping[str, str],
    all_listed: Collection[str] = (),
) -> dict[str, VideoIndex]:
    """Build the indexes of listed videos; videos that do not exist are listed in `missing`.

    Args:
        parts: Part ("train", "val", "test") -> its videos.
        listing: Listing of the root that their paths are relative to.
        class_names: Name of class k at position k.
        dataset: Name given to the records.
        splits: Part -> name of its list, for messages and reports.
        all_listed: All paths of the dataset, in any part. If given, an absent file is also searched
            with another extension, and with underscores for special characters and in another case,
            as in some copies of HMDB51 and UCF101. A match is used only if it is unique among files
            and listed paths.

    Returns:
        Part -> its index.

    Raises:
        InputError: the root is not a folder, or none of the videos of a part exist.
    """
    check_folder(listing.root, f"{dataset}: root")
    absent = [v.path for videos in parts.values() for v in videos if not listing.has(v.path)]
    renamed = _find_renamed(listing, absent, all_listed) if absent and all_listed else {}
    if renamed:
        _logger.warning(
            "%s: %d videos were found under another name, e.g. %s as %s",
            *(dataset, len(renamed)),
            *next(iter(renamed.items())),
        )
    gone = frozenset(path for path in absent if path not in renamed)
    indexes = {}
    for part, videos in parts.items():
        records = tuple(
            VideoRecord(renamed.get(path, path), label, dataset, group)
            for path, label, group, _ in videos
            if path not in gone
        )
        missing = tuple(video.path for video in videos if video.path in gone)
        index = VideoIndex(
            records, tuple(class_names), listing.root, dataset, splits[part], missing
        )
        indexes[part] = finish_index(index)
    return indexes


def _find_renamed(
    listing: FolderListing, absent: Sequence[str], all_listed: Collection[str]
) -> dict[str, str]:
    # HMDB51 has boom-snap-clap_... and Boom_Snap_Clap_... in different parts of split 2. Confusing
    # them would train on a test video.
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
        InputError: all videos of a part are such links.
    """
    outside = {part: _find_outside_links(index) for part, index in indexes.items()}
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
    if any(len(outside[part]) == len(indexes[part]) for part in indexes):
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
