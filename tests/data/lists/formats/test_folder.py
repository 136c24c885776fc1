import logging

import pytest

from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.data.lists.formats.read import count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    def make(*files):
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def read_folder(root, group_pattern=""):
    spec = DatasetSpec("folder", root=root, group_pattern=group_pattern)
    return find_dataset(spec, name="folder")


def count_folder(root):
    return count_dataset(DatasetSpec("folder", root=root))


def test_classes_are_folders_sorted_by_name(folder):
    root = folder("train/b/x_1.MP4", "train/a/y_1.avi", "train/a/notes.txt", "test/b/z.webm")
    index = read_folder(root)["train"]
    assert index.class_names == ("a", "b")
    assert [(r.path, r.label, r.group) for r in index.records] == [
        ("train/a/y_1.avi", 0, "y"),
        ("train/b/x_1.MP4", 1, "x"),
    ]
    assert [r.label for r in read_folder(root)["test"].records] == [1]


def test_a_val_folder_serves_as_the_test_split(folder):
    root = folder("train/a/x.mp4", "val/a/y.mp4")
    assert read_folder(root)["test"].records[0].path == "val/a/y.mp4"


def test_without_splits_whole_groups_are_drawn_for_testing(folder):
    root = folder(*(f"{c}/g{g}_{n}.mp4" for c in "ab" for g in range(5) for n in range(2)))
    train, test = read_folder(root).values()
    assert (len(train), len(test)) == (16, 4)
    assert not {(r.label, r.group) for r in train.records} & {
        (r.label, r.group) for r in test.records
    }


def test_a_class_without_videos_keeps_its_number_with_a_warning(folder, caplog):
    root = folder("train/a/x.mp4", "train/b/readme.txt", "train/c/x.mp4")
    with caplog.at_level(logging.WARNING):
        index = read_folder(root)["train"]
    assert [r.label for r in index.records] == [0, 2]
    assert caplog.messages == [
        f"folder: 1 class folders have no video, e.g. {root}/train/b",
        "folder: files left out: 1 (1 .txt), e.g. train/b/readme.txt",
    ]


def test_what_is_not_a_video_is_counted_and_named_in_one_line(folder, caplog):
    videos = [f"a/x{n}_1{ext}" for n, ext in enumerate(VIDEO_EXTENSIONS)]
    videos = [path.upper().replace("A/", "a/") for path in videos]
    other = ["a/a.txt", "a/b.txt", "a/c.rmvb", "a/frames/1.jpg", "a/.hidden", "loose.mp4"]
    root = folder(*videos, *other)
    with caplog.at_level(logging.WARNING):
        indexes = read_folder(root)
    assert sorted(r.path for i in indexes.values() for r in i.records) == sorted(videos)
    assert caplog.messages == [
        "folder: files left out: 5 (2 .txt, 1 .mp4, 1 .rmvb, 1 folder), e.g. loose.mp4"
    ]


def test_a_val_folder_beside_a_test_folder_is_the_val_part(folder):
    root = folder("train/a/x.mp4", "valid/a/y.mp4", "test/a/z.mp4")
    indexes = read_folder(root)
    assert {split: (index.records[0].path, index.split) for split, index in indexes.items()} == {
        "train": ("train/a/x.mp4", "train/"),
        "val": ("valid/a/y.mp4", "valid/"),
        "test": ("test/a/z.mp4", "test/"),
    }
    assert count_folder(root) == {"train": 1, "val": 1, "test": 1, "classes": 1}
    (root / "val").mkdir()
    with pytest.raises(InputError, match=r"/val and valid/ may both be the val split; keep one"):
        read_folder(root)


def test_a_class_may_be_called_train(folder):
    root = folder(*(f"{c}/g{g}_1.mp4" for c in ("bus", "test", "train") for g in range(5)))
    assert read_folder(root)["train"].class_names == ("bus", "test", "train")
    folder("train/frames/1.jpg")
    with pytest.raises(InputError, match=r"train holds videos and folders \(e.g. g0_1.mp4\): move"):
        read_folder(root)


def test_folders_beside_the_parts_are_named(folder, caplog):
    root = folder("train/a/x.mp4", "test/a/y.mp4", "extra/a/z.mp4")
    with caplog.at_level(logging.WARNING):
        read_folder(root)
    assert caplog.messages == ["folder: files left out: 1 (1 folder), e.g. extra/"]


def test_an_unknown_test_class_is_named(folder):
    with pytest.raises(InputError, match=r"class 'c' is not in .*train; known are a"):
        read_folder(folder("train/a/x.mp4", "test/c/y.mp4"))


def test_classes_that_differ_only_in_spelling_are_an_error(folder):
    with pytest.raises(InputError, match="'Ride bike' and 'ride_bike' differ only in spelling"):
        read_folder(folder("train/Ride bike/x.mp4", "train/ride_bike/y.mp4"))


def test_a_folder_without_videos_is_an_error(folder):
    message = r"no video in the class folders of .*/train; .* files left out: 1 \(1 .txt\)"
    with pytest.raises(InputError, match=message):
        read_folder(folder("train/a/x.txt"))


def test_blanks_and_odd_characters_in_names_are_kept(folder):
    path = "train/ride a bike/my #1 [best] video; 2.mkv"
    assert [r.path for r in read_folder(folder(path))["train"].records] == [path]


def test_a_pattern_finds_the_group_in_the_path(folder):
    root = folder("train/a/p1 x 1.mp4", "train/a/p1 x 2.mp4", "train/a/p2 x.mp4")
    index = read_folder(root, group_pattern=r"/(p\d)[^/]*$")["train"]
    assert [r.group for r in index.records] == ["p1", "p1", "p2"]


def test_a_video_that_the_pattern_does_not_fit_is_named(folder):
    root = folder("train/a/p1.mp4", "train/a/q.mp4")
    with pytest.raises(InputError, match=r"q.mp4: the group pattern is not in 'train/a/q.mp4'"):
        read_folder(root, group_pattern=r"/p\d")


def test_a_video_in_both_parts_is_an_error_and_a_name_alone_is_not(folder):
    root = folder("train/a/001.mp4", "test/a/001.mp4")
    (root / "train/a/001.mp4").write_bytes(b"another")
    assert count_folder(root) == {"train": 1, "test": 1, "classes": 1}
    (root / "test/a/001.mp4").write_bytes(b"another")
    with pytest.raises(InputError, match=r"train/a/001.mp4 and .*test/a/001.mp4 are one video"):
        read_folder(root)


def test_a_group_in_both_parts_is_warned_of(folder, caplog):
    root = folder("train/a/x_1.mp4", "test/a/x_2.mp4")
    with caplog.at_level(logging.WARNING):
        read_folder(root)
    assert "shares (class, group) pairs, 1 with test, e.g. group x of class 0" in caplog.text


def test_one_group_per_class_is_nothing_to_draw_a_test_part_from(folder):
    with pytest.raises(InputError, match=r"single group of videos \(e.g. 'x'\); set a group"):
        read_folder(folder("a/x_1.mp4", "a/x_2.mp4"))


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(InputError, match="root .*nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")


def test_a_link_to_nothing_is_a_missing_video(folder):
    root = folder("train/a/x.mp4", "test/a/y.mp4")
    (root / "train/a/z.mp4").symlink_to("gone")
    assert read_folder(root)["train"].missing == ("train/a/z.mp4",)
