"""Memory-mapped cache of all decoded frames of a small dataset.

frames.bin holds the frames of all videos in sequence, (T, H, W, 3) uint8, scaled to one short side.
times.bin holds the display time of each frame, seconds as float64. manifest.json holds the position
of each video. The folder is named after a hash of the inputs. The manifest is written last, so a
folder with a manifest is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.reader import VideoReader
from videokd.data.lists.index import VideoRecord
from videokd.utils.errors import InputError, VideoError
from videokd.utils.io import read_json


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Position of a video's frames in frames.bin, or the reason why it has none.

    With ``is_unread`` the machine failed rather than the file, and the next run retries the video.
    """

    path: str
    num_frames: int = 0
    height: int = 0
    width: int = 0
    fps: float = 0.0
    offset: int = 0
    cause: str = ""
    is_unread: bool = False

    @property
    def num_bytes(self) -> int:
        """Size of its frames in frames.bin."""
        return self.num_frames * self.height * self.width * 3


class FrameCache:
    """Decoded frames of one index. Pickled as its folder; each process maps the file itself.

    Args:
        folder: Folder made by ``write_frame_cache``.

    Raises:
        InputError: the folder holds no complete cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            manifest = read_json(folder / "manifest.json")
            entries = [CacheEntry(**fields) for fields in manifest["entries"]]
            self._short_side = int(manifest["short_side"])
            self._bytes = np.asarray(np.memmap(folder / "frames.bin", np.uint8, mode="r"))
            self._times = np.asarray(np.memmap(folder / "times.bin", np.float64, mode="r"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"frame cache {folder} is damaged ({error}); delete it") from error
        self._entries = {entry.path: entry for entry in entries}
        *firsts, num_frames = accumulate((entry.num_frames for entry in entries), initial=0)
        self._firsts = {entry.path: first for entry, first in zip(entries, firsts, strict=True)}
        num_bytes = sum(entry.num_bytes for entry in entries)
        for array, size in ((self._bytes, num_bytes), (self._times, 8 * num_frames)):
            if array.nbytes != size:
                raise InputError(
                    f"frame cache {folder} is damaged ({array.nbytes} bytes instead of {size}); "
                    "delete it"
                )

    def __reduce__(self) -> tuple[type["FrameCache"], tuple[Path]]:
        return (FrameCache, (self._folder,))

    @property
    def short_side(self) -> int:
        """Short side of the stored frames, pixels; 0 if frames keep the size of the video."""
        return self._short_side

    @property
    def bad_videos(self) -> dict[str, str]:
        """Videos that could not be read, path -> cause."""
        return {path: entry.cause for path, entry in self._entries.items() if entry.cause}

    def reader(self, record: VideoRecord) -> VideoReader:
        """Open the stored frames of a video.

        Raises:
            VideoError: the video could not be read when the cache was built, or is not in it.
        """
        entry = self._entries.get(record.path)
        if entry is None:
            raise VideoError(record.path, "not in the frame cache")
        if entry.cause:
            raise VideoError(record.path, entry.cause)
        stored = self._bytes[entry.offset : entry.offset + entry.num_bytes]
        frames = stored.reshape(entry.num_frames, entry.height, entry.width, 3)
        first = self._firsts[entry.path]
        times = self._times[first : first + entry.num_frames]
        return _CachedReader(frames, times, fps=entry.fps, short_side=self._short_side)


class _CachedReader:
    """The stored frames of one video as a VideoReader."""

    backend = "cache"
    num_opens = 0
    num_decoded = 0

    def __init__(
        self, frames: NDArray[np.uint8], times: NDArray[np.float64], *, fps: float, short_side: int
    ) -> None:
        self._frames = frames
        self.times = times
        self._short_side = short_side
        self.fps = fps
        self.num_frames, self.height, self.width = frames.shape[:3]

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        if short_side not in (0, self._short_side):
            raise InputError(
                f"frames are cached with short side {self._short_side}, got {short_side}"
            )
        if any(not 0 <= index < self.num_frames for index in indices):
            raise IndexError(f"frames {list(indices)} of {self.num_frames} do not all exist")
        return self._frames[np.asarray(indices, dtype=np.int64)]

    def close(self) -> None:
        """Do nothing, since no file is open."""

    def __enter__(self) -> "_CachedReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
