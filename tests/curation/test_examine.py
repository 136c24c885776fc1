import hashlib
import os
from contextlib import nullcontext

import av
import numpy as np
import pytest

from videokd.curation import examine
from videokd.curation.examine import Decode
from videokd.data.decode import open_video
from videokd.synthetic.encode import encode_avi
from videokd.utils.errors import VideoError

# Where an AVI file of one stream says how many frames that stream has.
AVI_LENGTH_OFFSET = 140
# Packets that are large enough to be hit in their middle.
NOISE = np.random.default_rng(0).integers(0, 256, (30, 96, 128, 3), np.uint8)


@pytest.fixture
def report(tmp_path):
    return lambda name: Decode()(name, tmp_path)


def blank_packet(path, number):
    """Overwrite the n-th packet of a video, in the order of the file, with zeros."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        start, size = packets[number].pos, packets[number].size
    data = bytearray(path.read_bytes())
    # Past what MP4 and AVI put in front of the payload.
    data[start + 8 : start + size] = bytes(size - 8)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "options", "container", "codec"),
    [
        ("a.avi", {}, "avi", "mpeg4"),
        ("a.avi", {"num_b_frames": 2}, "avi", "mpeg4"),
        ("a.mp4", {"codec": "libx264", "num_b_frames": 2}, "mov", "h264"),
        ("a.mkv", {"codec": "libx264"}, "matroska", "h264"),
        ("a.webm", {"codec": "libvpx-vp9"}, "matroska", "vp9"),
    ],
)
def test_an_intact_video_has_no_problem(make_video, report, name, options, container, codec):
    path = make_video(name, 30, **options)
    found = report(name)
    assert (found.problem, found.cause) == ("", "")
    assert (found.num_frames, found.width, found.height, found.fps) == (30, 64, 48, 25.0)
    assert (found.container, found.codec) == (container, codec)
    assert found.num_header_frames in (0, 30)
    assert found.num_bytes == path.stat().st_size
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mp4", "libx264")])
def test_a_damaged_frame_is_found_and_numbered(make_video, report, name, codec):
    blank_packet(make_video(name, 30, codec=codec), 17)
    found = report(name)
    assert found.problem == "corrupt"
    assert "17" in found.cause or "18" in found.cause


def test_a_decoder_that_hides_damage_does_not_hide_it_here(report, tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(encode_avi(NOISE, frame_rate_fps=25))
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][17]
    data = bytearray(path.read_bytes())
    middle = packet.pos + packet.size // 2
    data[middle : middle + 64] = np.random.default_rng(1).bytes(64)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    found = report("a.avi")
    assert (found.problem, found.cause) == ("corrupt", "1 of 30 frames damaged: 17")


def test_a_file_that_was_cut_off_is_short(make_video, report, tmp_path):
    whole = encode_avi(NOISE, frame_rate_fps=25)
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    path = make_video("a.mkv", 50, codec="libx264")
    half = path.stat().st_size // 2
    # The rest was never downloaded, as in a file of its final size.
    path.write_bytes(path.read_bytes()[:half] + bytes(path.stat().st_size - half))
    found = [report("a.avi"), report("a.mkv")]
    assert [one.problem for one in found] == ["short", "short"]
    assert "of 30 frames" in found[0].cause
    assert found[1].cause.endswith(" of 2.0 seconds")


def test_an_mp4_without_its_end_is_corrupt(make_video, report):
    path = make_video("a.mp4", 50, codec="libx264")
    path.write_bytes(path.read_bytes()[:-100])
    assert report("a.mp4").problem == "corrupt"


@pytest.mark.parametrize(("promised", "problem"), [(50, ""), (52, ""), (53, "short")])
def test_a_header_may_be_off_by_two_frames(make_video, report, promised, problem):
    path = make_video("a.avi", 50)
    data = bytearray(path.read_bytes())
    assert data[AVI_LENGTH_OFFSET] == 50
    data[AVI_LENGTH_OFFSET] = promised
    path.write_bytes(data)
    assert report("a.avi").problem == problem


def test_frames_that_change_their_size_are_found(report, tmp_path):
    streams = []
    for side in (48, 32):
        path = tmp_path / f"{side}.m1v"
        with av.open(str(path), "w", format="mpeg1video") as container:
            stream = container.add_stream("mpeg1video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, side, "yuv420p"
            for value in range(5):
                frame = np.full((side, 64, 3), 10 * value, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        streams.append(path.read_bytes())
    (tmp_path / "both.m1v").write_bytes(b"".join(streams))
    found = report("both.m1v")
    assert found.problem == "corrupt"
    assert found.cause == (
        "the size of its frames changes from 64x48 to 64x32; "
        "write it anew with `videokd prepare convert`"
    )


def test_what_is_no_video_is_told_apart(make_video, report, tmp_path):
    (tmp_path / "text.avi").write_text("this is not a video at all")
    (tmp_path / "empty.avi").touch()
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "root").mkdir()
    make_video("outside.avi", 3)
    (tmp_path / "root" / "link.avi").symlink_to(tmp_path / "outside.avi")
    found = [report(name) for name in ("text.avi", "empty.avi", "pipe.avi")]
    found.append(Decode()("link.avi", tmp_path / "root"))
    assert [one.problem for one in found] == ["not a video"] * 4
    causes = ["starts with", "empty", "not a regular file", "leaves the folder"]
    for one, cause in zip(found, causes, strict=True):
        assert cause in one.cause
        # Nothing of it was read.
        assert one.sha256 == ""


def test_sound_alone_is_no_video(report, tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = report("sound.mkv")
    assert (found.problem, found.cause) == ("not a video", "no video stream")


def test_a_frame_that_the_reader_cannot_reach_is_a_problem(make_video, report, monkeypatch):
    make_video("a.avi", 30)

    class Reader(nullcontext):
        num_frames = 30

        def __enter__(self):
            return self

        def get_frames(self, indices, *, short_side):
            raise VideoError("a.avi", f"frame {indices[0]} cannot be decoded")

    monkeypatch.setattr(examine, "open_video", lambda path, *, backend: Reader())
    found = report("a.avi")
    assert (found.problem, found.cause) == ("corrupt", "frame 29 cannot be decoded")


def test_fewer_frames_than_the_reader_promises_are_a_problem(make_video, report, monkeypatch):
    make_video("a.avi", 30)
    longer = str(make_video("longer.avi", 31))
    monkeypatch.setattr(examine, "open_video", lambda path, *, backend: open_video(longer))
    found = report("a.avi")
    assert (found.problem, found.cause) == ("corrupt", "30 of 31 frames decode")
