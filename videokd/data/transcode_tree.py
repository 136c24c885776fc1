"""All videos of a folder written anew into another folder, in processes that may hang or die.

The new folder has the same tree, and the same names wherever a name's extension can stay. A new
file is whole or absent and is not older than its source: that is how a second run knows it.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from videokd.data.encode_spec import EncodeSpec
from videokd.data.file_names import VIDEO_EXTENSIONS, is_video_name
from videokd.data.source import open_video_file
from videokd.data.supervised_pool import Lost, SupervisedPool
from videokd.data.transcode import part_name, transcode
from videokd.utils.errors import InputError, VideoError
from videokd.utils.io import read_json, write_json

_SPEC_FILE = "encoding.json"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one video.

    Args:
        path: Under the old root, with forward slashes.
        target: Under the new one.
        cause: Why there is no new file; "" when there is.
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
    """Writes one video of a tree anew; picklable."""

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
    """The videos of a folder and where they go.

    Args:
        source: Folder of the videos; what lies behind links is left alone.
        target: The new folder, outside of the old one.
        spec: How to write them.

    Raises:
        InputError: there is no folder or no video, two videos would get the same name, or the new
            folder holds videos that were written in another way.
    """

    def __init__(self, source: Path, target: Path, spec: EncodeSpec) -> None:
        if not source.is_dir():
            raise InputError(f"{source} is not a folder; set it to where the videos lie")
        if target.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{target} lies in {source}; write the videos to another folder")
        self._source, self._target, self._spec = source, target, spec
        videos, others, links = _list_files(source)
        self.paths = tuple(videos)
        """All videos, under the old root."""
        self.others = tuple(others)
        """Files that are not videos by their names, under the old root."""
        self.links = tuple(links)
        """Links to files and folders, which are left alone."""
        if not self.paths:
            names = ", ".join(VIDEO_EXTENSIONS)
            raise InputError(f"{source} has no file that ends with one of {names}")
        self._check_names()
        self._check_spec()

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """Old and new paths of the videos whose extensions cannot stay."""
        targets = ((path, self._spec.target_path(path)) for path in self.paths)
        return [(path, target) for path, target in targets if path != target]

    def pending(self) -> list[str]:
        """List the videos that are not written yet, or have changed since."""
        return [path for path in self.paths if not self._is_written(path)]

    def run(
        self,
        paths: Sequence[str],
        *,
        num_workers: int,
        deadline_sec: float,
        worker_init: Callable[[int], None] | None = None,
    ) -> Generator[Written, None, None]:
        """Write videos anew and say of each what became of it, in order; close it to stop early.

        Args:
            paths: From `pending`.
            num_workers: Processes; with 0 videos are written in this one and no deadline holds.
            deadline_sec: Longest time for one video.
            worker_init: Called in each worker with its number.
        """
        write_json(self._target / _SPEC_FILE, self._describe())
        # Workers may be in another folder than this process.
        folders = str(self._source.absolute()), str(self._target.absolute())
        function = _Transcode(*folders, self._spec)
        pool = SupervisedPool(
            function, num_workers=num_workers, deadline_sec=deadline_sec, worker_init=worker_init
        )
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
        """Remove what a worker that was killed had begun."""
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
    """Return the videos, the other files and the links of a tree; hidden ones are left out."""
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
