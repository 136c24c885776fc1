"""Listed videos -> the files of a root: what exists, under which name, and what is missing.

Folders are listed once each: a stat per row would cost minutes on network disks.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from videokd.data.formats.listing import ListedVideo, check_folder
from videokd.data.index import VideoIndex, VideoRecord
from videokd.data.source import check_folder_inside
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

# Folder of a part under a root: the official one, MMAction2's, that of the 256-pixel copies.
PART_FOLDERS = {
    "train": ("train", "videos_train", "train_256"),
    "val": ("val", "videos_val", "val_256", "validate", "valid", "validation"),
    "test": ("test", "videos_test", "test_256"),
}


class FolderListing:
    """The names under a root, one directory listing per folder.

    Args:
        root: Folder that all looked-up paths start from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}
        self._respelled: dict[tuple[str, Callable[[str], str]], dict[str, str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """List the names in a folder given relative to the root; empty when there is none.

        Raises:
            InputError: the folder exists and cannot be listed, or leads out of the root.
        """
        if folder not in self._names:
            check_folder_inside(self._root, folder)
            try:
                self._names[folder] = frozenset(os.listdir(self._root / folder))
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
            except (OSError, ValueError) as error:
                raise InputError(f"{self._root / folder} cannot be listed: {error}") from error
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Say whether the path is there, spelled exactly so."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder)

    def find_respelled(self, path: str, spell: Callable[[str], str]) -> str | None:
        """Find the only path that `spell` makes equal to this one, name by name, or None."""
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
                # Two files that are spelled alike: neither can be the answer.
                table[spelled] = "" if spelled in table else entry
            self._respelled[key] = table
        return self._respelled[key].get(spell(name), "")


def build_index(
    listed: Sequence[ListedVideo],
    *,
    root: Path,
    class_names: Sequence[str],
    dataset: str,
    split: str,
    all_listed: Collection[str] = (),
) -> VideoIndex:
    """Keep the listed videos that exist under root; name the others in `missing`.

    Args:
        listed: The videos of the part.
        root: Folder that their paths start from.
        class_names: Name of class k at position k.
        dataset: Name given to the records.
        split: Name of the part, for messages.
        all_listed: All paths of the dataset, in whatever part. When given, a file that is not
            there is looked for with underscores for odd characters and in another case, as some
            copies of HMDB51 and UCF101 are spelled; never at the cost of two files or two listed
            paths being taken for one.

    Raises:
        InputError: root is not a folder, or not one of the videos exists.
    """
    check_folder(root, f"{dataset}: root")
    listing = FolderListing(root)
    absent = [video.path for video in listed if not listing.has(video.path)]
    renamed = _find_renamed(listing, absent, all_listed) if absent and all_listed else {}
    if renamed:
        _logger.warning(
            "%s %s: %d videos were found under a normalised name, e.g. %s as %s",
            *(dataset, split, len(renamed)),
            *next(iter(renamed.items())),
        )
    missing = tuple(path for path in absent if path not in renamed)
    gone = frozenset(missing)
    records = tuple(
        VideoRecord(renamed.get(path, path), label, dataset, group)
        for path, label, group, _ in listed
        if path not in gone
    )
    return finish_index(VideoIndex(records, tuple(class_names), root, dataset, split, missing))


def _find_renamed(
    listing: FolderListing, absent: Sequence[str], all_listed: Collection[str]
) -> dict[str, str]:
    # HMDB51 has boom-snap-clap_... and Boom_Snap_Clap_..., in different parts of split 2: taking
    # one for the other would train on a test video.
    found: dict[str, str] = {}
    for spell in (_underscored, _underscored_lower):
        num_listed = Counter(_spell_path(path, spell) for path in all_listed)
        for path in absent:
            if path not in found and num_listed[_spell_path(path, spell)] == 1:
                other = listing.find_respelled(path, spell)
                if other is not None:
                    found[path] = other
    return found


def _spell_path(path: str, spell: Callable[[str], str]) -> str:
    return "/".join(map(spell, path.split("/")))


def _underscored(name: str) -> str:
    stem, extension = os.path.splitext(name)
    return re.sub(r"\W", "_", stem) + extension


def _underscored_lower(name: str) -> str:
    return _underscored(name).lower()


def finish_index(index: VideoIndex) -> VideoIndex:
    """Report what is missing and refuse an index without a single video.

    Raises:
        InputError: no listed video exists.
    """
    num_listed = len(index) + len(index.missing)
    if not index.records:
        example = f" (looked for e.g. {index.missing[0]})" if index.missing else ""
        raise InputError(
            f"{index.dataset} {index.split}: 0 videos of {num_listed} listed exist under "
            f"{index.root}{example}; check root and layout"
        )
    if index.missing:
        _logger.warning(
            "%s %s: %d of %d listed videos are missing under %s: %s",
            *(index.dataset, index.split, len(index.missing), num_listed, index.root),
            name_first(index.missing),
        )
    return index


def name_first(paths: Sequence[str], *, num_named: int = 3) -> str:
    """Return the first paths and how many more there are: `a.avi, b.avi and 7 more`."""
    more = len(paths) - num_named
    return ", ".join(paths[:num_named]) + (f" and {more} more" if more > 0 else "")
