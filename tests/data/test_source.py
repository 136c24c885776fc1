import os

import pytest

from videokd.data.source import check_video_file, sniff_container
from videokd.utils.errors import VideoError

AVI = b"RIFF\0\0\0\0AVI LIST"
HEADS = {
    "avi": AVI,
    "mov": b"\0\0\0\x18ftypisom",
    "matroska": b"\x1a\x45\xdf\xa3",
    "mpeg": b"\0\0\x01\xba",
    "flv": b"FLV\x01",
    "ogg": b"OggS",
    "mpegts": (b"G" + bytes(187)) * 2,
}


@pytest.mark.parametrize("container", HEADS)
def test_containers_are_known_by_their_first_bytes(tmp_path, container):
    path = tmp_path / "video.dat"
    path.write_bytes(HEADS[container])
    assert sniff_container(path) == container


def test_a_regular_video_under_the_root_is_given_by_its_full_path(tmp_path):
    path = tmp_path / "class [a]" / "-odd #;name.avi"
    path.parent.mkdir()
    path.write_bytes(AVI)
    assert check_video_file(tmp_path, "class [a]/-odd #;name.avi") == path.resolve()


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.avi").write_bytes(AVI)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert check_video_file(tmp_path / "link", "a.avi").name == "a.avi"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty file"),
        (b"#EXTM3U\nhttp://example.com/a.ts\n", "not a video file, starts with b'#EXTM3U"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a video file"),
        (b"G", "not a video file"),
    ],
)
def test_content_that_is_not_a_video_is_refused(tmp_path, content, cause):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=cause):
        check_video_file(tmp_path, "a.mp4")


@pytest.mark.parametrize("relative", ["../outside.avi", "link.avi", "folder/outside.avi"])
def test_a_path_may_not_leave_the_root(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.avi").write_bytes(AVI)
    (root / "link.avi").symlink_to(tmp_path / "outside.avi")
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(VideoError, match="leaves the folder of the dataset"):
        check_video_file(root, relative)


@pytest.mark.parametrize(
    "relative", ["http://example.com/a.mp4", "missing.avi", "concat:a.avi|b.avi", "a\0.avi"]
)
def test_what_is_not_there_is_refused(tmp_path, relative):
    with pytest.raises(VideoError, match="No such file|null"):
        check_video_file(tmp_path, relative)


def test_an_absolute_path_is_refused(tmp_path):
    with pytest.raises(VideoError, match="leaves the folder"):
        check_video_file(tmp_path, "/dev/zero")


def test_pipes_folders_and_loops_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "folder.avi").mkdir()
    (tmp_path / "loop.avi").symlink_to(tmp_path / "loop.avi")
    for name in ("pipe.avi", "folder.avi"):
        with pytest.raises(VideoError, match="not a regular file"):
            check_video_file(tmp_path, name)
    with pytest.raises(VideoError, match=r"loop\.avi: .*loop"):
        check_video_file(tmp_path, "loop.avi")


def test_a_file_larger_than_allowed_is_refused(tmp_path):
    (tmp_path / "a.avi").write_bytes(AVI)
    with pytest.raises(VideoError, match="16 bytes, allowed are 15"):
        check_video_file(tmp_path, "a.avi", max_bytes=15)
