import os
from dataclasses import replace
from pathlib import Path

import pytest

from videokd.curation import scan
from videokd.curation.scan import scan_videos, update_media
from videokd.data.lists.media import MediaInfo, MediaTable
from videokd.data.pool.supervised_pool import Lost
from videokd.data.pool.worker import OUT_OF_MEMORY
from videokd.utils.errors import ReadError

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"
ODD = "odd # ; [1] & ! gr\u00fc\u00df/\u65e5\u672c ' \" .mp4"
HERE = {"num_processes": 0, "deadline_sec": 60.0}


@pytest.fixture
def root(make_video, tmp_path):
    make_video("a.avi", 20)
    make_video(ODD, 30, codec="libx264", num_b_frames=2)
    (tmp_path / "text.avi").write_bytes(b"not a video")
    whole = make_video("cut.mp4", 30, codec="libx264").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return tmp_path


PATHS = ["a.avi", ODD, "text.avi", "cut.mp4", "none.avi"]


@pytest.fixture
def probed(monkeypatch):
    """The names of the files that were given to a decoder library, in order."""
    names, probe = [], scan.probe_video

    def note(file):
        names.append(Path(file.name).name)
        return probe(file)

    monkeypatch.setattr(scan, "probe_video", note)
    return names


def test_files_are_described_as_they_were_written(root):
    files = scan_videos(root, PATHS, **HERE)
    assert [info.path for info in files] == PATHS
    stamps = [(root / path).stat() for path in PATHS[:2]]
    expected = [
        (20, 25.0, pytest.approx(0.8), 48, 64, "mpeg4", "avi"),
        (30, 25.0, pytest.approx(1.2), 48, 64, "h264", "mov"),
    ]
    for info, stamp, facts in zip(files, stamps, expected, strict=False):
        found = replace(info, is_counted=False)
        assert found == MediaInfo(info.path, stamp.st_size, stamp.st_mtime_ns, "", *facts)
    assert not files[1].is_counted
    assert [info.cause for info in files][2:] == [
        "not a video file, starts with b'not a video'",
        "cut off or not finished: the index (moov) is missing; "
        "copy, download or record the file again",
        "No such file or directory",
    ]
    assert not files.numbers("num_frames")[2:].any()


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not here")
@pytest.mark.parametrize(
    ("name", "num_frames", "size", "duration_sec", "is_counted"),
    [
        ("decord_video_0.mov", 3, (320, 568), 0.1, False),
        ("decord_video_90.mov", 3, (568, 320), 0.1, False),
        # Packed B-frames: the pictures themselves say how many frames there are.
        ("mmaction2_test.avi", 164, (240, 320), 164 / 25, False),
        ("torchcodec_test_non_zero_start.mp4", 12, (112, 200), 0.4, False),
        ("kinetics_flipping_pancake.mkv", 310, (240, 426), 310 / 30, False),
    ],
)
def test_real_files_are_described_as_they_are_shown(
    name, num_frames, size, duration_sec, is_counted
):
    (info,) = scan_videos(CLIPS, [name], **HERE)
    assert (info.num_frames, (info.height, info.width)) == (num_frames, size)
    assert info.duration_sec == pytest.approx(duration_sec, abs=0.002)
    assert info.is_counted == is_counted


def test_other_processes_find_the_same(root):
    expected = scan_videos(root, PATHS, **HERE)
    seen = []
    files = scan_videos(
        root, PATHS, num_processes=1, deadline_sec=60.0, on_progress=lambda *n: seen.append(n)
    )
    assert files == expected
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_file_named_twice_is_scanned_once(root, probed):
    files = scan_videos(root, ["a.avi", "a.avi"], **HERE)
    assert ([info.path for info in files], probed) == (["a.avi"], ["a.avi"])


def test_only_what_has_changed_is_opened_again(root, probed):
    known = scan_videos(root, PATHS, **HERE)
    # The text is refused by its first bytes.
    assert probed == ["a.avi", Path(ODD).name, "cut.mp4"]
    probed.clear()
    assert scan_videos(root, PATHS, known=known, **HERE) == known
    assert probed == []
    os.utime(root / "a.avi", ns=(0, 12345))
    assert scan_videos(root, PATHS, known=known, **HERE)[0].mtime_ns == 12345
    assert probed == ["a.avi"]


def test_a_size_alone_is_a_change(root, probed, make_video):
    known = scan_videos(root, ["a.avi"], **HERE)
    make_video("a.avi", 33)
    os.utime(root / "a.avi", ns=(0, known[0].mtime_ns))
    assert scan_videos(root, ["a.avi"], known=known, **HERE)[0].num_frames == 33
    assert probed == ["a.avi"] * 2


