"""Transcoding of all videos of a folder into another folder, in supervised processes.

The new folder has the same tree, and the same names wherever the extension can stay. A new file is
complete or absent, and not older than its source, so a second run can tell which files are done.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.transcode import part_name, transcode
from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.data.decode.source import open_video_file
from videokd.data.lists.formats.finding import is_video_name
from videokd.data.pool.supervised_pool import Lost, SupervisedPool
from videokd.utils.errors import InputError, VideoError
from videokd.utils.io import read_json, write_json

_SPEC_FILE = "encoding.json"


@dataclass(frozen=True, slots=True)
class Written:
    """Result of transcoding one video.

    Args:
        path: Path under the old root, with forward slashes.
        target: Path under the new root.
        cause: Reason why there is no new file; "" if there is one.
        num_old_bytes: Size of the video.
        num_new_bytes: Size of the new file.
    """

    path: str
    target: str
    cause: str = ""
    num_old_bytes: int = 0
    num_new_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Transcode:
    """Transcoding of one video of a tree; picklable."""

    source: str
    target: str
    spec: EncodeSpec

    def __call__(self, path: str) -> Written:
        name = self.spec.target_path(path)
        target = Path(self.target) / name
        try:
            with open_video_file(path, root=Path(self.source)) as source:
                target.parent.mkdir(parents=True, exist_ok=True)
                transcode(source, target, self.spec)
                num_old_bytes = source.num_bytes
        except VideoError as error:
            return Written(path, name, error.cause)
        return Written(path, name, "", num_old_bytes, target.stat().st_size)


class TreeTranscoder:
    """Transcoder of the videos of a folder.

    Args:
        source: Folder of the videos; links in it are skipped.
        target: New folder, outside the old one.
        spec: Encoding settings.

    Raises:
        InputError: there is no folder or no video, two videos would get the same name, or the new
            folder holds videos written with other settings.
    """

    def __init__(self, source: Path, target: Path, spec: EncodeSpec) -> None:
        if not source.is_dir():
            raise InputError(f"{source} is not a folder; set it to where the videos lie")
        if target.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{target} lies in {source}; write the videos to another folder")
        self._source, self._target, self._spec = source, target, spec
        videos, others, links = _list_files(source)
        self.paths = tuple(videos)
        """All videos, relative to the old root."""
        self.others = tuple(others)
        """Files without a video's extension, relative to the old root."""
        self.links = tuple(links)
        """Links to files and folders, which are skipped."""
        if not self.paths:
            names = ", ".join(VIDEO_EXTENSIONS)
            raise InputError(f"{source} has no file that ends with one of {names}")
        self._check_names()
        self._check_spec()

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """(old path, new path) of the videos whose extension changes."""
        targets = ((path, self._spec.target_path(path)) for path in self.paths)
        return [(path, target) for path, target in targets if path != target]

    def pending(self) -> list[str]:
        """Return the videos that are not written yet, or have changed since."""
        return [path for path in self.paths if not self._is_written(path)]

    def run(
        self,
        paths: Sequence[str],
        *,
        num_workers: int,
        deadline_sec: float,
    ) -> Generator[Written, None, None]:
        """Yield the result of transcoding each video, in order; close the generator to stop early.

        Args:
            paths: Paths from `pending`.
            num_workers: Number of processes; 0 transcodes in this process, without a deadline.
            deadline_sec: Longest time for one video.
        """
        write_json(self._target / _SPEC_FILE, self._describe())
        # Absolute, since workers may have another working directory.
        folders = str(self._source.absolute()), str(self._target.absolute())
        function = _Transcode(*folders, self._spec)
        pool = SupervisedPool(function, num_workers=num_workers, deadline_sec=deadline_sec)
        num_done = 0
        try:
            with pool, closing(pool.map([path] for path in paths)) as results:
                for path, (result,) in zip(paths, results, strict=True):
                    if isinstance(result, Lost):
                        self._remove_part(path)
                        result = Written(path, self._spec.target_path(path), result.cause)
                    num_done += 1
                    yield result
        finally:
            for path in paths[num_done:]:
                self._remove_part(path)

    def _remove_part(self, path: str) -> None:
        """Remove the partial file of a killed worker."""
        target = self._target / self._spec.target_path(path)
        target.with_name(part_name(target.name)).unlink(missing_ok=True)

    def _is_written(self, path: str) -> bool:
        try:
            written = (self._target / self._spec.target_path(path)).stat()
            return written.st_mtime_ns >= (self._source / path).stat().st_mtime_ns
        except OSError:
            return False

    def _check_names(self) -> None:
        sources: dict[str, str] = {}
        for path in self.paths:
            target = self._spec.target_path(path)
            other = sources.setdefault(target, path)
            if other != path:
                raise InputError(
                    f"{other} and {path} would both become {target}; rename one of them"
                )

    def _describe(self) -> dict[str, object]:
        spec = self._spec
        return {name: getattr(spec, name) for name in spec.__dataclass_fields__}

    def _check_spec(self) -> None:
        path = self._target / _SPEC_FILE
        known = read_json(path) if path.exists() else self._describe()
        if known != self._describe():
            raise InputError(
                f"{self._target} holds videos that were written with {known}, now it is "
                f"{self._describe()}; choose another output folder or delete it"
            )


def _list_files(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the videos, other files and links of a tree, without hidden ones."""
    videos: list[str] = []
    others: list[str] = []
    links: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        inner = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*inner, *sorted(name for name in names if name[0] != ".")]:
            path = Path(folder) / name
            kind = links if path.is_symlink() else videos if is_video_name(name) else others
            kind.append(path.relative_to(root).as_posix())
    return videos, others, links
