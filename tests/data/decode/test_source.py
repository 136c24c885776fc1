import os

import pytest

from videokd.data.decode import source
from videokd.data.decode.source import check_folder_inside, open_video_file
from videokd.utils.errors import InputError, VideoError

AVI = b"RIFF\0\0\0\0AVI LIST"
HEADS = {
    "avi": AVI,
    "mov": b"\0\0\0\x18ftypisom",
    "matroska": b"\x1a\x45\xdf\xa3",
    "mpeg": b"\0\0\x01\xba",
    "flv": b"FLV\x01\x05\0\0\0\x09",
    "ogg": b"OggS\0\2",
    "mpegts": (b"G" + bytes(187)) * 3,
    "gif": b"GIF89a",
    "h264": b"\0\0\0\1\x67\x64\0\x0b",
    "hevc": b"\0\0\0\1\x40\1\x0c\1",
}


@pytest.mark.parametrize("container", HEADS)
def test_containers_are_known_by_their_first_bytes(tmp_path, container):
    path = tmp_path / "video.dat"
    path.write_bytes(HEADS[container])
    with open_video_file(path) as file:
        assert file.container == container


def test_a_regular_video_under_the_root_is_given_by_its_full_path(tmp_path):
    path = tmp_path / "class [a]" / "-odd #;name.avi"
    path.parent.mkdir()
    path.write_bytes(AVI)
    with open_video_file("class [a]/-odd #;name.avi", root=tmp_path) as file:
        assert (file.real_path, file.num_bytes) == (str(path.resolve()), len(AVI))


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.avi").write_bytes(AVI)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_video_file("a.avi", root=tmp_path / "link") as file:
        assert file.real_path == str(tmp_path.resolve() / "real" / "a.avi")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty file"),
        (b"#EXTM3U\nhttp://example.com/a.ts\n", "not a video file, starts with b'#EXTM3U"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a video file"),
        (b"G", "not a video file"),
        (b"G" + b"\n" * 187 + b"G\nc=IN IP4 127.0.0.1\n", "not a video file"),
        (b"FLV\x01\nc=IN IP4 127.0.0.1\n", "not a video file"),
        (b"OggS\n<MPD>", "not a video file"),
        (b"\0\0\1\xb0", "not a video file"),
        (bytes(4) + (b"G" + bytes(191)) * 2 + b"H", "not a video file"),
    ],
)
def test_content_that_is_not_a_video_is_refused(tmp_path, content, cause):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=cause):
        open_video_file("a.mp4", root=tmp_path)


@pytest.mark.parametrize("relative", ["../outside.avi", "link.avi", "folder/outside.avi"])
def test_a_path_may_not_leave_the_root(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.avi").write_bytes(AVI)
    (root / "link.avi").symlink_to(tmp_path / "outside.avi")
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(VideoError, match="leaves the folder of the dataset"):
        open_video_file(relative, root=root)


@pytest.mark.parametrize(
    "relative", ["http://example.com/a.mp4", "missing.avi", "concat:a.avi|b.avi", "a\0.avi"]
)
def test_what_is_not_there_is_refused(tmp_path, relative):
    with pytest.raises(VideoError, match="No such file|null"):
        open_video_file(relative, root=tmp_path)


def test_an_absolute_path_is_refused(tmp_path):
    with pytest.raises(VideoError, match="leaves the folder"):
        open_video_file("/dev/zero", root=tmp_path)


def test_pipes_folders_and_loops_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "folder.avi").mkdir()
    (tmp_path / "loop.avi").symlink_to(tmp_path / "loop.avi")
    for name in ("pipe.avi", "folder.avi"):
        with pytest.raises(VideoError, match="not a regular file"):
            open_video_file(name, root=tmp_path)
    with pytest.raises(VideoError, match=r"loop\.avi: Too many levels of symbolic links"):
        open_video_file("loop.avi", root=tmp_path)


def test_a_file_larger_than_allowed_is_refused(tmp_path):
    (tmp_path / "a.avi").write_bytes(AVI)
    with pytest.raises(VideoError, match="16 bytes, allowed are 15"):
        open_video_file("a.avi", root=tmp_path, max_bytes=15)


