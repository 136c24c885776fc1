"""Files that end before their header says, and sound ones whose headers look as if they did."""

import struct
from fractions import Fraction

import av
import pytest
from video_fixtures import ASSET_NAMES, ASSETS

from videokd.curation.examine import Decode
from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

NUM_FRAMES = 60


def write(path, *, codec="libx264", step=None, options=None):
    """Write NUM_FRAMES frames of ramps; step(number) gives the time of a frame."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.thread_count = 12, 1
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes((number * 37 + i * i) % 256 for i in range(plane.buffer_size)))
            frame.pts = step(number) if step else number
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


PROMISING = {
    "faststart.mp4": {"options": {"movflags": "faststart"}},
    "faststart.mov": {"codec": "mpeg4", "options": {"movflags": "faststart"}},
    "a.avi": {"codec": "mpeg4"},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx-vp9"},
}


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("name", PROMISING)
def test_a_file_that_was_cut_off_is_refused_without_an_index(tmp_path, name, share):
    path = write(tmp_path / name, **PROMISING[name])
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        VideoError, match=r"cut off: \d+ of \d+ (frames|bytes); copy or download the file again"
    ):
        open_video(str(path))
    report = Decode()(name, tmp_path)
    assert report.problem == "short"
    assert report.cause.startswith("cut off: ")


@pytest.mark.parametrize("num_bytes", [1, 10])
def test_a_last_frame_that_lacks_bytes_is_a_lack(tmp_path, num_bytes):
    path = write(tmp_path / "a.mp4", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-num_bytes])
    with pytest.raises(VideoError, match="cut off: 59 of 60 frames"):
        open_video(str(path))


def test_fragments_that_were_begun_are_promises(tmp_path):
    path = write(tmp_path / "a.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"mdat") + 20])
    with pytest.raises(VideoError, match=r"cut off: \d+ of 60 frames"):
        open_video(str(path))


@pytest.mark.parametrize("field", ["duration", "media_time"])
def test_frames_that_an_edit_list_leaves_out_are_no_lack(tmp_path, field):
    path = write(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", data[start : start + 8])
    if field == "duration":
        duration //= 3
    else:
        media_time += 512 * 30
    data[start : start + 8] = struct.pack(">Ii", duration, media_time)
    path.write_bytes(data)
    with open_video(str(path)) as video:
        assert video.num_frames < NUM_FRAMES
    assert Decode()("a.mp4", tmp_path).problem == ""


def test_empty_packets_of_an_avi_count_as_frames_of_its_header(tmp_path):
    path = write(tmp_path / "a.avi", codec="mpeg4", step=lambda n: n + 20 * (n > 25))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == NUM_FRAMES + 20
    with open_video(str(path)) as video:
        assert video.num_frames == NUM_FRAMES
    assert Decode()("a.avi", tmp_path).problem == ""


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_live_recording_states_no_size(tmp_path, name):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = write(tmp_path / name, codec=codec, options={"live": "1"})
    with open_video(str(path)) as video:
        assert video.num_frames == NUM_FRAMES


def test_no_sound_file_is_refused():
    for name in ASSET_NAMES:
        assert Decode()(name, ASSETS).problem == ""
