import logging

import pytest

from videokd.config import named_node
from videokd.config.keys import KEYS
from videokd.data.lists.formats.read import FORMATS, count_dataset, read_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for path in ("train/turn left/a.mp4", "train/turn right/b.mp4", "val/turn left/c.mp4"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_the_config_knows_the_same_formats_and_defaults():
    assert KEYS["DATASETS.<NAME>.FORMAT"].choices == tuple(FORMATS)
    node, spec = named_node("DATASETS"), DatasetSpec("folder")
    assert spec.split_number == node.SPLIT
    for key in ("separator", "group_pattern", "flip"):
        assert node[key.upper()] == getattr(spec, key)


def test_the_table_says_what_a_format_needs():
    with_splits = [name for name, own in FORMATS.items() if "split_number" in own.options]
    assert with_splits == ["ucf101", "hmdb51", "list"]
    assert [name for name, own in FORMATS.items() if not own.needs_annotations] == ["folder"]


def test_an_index_carries_what_mirroring_does_to_its_classes(folder, caplog):
    spec = DatasetSpec("folder", root=folder)
    with caplog.at_level(logging.WARNING):
        assert read_dataset(spec, name="X")["train"].mirror_labels == ()
    assert "look like mirror images" in caplog.text
    spec = DatasetSpec("folder", root=folder, left_right_pairs=(("turn left", "turn right"),))
    for split in ("train", "test"):
        assert read_dataset(spec, name="X")[split].mirror_labels == (1, 0)
    spec = DatasetSpec("folder", root=folder, flip="off")
    assert read_dataset(spec, name="X")["train"].mirror_labels is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "avi"}, "X: format must be one of ucf101, .*; got 'avi'"),
        ({"format": "ucf101"}, "X: annotations is empty"),
        ({"split_number": 2}, "X: split_number '2' is not read by format folder; leave it out"),
        ({"separator": ","}, "X: separator ',' is not read by format folder"),
        ({"annotations": "lists"}, "X: annotations 'lists' is not read by format folder"),
        ({"root": None}, "X: root is empty"),
        (
            {"format": "kinetics", "annotations": "a", "group_pattern": "x"},
            "X: group_pattern 'x' is not read by format kinetics",
        ),
    ],
)
def test_an_option_that_nothing_reads_is_an_error(folder, options, message):
    spec = DatasetSpec(**{"format": "folder", "root": folder, **options})
    with pytest.raises(InputError, match=message):
        read_dataset(spec, name="X")["train"]


def test_folders_are_counted_in_their_root(folder):
    counts = count_dataset(DatasetSpec("folder", root=folder))
    assert counts == {"train": 2, "test": 1, "classes": 2}
    with pytest.raises(InputError, match="folder: root is empty; this format is counted by its"):
        count_dataset(DatasetSpec("folder"))


@pytest.fixture
def hub(tmp_path):
    """A folder of links as the caches of Hugging Face and DVC make them: files lie elsewhere."""
    for number, path in enumerate(("train/run/a.mp4", "train/run/b.mp4", "test/run/c.mp4")):
        blob = tmp_path / "blobs" / str(number)
        link = tmp_path / "snapshots" / "1" / path
        for file in (blob, link):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.touch()
        link.symlink_to(blob)
    return tmp_path


def test_links_out_of_the_root_are_an_error_that_says_what_to_do(hub):
    message = r"X: 3 of 3 videos are links to files outside .*/1, .* \(e.g. train/run/a.mp4 ->"
    with pytest.raises(InputError, match=message):
        read_dataset(DatasetSpec("folder", root=hub / "snapshots" / "1"), name="X")


def test_links_are_read_where_the_root_is_above_both(hub, caplog):
    lists = hub / "lists"
    lists.mkdir()
    for split, name in (("train", "a"), ("test", "c")):
        (lists / f"{split}.csv").write_text(f"snapshots/1/{split}/run/{name}.mp4 0\n")
    with caplog.at_level(logging.WARNING):
        indexes = read_dataset(DatasetSpec("list", root=hub, annotations=lists), name="X")
    assert [len(index) for index in indexes.values()] == [1, 1]
    assert caplog.messages == []


def test_some_links_out_of_the_root_are_warned_of_once(hub, caplog):
    root = hub / "snapshots" / "1"
    for name in ("train/run/a.mp4", "test/run/c.mp4"):
        (root / name).unlink()
        (root / name).write_text(name)
    with caplog.at_level(logging.WARNING):
        read_dataset(DatasetSpec("folder", root=root), name="X")
    (message,) = caplog.messages
    assert "1 of 3 videos are links" in message
    assert f"train/run/b.mp4 -> {hub}/blobs/1); copy them (cp -rL)" in message
