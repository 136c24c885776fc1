import os
from contextlib import closing

import pytest

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.transcode_tree import TreeTranscoder
from videokd.data.decode import open_video
from videokd.utils.errors import InputError

SPEC = EncodeSpec(short_side=32)


@pytest.fixture
def tree(make_video, tmp_path):
    """old/ with three videos and what is none."""
    for name in ("run/a #1.avi", "run/b.mp4", "sit/[c].webm"):
        codec = "libvpx-vp9" if name.endswith("webm") else "mpeg4"
        make_video(f"old/{name}", 10, codec=codec)
    (tmp_path / "old" / "list.txt").write_text("run/b.mp4 0")
    make_video("outside.avi", 5)
    (tmp_path / "old" / "run" / "link.avi").symlink_to(tmp_path / "outside.avi")
    (tmp_path / "old" / "far").symlink_to(tmp_path)
    return tmp_path / "old", tmp_path / "new"


def run(transcoder, **options):
    options = {"num_workers": 0, "deadline_sec": 60.0, **options}
    return list(transcoder.run(transcoder.pending(), **options))


def list_files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_tree_is_written_with_the_same_names(tree):
    transcoder = TreeTranscoder(*tree, SPEC)
    assert transcoder.paths == ("run/a #1.avi", "run/b.mp4", "sit/[c].webm")
    written = run(transcoder)
    assert [one.cause for one in written] == ["", "", ""]
    names = ["encoding.json", "run/a #1.avi", "run/b.mp4", "sit/[c].mp4"]
    assert list_files(tree[1]) == names
    assert transcoder.renamed == [("sit/[c].webm", "sit/[c].mp4")]
    for one in written:
        path = tree[1] / one.target
        assert one.num_new_bytes == path.stat().st_size
        with open_video(str(path)) as reader:
            assert (reader.num_frames, reader.height) == (10, 32)


def test_files_that_are_left_out_are_known(tree):
    (tree[0] / "run" / ".hidden").touch()
    transcoder = TreeTranscoder(*tree, SPEC)
    assert transcoder.others == ("list.txt",)
    assert transcoder.links == ("far", "run/link.avi")


@pytest.mark.parametrize("name", ["a.MPG", "a.ts", "a.flv", "a.wmv", "a.ogv"])
def test_videos_of_any_known_extension_are_found(tmp_path, name):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / name).touch()
    assert TreeTranscoder(tmp_path / "old", tmp_path / "new", SPEC).paths == (name,)


def test_a_second_run_writes_what_is_missing_or_has_changed(tree):
    run(TreeTranscoder(*tree, SPEC))
    transcoder = TreeTranscoder(*tree, SPEC)
    assert transcoder.pending() == []
    os.utime(tree[0] / "run/b.mp4", ns=(2**62, 2**62))
    (tree[1] / "sit/[c].mp4").unlink()
    assert transcoder.pending() == ["run/b.mp4", "sit/[c].webm"]


def test_videos_written_in_another_way_are_not_mixed(tree):
    run(TreeTranscoder(*tree, SPEC))
    with pytest.raises(InputError, match="choose another output folder or delete it"):
        TreeTranscoder(*tree, EncodeSpec(short_side=16))


def test_a_video_that_cannot_be_written_costs_itself_alone(tree):
    (tree[0] / "run/b.mp4").write_bytes(b"no video")
    written = run(TreeTranscoder(*tree, SPEC), num_workers=1)
    assert [bool(one.cause) for one in written] == [False, True, False]
    assert "not a video file" in written[1].cause
    assert "run/b.mp4" not in list_files(tree[1])
    assert TreeTranscoder(*tree, SPEC).pending() == ["run/b.mp4"]


def test_nothing_half_written_is_left_of_a_video_that_takes_too_long(make_video, tmp_path):
    make_video("old/brief.avi", 1)
    make_video("old/long.avi", 250)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".long.part.avi").write_bytes(b"what a killed worker leaves")
    transcoder = TreeTranscoder(tmp_path / "old", tmp_path / "new", SPEC)
    written = run(transcoder, num_workers=1, deadline_sec=0.01)
    assert written[1].cause == "hung for more than 0.01 s"
    assert not list((tmp_path / "new").glob("*long*"))
    assert not list((tmp_path / "new").glob(".*"))


def test_a_run_that_is_stopped_leaves_whole_files(tree):
    (tree[1] / "sit").mkdir(parents=True)
    (tree[1] / "sit" / ".[c].part.mp4").write_bytes(b"what a killed worker leaves")
    transcoder = TreeTranscoder(*tree, SPEC)
    with closing(transcoder.run(transcoder.pending(), num_workers=0, deadline_sec=60.0)) as results:
        next(results)
    assert list_files(tree[1]) == ["encoding.json", "run/a #1.avi"]
    assert len(TreeTranscoder(*tree, SPEC).pending()) == 2


def test_what_cannot_be_a_tree_is_refused(tree, make_video, tmp_path):
    with pytest.raises(InputError, match="is not a folder; set it to where the videos lie"):
        TreeTranscoder(tmp_path / "no", tree[1], SPEC)
    with pytest.raises(InputError, match="write the videos to another folder"):
        TreeTranscoder(tree[0], tree[0] / "new", SPEC)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no file that ends with one of .*\.avi, "):
        TreeTranscoder(tmp_path / "empty", tree[1], SPEC)
    make_video("old/sit/[c].mp4", 3)
    with pytest.raises(InputError, match=r"\[c\].mp4 and sit/\[c\].webm would both become"):
        TreeTranscoder(*tree, SPEC)
