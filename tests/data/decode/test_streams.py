"""Which video stream of a file is read, and files that have none."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.examine import Decode
from videokd.curation.transcode import transcode
from videokd.data.decode import open_video, probe_video
from videokd.data.decode.streams import open_container
from videokd.utils.errors import VideoError

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")
DEFAULT, COVER, NONE = Disposition.default, Disposition.attached_pic, Disposition(0)


def write_streams(path, *kinds):
    """Write one video stream per (codec, width, frames, disposition), each 48 pixels high."""
    with av.open(str(path), "w") as container:
        streams = []
        for codec, width, _, disposition in kinds:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = width, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.thread_count = 1
            stream.disposition = disposition
            streams.append(stream)
        for stream, (_, width, num_frames, _) in zip(streams, kinds, strict=True):
            for number in range(num_frames):
                frame = av.VideoFrame(width, 48, stream.pix_fmt)
                for plane, value in zip(frame.planes, (60 + 30 * number, 128, 128), strict=True):
                    plane.update(bytes([value]) * plane.buffer_size)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "kinds", "width"),
    [
        ("a.mkv", [("mpeg4", 64, 5, NONE), ("mpeg4", 32, 5, DEFAULT)], 32),
        ("a.mkv", [("mpeg4", 64, 5, DEFAULT), ("mpeg4", 32, 5, NONE)], 64),
        ("a.mkv", [("mpeg4", 32, 5, DEFAULT), ("mpeg4", 64, 5, DEFAULT)], 32),
        ("a.mp4", [("mjpeg", 64, 1, DEFAULT), ("mpeg4", 32, 5, DEFAULT)], 32),
        ("a.mp4", [("mjpeg", 64, 1, COVER), ("mpeg4", 32, 5, NONE)], 32),
    ],
    ids=["second default", "first default", "both default", "still first", "cover first"],
)
def test_every_way_of_reading_takes_the_same_stream(tmp_path, name, kinds, width):
    path = write_streams(tmp_path / name, *kinds)
    target = tmp_path / f"new{path.suffix}"
    transcode(path, target, EncodeSpec())
    with open_video(str(path)) as reader, open_video(str(target)) as new:
        assert (reader.num_frames, reader.width) == (new.num_frames, new.width) == (5, width)
        assert len(np.unique(reader.get_frames(range(5))[:, 20, 16, 0])) == 5
    facts, report = probe_video(str(path)), Decode()(name, tmp_path)
    assert (facts.num_frames, facts.width) == (report.num_frames, report.width) == (5, width)
    assert report.problem == ""


def test_the_report_names_the_stream_where_there_are_several(tmp_path):
    kinds = [("mpeg4", 64, 5, NONE), ("mpeg4", 32, 5, DEFAULT)]
    write_streams(tmp_path / "two.mkv", *kinds)
    write_streams(tmp_path / "one.mkv", kinds[0])
    one, two = (Decode()(name, tmp_path) for name in ("one.mkv", "two.mkv"))
    assert one.streams == ""
    assert two.streams == "stream 1 (mpeg4 32x48) is read, not stream 0 (mpeg4 64x48)"


def write_cover(path):
    """Write sound with a cover picture."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = COVER
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        picture = av.VideoFrame(64, 48, "yuvj420p")
        for stream, content in ((sound, frame), (cover, picture)):
            container.mux(stream.encode(content))
            container.mux(stream.encode(None))
    return path


def test_a_cover_picture_is_no_video(tmp_path):
    path = write_cover(tmp_path / "a.mp4")
    cause = r"no video stream \(a cover picture only\)"
    with pytest.raises(VideoError, match=cause):
        open_video(str(path))
    with pytest.raises(VideoError, match=cause), open_container(path):
        pass
    report = Decode()("a.mp4", tmp_path)
    assert (report.problem, report.cause) == (
        "not a video",
        "no video stream (a cover picture only)",
    )


@pytest.mark.parametrize("num_bytes", [0, 9, -1], ids=["no box", "half a box", "all pictures"])
def test_an_mp4_without_its_index_says_so(make_video, num_bytes):
    path = make_video("a.mp4", 30, codec="libx264")
    whole = path.read_bytes()
    start = whole.index(b"mdat") + 4
    stop = whole.index(b"moov") - 4 if num_bytes < 0 else start + num_bytes
    path.write_bytes(whole[:stop])
    with pytest.raises(VideoError, match=r"the index \(moov\) is missing; copy, download or"):
        open_video(str(path))


@needs_cases
@pytest.mark.parametrize(
    ("name", "index", "num_frames"),
    [
        ("jpeg_track_first.mp4", 1, 60),
        ("second_stream_default.mkv", 1, 60),
        ("first_gop_negative.mkv", 0, 48),
        ("avchd.m2ts", 0, 60),
        ("raw.h264", 0, 60),
        ("animated.gif", 0, 60),
        ("mirrored.mp4", 0, 60),
        ("zero_matrix.mp4", 0, 60),
    ],
)
def test_found_files_are_read_whole_and_at_random(name, index, num_frames):
    with open_video(str(CASES / name)) as video:
        assert (video.file.stream.index, video.num_frames) == (index, num_frames)
        frames = video.get_frames(range(num_frames))
        order = np.random.default_rng(0).permutation(num_frames)
        np.testing.assert_array_equal(video.get_frames(order), frames[order])


@needs_cases
def test_found_sound_with_a_cover_is_no_video():
    with pytest.raises(VideoError, match="a cover picture only"):
        open_video(str(CASES / "audio_with_cover.mp4"))