def test_the_file_that_was_checked_is_read_whatever_its_name_means_by_then(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(AVI + b"checked")
    with open_video_file("a.avi", root=tmp_path) as file:
        path.unlink()
        path.write_bytes(b"another")
        with open(file.decoder_path, "rb") as again:
            assert again.read() == AVI + b"checked"
        assert (file.name, file.real_path) == ("a.avi", str(path.resolve()))


def test_what_a_decoder_is_given_cannot_be_taken_for_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.avi|b.avi").write_bytes(AVI)
    with open_video_file("concat:a.avi|b.avi") as file:
        monkeypatch.setattr(source.os.path, "exists", lambda path: False)
        assert file.decoder_path == str(tmp_path.resolve() / "concat:a.avi|b.avi")


def _swap_for_link_at(monkeypatch, name, swapped, target):
    """Put a link to target in the place of `swapped` right before `name` is looked at."""
    stat = os.stat

    def swap_and_stat(path, **options):
        if path == name and not swapped.is_symlink():
            swapped.rename(swapped.with_name("moved"))
            swapped.symlink_to(target)
        return stat(path, **options)

    monkeypatch.setattr(source.os, "stat", swap_and_stat)


@pytest.fixture
def tree(tmp_path):
    """root/folder/a.avi, and outside/a.avi with the same name and more in it."""
    for folder, content in (("root/folder", AVI), ("outside", AVI + b"outside")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.avi").write_bytes(content)
    return tmp_path


def test_a_file_that_becomes_a_link_while_it_is_checked_is_refused(tree, monkeypatch):
    swapped = tree / "root" / "folder" / "a.avi"
    _swap_for_link_at(monkeypatch, "a.avi", swapped, tree / "outside" / "a.avi")
    with pytest.raises(VideoError, match="not a regular file"):
        open_video_file("folder/a.avi", root=tree / "root")


def test_a_folder_that_becomes_a_link_while_it_is_checked_is_not_entered(tree, monkeypatch):
    resolve = source._resolve

    def resolve_and_swap(*arguments):
        found = resolve(*arguments)
        (tree / "root" / "folder").rename(tree / "root" / "moved")
        (tree / "root" / "folder").symlink_to(tree / "outside")
        return found

    monkeypatch.setattr(source, "_resolve", resolve_and_swap)
    with pytest.raises(VideoError, match=r"folder/a\.avi: (Not a directory|Too many levels)"):
        open_video_file("folder/a.avi", root=tree / "root")


def test_a_file_that_becomes_a_pipe_after_the_check_is_refused_without_waiting(tree, monkeypatch):
    path = tree / "root" / "folder" / "a.avi"
    info = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(source.os, "stat", lambda *_, **__: info)
    monkeypatch.setattr(source, "_resolve", lambda *_: (str(path.parent), ["a.avi"]))
    with pytest.raises(VideoError, match="not a regular file"):
        open_video_file("folder/a.avi", root=tree / "root")


def test_a_refused_file_is_not_left_open(tree):
    (tree / "root" / "text.avi").write_text("not a video")
    before = os.listdir("/dev/fd")
    for name in ("text.avi", "folder", "missing.avi", "folder/a.avi/b"):
        with pytest.raises(VideoError, match="not a|Not a|No such"):
            open_video_file(name, root=tree / "root")
    open_video_file("folder/a.avi", root=tree / "root").close()
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.avi", b"a\nb\x1b[31m.avi", b"-a .avi", b"a" * 251 + b".avi"]
)
def test_any_name_that_the_disk_takes_is_a_name(tmp_path, name):
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
        file.write(AVI)
    with open_video_file(os.fsdecode(name), root=tmp_path) as file:
        assert file.container == "avi"


@pytest.mark.parametrize(
    ("relative", "cause"),
    [
        ("", "not a regular file"),
        (".", "not a regular file"),
        ("a" * 300 + ".avi", "File name too long"),
        ("a/" * 5000 + "b.avi", "No such file"),
        ("\ud800.avi", "surrogates not allowed"),
        ("~/a.avi", "No such file"),
        ("..\\a.avi", "No such file"),
        ("\uff0e\uff0e/outside.avi", "No such file"),
    ],
)
def test_names_that_mean_nothing_are_refused(tmp_path, relative, cause):
    with pytest.raises(VideoError, match=cause):
        open_video_file(relative, root=tmp_path)


def test_a_folder_whose_name_starts_like_the_root_is_outside(tmp_path):
    for folder in ("root", "root-b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.avi").write_bytes(AVI)
    with pytest.raises(VideoError, match="leaves the folder"):
        open_video_file("../root-b/a.avi", root=tmp_path / "root")
    with open_video_file("../root/a.avi", root=tmp_path / "root") as file:
        assert file.container == "avi"


def test_a_folder_that_leads_out_of_the_root_is_not_listed(tree):
    (tree / "root" / "inner").symlink_to(tree / "root" / "folder")
    (tree / "root" / "linked").symlink_to(tree / "outside")
    for folder in ("", "folder", "inner", "missing", "a\0"):
        check_folder_inside(tree / "root", folder)
    with pytest.raises(InputError, match=r"root/linked leads out of .*root, to .*outside; videos"):
        check_folder_inside(tree / "root", "linked")
