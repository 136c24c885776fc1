"""Make the clips of this folder: `python tests/assets/make.py` in the folder of videokd.

The scenes are those of `videokd.synthetic`, 32 frames of 128x96 pixels at 25 frames per second. The
bytes depend on the versions of FFmpeg and its encoders, so run this only to replace all clips.
"""

import hashlib
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from videokd.synthetic.render import FRAME_RATE_FPS, ClipSpec, render_clip

FOLDER = Path(__file__).parent
ACTIONS = ("jumping_jack", "squat", "walk", "wave", "run")
NO_SCENE_CUTS = "scenecut=0:b-adapt=0"
# Name: encoder, frames from key to key, B-frames between two other frames, encoder options.
CLIPS = {
    "h264_b_frames.mp4": ("libx264", 12, 3, {"crf": "28", "x264-params": NO_SCENE_CUTS}),
    "h264_times_in_decoding_order.mp4": (
        "libx264",
        12,
        2,
        {"crf": "28", "x264-params": NO_SCENE_CUTS},
    ),
    "hevc_b_frames.mkv": (
        "libx265",
        12,
        3,
        {"crf": "28", "x265-params": f"{NO_SCENE_CUTS}:log-level=none"},
    ),
    "mpeg4_packed_b_frames.avi": ("mpeg4", 12, 1, {"qscale": "6", "flags": "+bitexact"}),
    "vp9.webm": ("libvpx-vp9", 12, 0, {"crf": "38", "b": "0"}),
}
VOP_START = b"\0\0\1\xb6"
# XviD's marks, by which decoders know a packed bitstream and choose the inverse transform.
PACKED_MARK = b"\0\0\1\xb2DivX503b1393p\0\0\1\xb2XviD0050"
# A P picture that is not coded: type 01, 0 seconds, marker, 5 bits of time, marker, 0, stuffing.
NOT_CODED = VOP_START + int("01 0 1 00000 1 0 01111".replace(" ", ""), 2).to_bytes(2, "big")


def encode(path: Path, frames: NDArray[np.uint8]) -> list[bytes]:
    """Write frames, (T, H, W, 3), with the settings of CLIPS; return the packets' contents."""
    codec, gop, num_b_frames, options = CLIPS[path.name]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FRAME_RATE_FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = gop, num_b_frames, 1
        if codec == "mpeg4":
            context.codec_tag = "XVID"
        packets = [
            packet
            for frame in [*frames, None]
            for packet in stream.encode(
                None if frame is None else av.VideoFrame.from_ndarray(frame, format="rgb24")
            )
        ]
        contents = [bytes(packet) for packet in packets]
        container.mux(packets)
    return contents


def put_times_in_decoding_order(path: Path) -> None:
    """Replace display times by decoding times, as `ffmpeg -i x.avi -c copy x.mp4` writes them."""
    original = path.rename(path.with_name("original.mp4"))
    with av.open(str(original)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, time in zip(packets, sorted(p.pts for p in packets), strict=True):
            packet.stream, packet.pts, packet.dts = stream, time, time
            container.mux(packet)
    original.unlink()


def pack(contents: list[bytes]) -> Iterator[bytes]:
    """Yield packets in which each B picture is appended to the picture before it, as by XviD."""
    start = contents[0].find(VOP_START)
    yield contents[0][:start] + PACKED_MARK + contents[0][start:]
    for content, following in zip(contents[1:], [*contents[2:], b""], strict=True):
        if is_b_picture(content):
            yield NOT_CODED
        else:
            yield content + (following if is_b_picture(following) else b"")


def is_b_picture(content: bytes) -> bool:
    """Return whether an MPEG-4 packet holds one picture of type B (10)."""
    return content.startswith(VOP_START) and content[4] >> 6 == 0b10


def write_packed(path: Path, contents: list[bytes]) -> None:
    """Write an AVI again with packed B pictures; an AVI stores no times."""
    original = path.rename(path.with_name("original.avi"))
    with av.open(str(original)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, content in enumerate(pack(contents)):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, FRAME_RATE_FPS)
            packet.is_keyframe = number % CLIPS[path.name][1] == 0
            container.mux(packet)
    original.unlink()
    # The copy has lost its tag.
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"XVID"))


def digest(path: Path) -> tuple[int, str]:
    """Return the number of decoded frames and the SHA-256 of their YUV planes, in display order."""
    total, num_frames = hashlib.sha256(), 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            total.update(np.ascontiguousarray(frame.to_ndarray()).tobytes())
            num_frames += 1
    return num_frames, total.hexdigest()


def main() -> None:
    """Write all clips, and print the rows of README.md."""
    for action, name in zip(ACTIONS, CLIPS, strict=True):
        path = FOLDER / name
        contents = encode(path, render_clip(ClipSpec(action, "outdoor", (1,), (2,))))
        num_frames, sha256 = digest(path)
        if name == "h264_times_in_decoding_order.mp4":
            put_times_in_decoding_order(path)
        elif name == "mpeg4_packed_b_frames.avi":
            write_packed(path, contents)
        row = f"| {name} | {path.stat().st_size} | {num_frames} | `{sha256}` |"
        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
