"""What the fault runs share: modules that their workers import too, a training."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from videokd.data.decode import BACKENDS, open_video
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    from experiment import Experiment

sys.path.insert(0, str(Path(__file__).parent))


def _make_video(container, *, level=40):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream("mpeg4" if container == "avi" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            picture = np.full((48, 64, 3), level, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_video() -> Callable[..., bytes]:
    """``make_video("mp4", level=40)``: 8 even frames of that grey, 64x48, as a file's content.

    H.264, which all libraries read, except in AVI.
    """
    return _make_video


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The readers that can be used here."""
    path = tmp_path_factory.mktemp("backends") / "a.mp4"
    path.write_bytes(_make_video("mp4"))
    usable = []
    for backend in BACKENDS:
        try:
            open_video(str(path), backend=backend).close()
        except InputError:
            continue
        usable.append(backend)
    return [backend for backend in usable if backend != "auto"]


@pytest.fixture
def experiment(write_config: Callable[..., Path], tmp_path: Path) -> Iterator["Experiment"]:
    """A training of one expert in 8 steps, with a checkpoint at every step."""
    config = write_config(
        ["UCF"],
        SOLVER={"MAX_EPOCH": 4, "EMA_DECAY": 0.9},
        TRAIN={"LOG_PERIOD": 3, "CHECKPOINT_PERIOD_SEC": 1e-6},
        TEST={"BATCH_SIZE": 1},
    )
    # Imported here, where the path to them is known.
    from crashing import Runner
    from experiment import Experiment

    with Runner() as runner:
        yield Experiment(runner, config, tmp_path)
