"""Encoding of frames to video files with the codecs of the real datasets."""

import io

import av
import numpy as np
from numpy.typing import NDArray

_BIT_RATE_AVI = 200_000  # bits per second


def encode_avi(frames: NDArray[np.uint8], *, frame_rate_fps: int, num_b_frames: int = 0) -> bytes:
    """Return frames encoded as AVI with MPEG-4 part 2 and the XVID tag, like UCF101 and HMDB51.

    Args:
        frames: (T, H, W, 3) RGB, even height and width.
        frame_rate_fps: Frames per second.
        num_b_frames: Maximum number of consecutive B-frames. With B-frames, packets are not in
            display order.

    Returns:
        The content of the file; it differs between FFmpeg versions.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=frame_rate_fps)
        stream.codec_context.codec_tag = "XVID"
        stream.bit_rate = _BIT_RATE_AVI
        stream.codec_context.max_b_frames = num_b_frames
        _encode_frames(container, stream, frames)
    return buffer.getvalue()


def encode_mp4(frames: NDArray[np.uint8], *, frame_rate_fps: int) -> bytes:
    """Return frames encoded as MP4 with H.264, like the Kinetics copies in circulation.

    Args:
        frames: (T, H, W, 3) RGB, even height and width.
        frame_rate_fps: Frames per second.

    Returns:
        The content of the file; it differs between versions of FFmpeg and x264.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        options = {"crf": "27", "preset": "superfast"}
        stream = container.add_stream("libx264", rate=frame_rate_fps, options=options)
        _encode_frames(container, stream, frames)
    return buffer.getvalue()


def _encode_frames(
    container: av.container.OutputContainer,
    stream: av.video.stream.VideoStream,
    frames: NDArray[np.uint8],
) -> None:
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    # One thread: generation runs in several processes, and threads would change the output.
    stream.codec_context.thread_count = 1
    for frame in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode(None))
