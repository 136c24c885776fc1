"""The process under suspicion: it reads one path in one way while an audit hook takes notes.

Called as `hostile_reader.py JOB`, with a JSON file of {root, way, backends, cases}, where cases are
[name, path, folder]: both relative to root, the folder holding folders
of classes. Prints one JSON line per case and backend: what came of it, and what
Python opened outside the root meanwhile. What C libraries open no audit hook sees; that is watched
from outside, see test_hostile_paths.py.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from videokd.curation.examine import Decode
from videokd.data.augment import AugmentSpec
from videokd.data.batch import BadVideo, ClipRequest
from videokd.data.clip_spec import ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.decode import open_video
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.formats.read import find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.test_views import ViewDataset
from videokd.utils.errors import InputError, ReadError, VideoError

_CLIP = ClipSpec(num_frames=2, sampling_rate=1, crop_size=32, short_side=32)
_OPENING = {"open", "os.listdir", "os.scandir", "os.exec", "os.posix_spawn", "subprocess.Popen"}


class Notes:
    """What is opened outside the root and outside of Python's own folders."""

    def __init__(self, root: str) -> None:
        self.found: list[str] = []
        self.is_on = False
        self._folder = root
        own = (*sys.path, sys.prefix, sys.base_prefix, tempfile.gettempdir() + "/pymp-")
        self._allowed = (
            root,
            str(Path(root).parent / "lists"),
            *(os.path.realpath(path) for path in own if path),
        )

    def hear(self, event: str, arguments: tuple) -> None:
        if not self.is_on:
            return
        if event.startswith("socket.connect"):
            self.found.append(f"{event} {arguments[1:]}")
        if event not in _OPENING or not isinstance(arguments[0], str | bytes):
            return  # a number: the file is open already
        path = os.fsdecode(arguments[0])
        if not os.path.isabs(path):
            # Opened relative to a folder: the one that was opened just before.
            path = os.path.join(self._folder, path)
        self._folder = path
        # A file that is open already is known by its number.
        is_open = path.startswith("/proc/self/fd/")
        real = os.readlink(path) if is_open else os.path.normpath(path)
        if not any(real == a or real.startswith(a.rstrip("/") + "/") for a in self._allowed):
            self.found.append(f"{event} {path}")


def read_list(root: Path, path: str, folder: str, backend: str) -> list[str]:
    """Read a video from an annotation list, as in training."""
    lists = root.parent / "lists"
    (lists / "train.csv").write_bytes(f"{path} 0\n".encode(errors="surrogatepass"))
    index = find_dataset(DatasetSpec("list", root=root, annotations=lists), name="list")["train"]
    return _read_clips(index, backend)


def read_classes(root: Path, path: str, folder: str, backend: str) -> list[str]:
    """Read what lies in a folder of classes, as in a test."""
    indexes = find_dataset(DatasetSpec("folder", root=root / folder), name="folder")
    index = indexes.get("test", indexes["train"])
    views = ViewDataset(index, dataset_id=0, clip=_CLIP, backend=backend)
    return [
        s.cause if isinstance(s, BadVideo) else ""
        for s in map(views.__getitem__, range(len(index)))
    ]


def read_record(root: Path, path: str, folder: str, backend: str) -> list[str]:
    """Read a record of an index, in training and into a frame cache."""
    index = VideoIndex((VideoRecord(path, 0, "a", "g"),), ("a",), root, "a", "train")
    causes = _read_clips(index, backend)
    with tempfile.TemporaryDirectory(dir=root) as cache:
        write_frame_cache(index, directory=Path(cache), short_side=32, max_gib=1.0, backend=backend)
    return causes


def examine(root: Path, path: str, folder: str, backend: str) -> list[str]:
    """Check a file before training, as `videokd prepare check` does."""
    try:
        report = Decode(backend)(path, root)
    except ReadError as error:
        return [error.cause]
    return [report.cause or report.problem]


def read_named(root: Path, path: str, folder: str, backend: str) -> list[str]:
    """Read a file that the user named on the command line."""
    os.chdir(root)
    with open_video(path, backend=backend) as video:
        video.get_frames([0])
    return [""]


WAYS: dict[str, Callable[[Path, str, str, str], list[str]]] = {
    "list": read_list,
    "classes": read_classes,
    "record": read_record,
    "check": examine,
    "named": read_named,
}


def _read_clips(index: VideoIndex, backend: str) -> list[str]:
    clips = ClipDataset([index], clip=_CLIP, augment=AugmentSpec(), seed=0, backend=backend)
    samples = [clips[ClipRequest(0, n, 0, 0)] for n in range(len(index))]
    return [s.cause if isinstance(s, BadVideo) else "" for s in samples]


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    root = Path(job["root"])
    notes = Notes(str(root))
    sys.addaudithook(notes.hear)
    for name, path, folder in job["cases"]:
        for backend in job["backends"]:
            notes.found, notes.is_on = [], name != "warm-up"
            try:
                causes = WAYS[job["way"]](root, path, folder, backend)
            except (InputError, VideoError) as error:
                causes = [str(error)]
            notes.is_on = False
            result = {"name": name, "causes": causes, "outside": notes.found}
            sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
