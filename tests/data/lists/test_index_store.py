from dataclasses import replace
from pathlib import Path

import pytest

from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.lists.index_store import (
    describe_unusable,
    find_bad_videos,
    index_key,
    open_indexes,
    save_indexes,
)
from videokd.data.lists.records import RecordTable
from videokd.utils.errors import InputError

NAMES = ("a #1.avi", "b;[2]&!.mp4", "c \u00e9\udcff.avi")


@pytest.fixture
def index():
    records = tuple(VideoRecord(name, k % 2, "toy", "") for k, name in enumerate(NAMES))
    return VideoIndex(
        records, ("x", "y z"), Path("/v"), "toy", "split1/train", ("gone \udcff.avi",), (1, 0)
    )


@pytest.mark.parametrize("mirror_labels", [(1, 0), (), None])
def test_an_index_comes_back_with_everything_but_its_root(index, mirror_labels, tmp_path):
    index = replace(index, mirror_labels=mirror_labels)
    save_indexes(tmp_path, {"train": index})
    found = open_indexes(tmp_path, root=Path("/moved"))["train"]
    assert isinstance(found.records, RecordTable)
    expected = replace(index, root=Path("/moved"), records=tuple(found.records))
    assert replace(found, records=tuple(found.records)) == expected
    assert found.digest() == index.digest()


def test_damage_of_a_stored_index_is_found(index, tmp_path):
    save_indexes(tmp_path, {"train": index})
    path = tmp_path / "train.records"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged .* delete it and make it anew"):
        open_indexes(tmp_path, root=Path("/v"))


@pytest.mark.parametrize("keep", [tuple, RecordTable.from_records])
def test_unusable_videos_are_named_with_their_causes(index, keep):
    causes = ("hung", "", "empty file")
    found = [replace(r, cause=cause) for r, cause in zip(index.records, causes, strict=True)]
    scanned = replace(index, records=keep(found))
    assert find_bad_videos(scanned) == {NAMES[0]: "hung", NAMES[2]: "empty file"}
    assert describe_unusable(scanned) == (
        "of 4 listed videos 1 are missing (first: gone \udcff.avi) and 2 cannot be used "
        f"({NAMES[0]}: hung; {NAMES[2]}: empty file)"
    )
    assert describe_unusable(replace(index, missing=())) == ""
    assert find_bad_videos(index) == {}


def test_only_a_few_unusable_videos_are_named():
    records = tuple(VideoRecord(f"{n}.avi", 0, "toy", "", cause="hung") for n in range(7))
    text = describe_unusable(VideoIndex(records, ("x",), Path("/v"), "toy", "train"))
    assert text.startswith("of 7 listed videos 7 cannot be used (0.avi: hung; 1.avi: hung; ")
    assert text.endswith("4.avi: hung; and 2 more)")


def test_the_key_changes_with_the_options_and_the_lists_and_with_nothing_else(tmp_path):
    lists = tmp_path / "lists"
    (lists / "folder").mkdir(parents=True)
    (lists / "train.txt").write_text("a.avi 1")
    key = index_key({"SPLIT": 1}, lists=lists)
    (lists / "video.AVI").write_text("a video beside the lists")
    (lists / "folder" / "video.avi").write_text("another")
    (lists / ".hidden").write_text("of a file manager")
    assert index_key({"SPLIT": 1}, lists=lists) == key
    assert index_key({"SPLIT": 2}, lists=lists) != key
    assert index_key({"SPLIT": 1}, lists=None) != key
    (lists / "train.txt").write_text("a.avi 1\nb.avi 1")
    assert index_key({"SPLIT": 1}, lists=lists) != key


def test_lists_that_are_not_there_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match=f"annotations {tmp_path}/no cannot be read: No such file"):
        index_key({}, lists=tmp_path / "no")


def test_the_key_of_a_single_list_changes_with_it_and_with_its_class_names(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text("path,label,split\n")
    keys = [index_key({}, lists=path)]
    (tmp_path / "other.csv").write_text("another list")
    assert index_key({}, lists=path) == keys[0]
    (tmp_path / "classes.txt").write_text("run\n")
    keys.append(index_key({}, lists=path))
    path.write_text("path,label,split\na.avi,0,train\n")
    keys.append(index_key({}, lists=path))
    assert len(set(keys)) == 3


def test_a_split_that_a_dataset_has_no_more_is_not_read_again(index, tmp_path):
    save_indexes(tmp_path, {"train": index, "val": index, "test": index})
    assert list(open_indexes(tmp_path, root=Path("/v"))) == ["train", "val", "test"]
    save_indexes(tmp_path, {"train": index, "test": index})
    assert list(open_indexes(tmp_path, root=Path("/v"))) == ["train", "test"]
    assert open_indexes(tmp_path / "nothing", root=Path("/v")) == {}