def test_what_cannot_be_used_is_tried_again_when_it_changes(root, probed, make_video):
    known = scan_videos(root, PATHS, **HERE)
    for name in ("cut.mp4", "none.avi", "text.avi"):
        make_video(name, 7)
    probed.clear()
    files = scan_videos(root, PATHS, known=known, **HERE)
    assert [(info.num_frames, info.cause) for info in files][2:] == [(7, "")] * 3
    assert probed == ["text.avi", "cut.mp4", "none.avi"]


def test_what_the_system_refuses_is_tried_again_although_the_file_is_the_same(root, monkeypatch):
    def fail(file):
        raise ReadError(file.name, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(scan, "probe_video", fail)
        known = scan_videos(root, ["a.avi"], **HERE)
    assert known[0] == MediaInfo("a.avi", cause="Input/output error", is_unread=True)
    assert scan_videos(root, ["a.avi"], known=known, **HERE)[0].num_frames == 20


def test_a_file_that_ends_its_process_is_named_and_tried_again(root, monkeypatch, probed):
    class Pool:
        def __init__(self, function, **options):
            self.function = function

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def map(self, tasks):
            for items in tasks:
                results = [self.function(item) for item in items]
                yield [
                    Lost("hung for more than 1 s") if i == 1 else r for i, r in enumerate(results)
                ]

    with monkeypatch.context() as patch:
        patch.setattr(scan, "SupervisedPool", Pool)
        known = scan_videos(root, PATHS[:2], **HERE)
    assert known[1] == MediaInfo(ODD, cause="hung for more than 1 s")
    probed.clear()
    assert scan_videos(root, PATHS[:2], known=known, **HERE)[1].num_frames == 30
    assert probed == [Path(ODD).name]


@pytest.mark.parametrize(
    ("cause", "is_unread"),
    [
        (OUT_OF_MEMORY, True),
        ("its process died of SIGKILL, as when the system runs out of memory", True),
        ("its process died of SIGSEGV", False),
        ("hung for more than 1 s", False),
    ],
)
def test_a_lack_of_memory_says_nothing_about_a_file(root, cause, is_unread):
    found = scan._Scan(root, ["a.avi"], {})._settle("a.avi", Lost(cause))
    assert found == MediaInfo("a.avi", cause=cause, is_unread=is_unread)


def test_nothing_outside_the_root_is_opened(root, tmp_path, probed):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.avi").symlink_to(root / "a.avi")
    files = scan_videos(inside, ["link.avi", "../a.avi", str(root / "a.avi")], **HERE)
    assert all(info.cause.startswith("leaves the folder of the dataset") for info in files)
    assert probed == []


def test_what_a_folder_keeps_is_not_scanned_again(root, tmp_path, probed):
    folder = tmp_path / "media"
    files = update_media(folder, root, PATHS, **HERE)
    assert files == scan_videos(root, PATHS, **HERE)
    probed.clear()
    assert update_media(folder, root, PATHS[::-1], **HERE) == files[::-1]
    assert probed == []
    # What is asked for now does not push out what was asked for before.
    assert [info.path for info in update_media(folder, root, ["a.avi"], **HERE)] == ["a.avi"]
    assert [info.path for info in MediaTable.open(folder)] == PATHS


def test_what_was_found_before_an_interruption_is_kept(root, tmp_path, probed):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        update_media(tmp_path / "media", root, PATHS, on_progress=interrupt, **HERE)
    probed.clear()
    assert len(update_media(tmp_path / "media", root, PATHS, **HERE)) == 5
    assert probed == ["cut.mp4"]


def test_a_long_scan_is_saved_on_its_way(root, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_NUM_PER_SAVE", 2)
    saved = []

    def look(done, total):
        folder = tmp_path / "media"
        saved.append(len(MediaTable.open(folder)) if folder.exists() else 0)

    update_media(tmp_path / "media", root, PATHS, on_progress=look, **HERE)
    assert saved == [0, 2, 2, 4, 4]


def test_a_damaged_table_is_made_anew_with_a_warning(root, tmp_path, probed, caplog):
    folder = tmp_path / "media"
    files = update_media(folder, root, PATHS, **HERE)
    (data,) = folder.glob("arrays-*.bin")
    data.write_bytes(bytes(len(data.read_bytes())))
    probed.clear()
    assert update_media(folder, root, PATHS, **HERE) == files
    assert "is damaged" in caplog.text
    assert "all files are scanned again" in caplog.text
    assert len(probed) == 3
    assert MediaTable.open(folder) == files


def test_no_files_are_a_table_too(tmp_path):
    assert len(update_media(tmp_path / "media", tmp_path, [], **HERE)) == 0


def test_a_relative_root_is_that_of_the_caller(root, monkeypatch):
    monkeypatch.chdir(root)
    files = scan_videos(Path(), ["a.avi"], num_processes=1, deadline_sec=60.0)
    assert files[0].num_frames == 20
