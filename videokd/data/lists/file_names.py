"""File extensions of videos, one list for the whole package."""

import os
from collections import Counter
from collections.abc import Sequence

# Extensions of the containers that `source.open_video_file` recognises by their first bytes.
VIDEO_EXTENSIONS = (
    *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".h264"),
    *(".h265", ".hevc", ".m1v", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg"),
    *(".mpg", ".mts", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
)
_NUM_NAMED = 4


def is_video_name(name: str) -> bool:
    """Return whether a file name has a video extension and is not hidden."""
    return name.lower().endswith(VIDEO_EXTENSIONS) and name[0] != "."


def describe_other_files(paths: Sequence[str]) -> str:
    """Return a count of non-video files by extension: `5 (3 .txt, 2 .srt), e.g. a.txt`.

    Args:
        paths: Paths of at least one file; the first is the example. A folder ends with "/".
    """
    counts = Counter("folder" if p[-1] == "/" else _extension(p) for p in paths)
    kinds = [f"{count} {kind}" for kind, count in counts.most_common(_NUM_NAMED)]
    rest = len(paths) - sum(count for _, count in counts.most_common(_NUM_NAMED))
    kinds += [f"{rest} others"] if rest else []
    return f"{len(paths)} ({', '.join(kinds)}), e.g. {paths[0]}"


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower() or "without extension"
