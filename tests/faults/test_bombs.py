"""Small files that claim to be huge: refused, or read as what they are, before memory is taken."""

import io
import os
import struct

import av
import numpy as np
import pytest
from bomb_reader import measure

from videokd.data.pool.supervised_pool import Lost, SupervisedPool

NUM_FRAMES = 8
MAX_GROWN_MIB = 200
DEADLINE_SEC = 10.0


def encode(container, codec):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(NUM_FRAMES):
            picture = np.full((48, 64, 3), 20 * level, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return bytearray(buffer.getvalue())


def patch(content, marker, offset, layout, *values):
    """Overwrite what lies some bytes behind every occurrence of a marker."""
    place = content.find(marker)
    assert place >= 0
    while place >= 0:
        struct.pack_into(layout, content, place + len(marker) + offset, *values)
        place = content.find(marker, place + 1)
    return content


def avi_of_giant_pictures():
    return patch(encode("avi", "mpeg4"), b"strf", 8, "<ii", 30000, 30000)


def mp4_of_giant_pictures():
    return patch(encode("mp4", "mpeg4"), b"mp4v", 24, ">HH", 65535, 65535)


def vp8_that_grows():
    # The container says 64x48, the key frame itself 16383x16383.
    return patch(encode("webm", "libvpx"), b"\x9d\x01\x2a", 0, "<HH", 0x3FFF, 0x3FFF)


def avi_of_endless_length():
    return patch(encode("avi", "mpeg4"), b"avih", 20, "<I", 2**31 - 1)


def mp4_of_endless_length():
    return patch(encode("mp4", "mpeg4"), b"stsz", 8, ">I", 2**31 - 1)


def mp4_of_endless_times():
    return patch(encode("mp4", "mpeg4"), b"stts", 8, ">I", 2**31 - 1)


def mp4_of_endless_box():
    return patch(encode("mp4", "mpeg4"), b"stts", 4, ">I", 2**32 - 1)


BOMBS = [
    *(avi_of_giant_pictures, mp4_of_giant_pictures, vp8_that_grows, avi_of_endless_length),
    *(mp4_of_endless_length, mp4_of_endless_times, mp4_of_endless_box),
]


def describe(cost):
    if isinstance(cost, Lost):
        return cost.cause
    what = cost.cause or f"{cost.num_frames} frames"
    return f"{cost.seconds:6.2f} s {cost.grown_mib:6.1f} MiB more, {what}"


def test_files_that_claim_to_be_huge_cost_no_more_than_they_are(tmp_path, backends, tell):
    harmless = tmp_path / "harmless.avi"
    harmless.write_bytes(encode("avi", "mpeg4"))
    items = [(str(harmless), backend) for backend in backends]
    for make in BOMBS:
        (tmp_path / make.__name__).write_bytes(make())
        items += [(str(tmp_path / make.__name__), backend) for backend in backends]
    with SupervisedPool(measure, num_workers=1, deadline_sec=DEADLINE_SEC) as pool:
        costs = [cost for (cost,) in pool.map([item] for item in items)]
    for (path, backend), cost in zip(items, costs, strict=True):
        tell(f"bombs: {os.path.basename(path):<24}{backend:<12}{describe(cost)}")
    # decord aborts where it cannot have the memory that it wants: that costs a worker.
    lost = [
        (os.path.basename(path), cost.cause)
        for (path, backend), cost in zip(items, costs, strict=True)
        if isinstance(cost, Lost) and backend != "decord"
    ]
    # FFmpeg's ENOMEM is the same for a header that asks for too much and for a machine that has too
    # little: such a file is reported each time, and nothing is stored about it.
    assert set(lost) == {("mp4_of_endless_box", "it needs more memory than there is")}
    kept = [cost for cost in costs[len(backends) :] if not isinstance(cost, Lost)]
    assert all(cost.num_frames in (0, NUM_FRAMES) for cost in kept)
    assert max(cost.grown_mib for cost in kept) < MAX_GROWN_MIB


@pytest.mark.parametrize("num_gib", [17, 4000])
def test_a_file_of_nothing_but_size_is_refused_unread(tmp_path, backends, num_gib):
    path = tmp_path / "sparse.avi"
    path.write_bytes(encode("avi", "mpeg4"))
    os.truncate(path, num_gib * 2**30)
    with SupervisedPool(measure, num_workers=1, deadline_sec=DEADLINE_SEC) as pool:
        costs = [cost for (cost,) in pool.map([(str(path), backend)] for backend in backends)]
    assert {cost.cause.partition(",")[0] for cost in costs} == {f"{num_gib * 2**30} bytes"}
