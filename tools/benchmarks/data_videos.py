"""Videos of the data path benchmark: three kinds of files, three key frame distances.

320x240, 10 seconds, 25 frames per second, 500 kbit/s (as in UCF101 and the small copies of
Kinetics): a textured plane that drifts and varies in brightness, with textured squares moving over
it. Flat or still pictures would be too cheap to decode.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import RunError

NUM_FRAMES = 250
FPS = 25
_HEIGHT, _WIDTH = 240, 320
_BIT_RATE = 500_000
_GOPS = (12, 60, 250)
_NUM_SQUARES, _SQUARE_PX = 8, 48
# Encoder, and its options for key frames at the given distance and nowhere else.
_KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "mp4_h264": ("libx264", {"preset": "fast", "sc_threshold": "0"}),
    "avi_mpeg4": ("mpeg4", {"sc_threshold": "1000000000"}),
    "webm_vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6"}),
}


@dataclass(frozen=True)
class BenchmarkVideo:
    """A generated file."""

    name: str
    """Container, codec and key frame distance, for example "mp4_h264_gop12"."""
    path: Path
    gop: int
    """Frames from one key frame to the next. Frame 0 is a key frame and groups are closed."""

    def least_decoded(self, indices: NDArray[np.int64]) -> int:
        """Return the minimum number of frames that any decoder must decode to return ``indices``.

        These are the frames from the key frame of each wanted frame up to that frame, each counted
        once.
        """
        return len({i for k in indices.tolist() for i in range(k - k % self.gop, k + 1)})


def generate_videos(folder: Path, *, num_frames: int = NUM_FRAMES) -> list[BenchmarkVideo]:
    """Write one file per kind and key frame distance into an existing folder.

    Raises:
        RunError: An encoder put key frames elsewhere.
    """
    frames = _draw_frames(num_frames)
    videos = []
    for kind, gop in product(_KINDS, _GOPS):
        extension = kind.partition("_")[0]
        name = f"{kind}_gop{gop}"
        path = folder / f"{name}.{extension}"
        codec, options = _KINDS[kind]
        _encode(path, frames, codec, {**options, "g": str(gop), "keyint_min": str(gop)})
        _check_key_frames(path, num_frames, gop)
        videos.append(BenchmarkVideo(name, path, gop))
    return videos


def _draw_frames(num_frames: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    plane = _draw_texture(_HEIGHT + num_frames, _WIDTH + num_frames, rng)
    squares = [_draw_texture(_SQUARE_PX, _SQUARE_PX, rng) for _ in range(_NUM_SQUARES)]
    phases, speeds = rng.uniform(0, 2 * np.pi, (2, _NUM_SQUARES)), rng.uniform(0.5, 3, (2, 8))
    frames = []
    for t in range(num_frames):
        drift = t // 2
        frame = plane[drift : drift + _HEIGHT, t : t + _WIDTH].copy()
        places = 0.5 + 0.5 * np.sin(phases + speeds * t / FPS)
        tops, lefts = places * [[_HEIGHT - _SQUARE_PX], [_WIDTH - _SQUARE_PX]]
        for square, top, left in zip(squares, tops.astype(int), lefts.astype(int), strict=True):
            frame[top : top + _SQUARE_PX, left : left + _SQUARE_PX] = square
        light = 1.0 + 0.1 * np.sin(t / FPS)
        frames.append(np.clip(frame * light, 0, 255).astype(np.uint8))
    return frames


def _draw_texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise added up over scales of 32, 16, ... 2 pixels, (H, W, 3) in 0..255.

    Coarse scales are stronger.
    """
    picture = np.full((height, width, 3), 128.0)
    for scale in (32, 16, 8, 4, 2):
        noise = rng.normal(size=(height // scale + 1, width // scale + 1, 3))
        fine = noise.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
        picture += 3.0 * np.sqrt(scale) * fine
    return np.clip(picture, 0, 255)


def _encode(
    path: Path, frames: list[NDArray[np.uint8]], codec: str, options: dict[str, str]
) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = _HEIGHT, _WIDTH, "yuv420p"
        stream.bit_rate = _BIT_RATE
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode(None))


def _check_key_frames(path: Path, num_frames: int, gop: int) -> None:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    order = sorted(p.pts for p in packets)
    keys = sorted(order.index(p.pts) for p in packets if p.is_keyframe)
    if len(order) != num_frames or keys != list(range(0, num_frames, gop)):
        raise RunError(f"{path}: key frames at {keys} of {len(order)}, wanted every {gop}")
